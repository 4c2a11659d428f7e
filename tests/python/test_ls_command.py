"""`unspool ls`: the tasks of a spool, with and without a daemon."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from harness import UNSPOOL, Project, wait_gone
from snapshots import masked
from spooling import foreign, publish, submit
from syrupy.assertion import SnapshotAssertion

DONE, FAILED, USAGE = 0, 1, 2

MODULE = """
    from uwsgidecorators import spool, spoolraw
    from reporting import pause, report

    @spool
    def hold(args):
        report("hold")
        pause("hold")

    @spool
    def fail(args):
        raise ValueError("no such account")
"""


@pytest.fixture
def filled(project: Project) -> Project:
    """One task in most states, without a daemon."""
    submit(project, "send_mail", to="a@example.org")
    submit(project, "send_sms", "--priority", "5", "--delay", "7200", to="b@example.org")
    submit(project, "resize", "--priority", "low", image="7.png")
    for folder in ("dead", "corrupt"):
        (project.spool / folder).mkdir()
    whole = foreign({b"ud_spool_func": b"import_users"})
    publish(project.spool / "dead", "web_1_1_7_1795000000_0", whole, due=1795000000)
    publish(project.spool / "corrupt", "web_1_2_8_1795000000_1", b"no task", due=1795000000)
    publish(project.spool, "web_1_3_9_1795000000_2", whole[:-3], due=1795000000)
    return project


def ls(project: Project, *arguments: str) -> list[dict[str, Any]]:
    done = project.unspool("ls", "--spooler", str(project.spool), "--json", *arguments)
    return [json.loads(line) for line in done.stdout.splitlines()]


def names(project: Project, *arguments: str) -> list[str]:
    return [row["function"] for row in ls(project, *arguments)]


def test_the_table(filled: Project, snapshot: SnapshotAssertion) -> None:
    done = filled.unspool("ls", "--sort", "state")
    assert masked(filled, done.stdout) == snapshot


def test_json_says_what_the_table_says_and_more(filled: Project) -> None:
    row = ls(filled, "--func", "send_sms")[0]
    path = Path(row.pop("path"))
    assert path.exists() and path.parent == filled.spool / "5"
    assert row.pop("name") == path.name
    assert len(row.pop("id")) == 32
    assert 7000 < row.pop("due_at") - row.pop("submitted_at") < 7300
    assert row.pop("age_s") >= 0 and row.pop("bytes") == path.stat().st_size
    assert row == {
        "spool": str(filled.spool),
        "state": "delayed",
        "function": "send_sms",
        "priority": "5",
        "attempts": 0,
        "last_error": None,
        "readable": True,
        "relay": None,
    }


def test_filters(filled: Project) -> None:
    for arguments, expected in [
        (("--state", "due"), {"send_mail", "resize"}),
        (("--state", "dead,delayed"), {"import_users", "send_sms"}),
        (("--state", "torn", "--state", "corrupt"), {None}),
        (("--func", "send_*"), {"send_mail", "send_sms"}),
        (("--func", "send_sm?", "--func", "resize"), {"send_sms", "resize"}),
        (("--priority", "5"), {"send_sms"}),
        (("--priority", ".", "--state", "due"), {"send_mail"}),
        (("--grep", "example.org"), {"send_mail", "send_sms"}),
        (("--grep", "send_"), set()),
        (("--older", "1h", "--state", "due,delayed"), set()),
        (("--newer", "1h", "--grep", "7.png"), {"resize"}),
    ]:
        assert set(names(filled, *arguments)) == expected, arguments


def test_the_order_and_the_limit(filled: Project) -> None:
    pending = ("--state", "due,delayed")
    assert names(filled, "--sort", "submitted", *pending) == ["send_mail", "send_sms", "resize"]
    assert names(filled, "--sort", "due", *pending) == ["send_mail", "resize", "send_sms"]
    assert names(filled, "--sort", "priority", *pending) == ["send_sms", "resize", "send_mail"]
    assert names(filled, "--sort", "function", *pending) == ["resize", "send_mail", "send_sms"]
    assert names(filled, "-r", "--sort", "submitted", *pending) == [
        "resize", "send_sms", "send_mail",
    ]  # fmt: skip
    # Without anything to look for, by names and times alone.
    assert names(filled, "--sort", "submitted", "-r", "-n", "2") == ["resize", "send_sms"]
    assert names(filled, "--sort", "priority", "-n", "2") == ["send_sms", "resize"]
    assert len(ls(filled, "--limit", "3")) == 3


def test_what_runs_failed_and_was_given_up(project: Project, snapshot: SnapshotAssertion) -> None:
    project.write("tasks.py", MODULE)
    project.gate("hold")
    held = submit(project, "hold")
    running = project.daemon("--spooler", project.spool, "--spooler-import", "tasks")
    try:
        running.start().wait_ready()
        project.events.wait("hold")
        assert [row["state"] for row in ls(project)] == ["running"]
        assert held.exists()
    finally:
        running.close()
    held.unlink()
    once = submit(project, "fail", "--max-attempts", "1")
    again = submit(project, "fail", "--retry-delay", "600")
    running = project.daemon("--spooler", project.spool, "--spooler-import", "tasks")
    try:
        running.start().wait_ready()
        running.wait_log("task given up")
        running.wait_log(f"task failed.*{again.name}")
        wait_gone(once)
    finally:
        running.close()
    rows = {row["state"]: row for row in ls(project)}
    assert set(rows) == {"retrying", "dead"}
    for row in rows.values():
        assert (row["attempts"], row["last_error"]) == (1, "ValueError: no such account")
    assert rows["retrying"]["path"] == str(again)
    assert masked(project, project.unspool("ls").stdout) == snapshot


def test_old_tasks_of_uwsgis_are_held_as_the_daemon_holds_them(project: Project) -> None:
    project.write("tasks.py", MODULE)
    (project.spool / "old").mkdir(parents=True)
    content = foreign({b"ud_spool_func": b"hold"})
    publish(project.spool / "old", "web_1_1_7_1795000000_0", content, due=1795000000)
    assert [row["state"] for row in ls(project)] == ["due"]
    running = project.daemon("--spooler", project.spool, "--spooler-import", "tasks")
    try:
        running.start().wait_ready()
        running.wait_log("held")
    finally:
        running.close()
    assert [row["state"] for row in ls(project)] == ["held"]
    project.unspool("adopt", "--run", "--spooler", str(project.spool))
    assert [row["state"] for row in ls(project)] == ["due"]


def test_a_terminal_is_not_commanded(project: Project) -> None:
    submit(project, "\x1b[31mred\r\n", "--priority", "a\x07b")
    shown = project.unspool("ls").stdout
    assert "\x1b" not in shown and "\x07" not in shown and "\r" not in shown
    assert len(shown.splitlines()) == 2


def test_who_reads_no_more_is_no_error(project: Project) -> None:
    content = foreign({b"ud_spool_func": b"mark"})
    project.spool.mkdir(exist_ok=True)
    for number in range(5000):
        (project.spool / f"uwsgi_spoolfile_on_web_1_{number}_7_1795000000_0").write_bytes(content)
    with subprocess.Popen(
        [UNSPOOL, "ls", "--spooler", project.spool],
        env=project.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith(b"ID")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == DONE


def test_it_creates_nothing_and_says_what_is_wrong(project: Project) -> None:
    missing = project.root / "missing"
    done = project.unspool("ls", "--spooler", str(missing), check=False)
    assert done.returncode == FAILED and "is missing" in done.stderr and not missing.exists()
    missing.mkdir()
    assert project.unspool("ls", "--spooler", str(missing)).stdout == ""
    assert os.listdir(missing) == []
    for arguments in [("--state", "odd"), ("--older", "soon"), ("--reverse",), ("--limit", "0")]:
        assert project.unspool("ls", *arguments, check=False).returncode == USAGE


def test_a_due_time_in_the_past_is_no_age(project: Project) -> None:
    submit(project, "mark", "--at", str(time.time() - 3600))
    assert ls(project)[0]["age_s"] < 600
