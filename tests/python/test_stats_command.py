"""`unspool stats`: how much is in a spool, counted from its files."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from factory import DaemonFactory
from harness import Project
from snapshots import masked
from spooling import foreign, publish, submit
from syrupy.assertion import SnapshotAssertion


def stats(project: Project, *arguments: str) -> dict[str, Any]:
    done = project.unspool("stats", "--json", "--spooler", str(project.spool), *arguments)
    (spool,) = json.loads(done.stdout)["spools"]
    assert isinstance(spool, dict)
    return spool


def fill(project: Project) -> None:
    for number in range(3):
        submit(project, "send_mail", n=number)
    submit(project, "resize", "--priority", "5")
    submit(project, "resize", "--priority", "10", "--delay", "3600")
    (project.spool / "dead").mkdir()
    publish(project.spool / "dead", "web_1_1_7_1795000000_0", foreign({b"ud_spool_func": b"old"}))


def test_depths(project: Project, snapshot: SnapshotAssertion) -> None:
    fill(project)
    shown = stats(project)
    assert shown["spool"] == str(project.spool) and shown["daemon"] is None
    assert (shown["dead"], shown["corrupt"]) == (1, 0)
    pending = shown["pending"]
    assert [pending[key] for key in ("tasks", "running", "due", "delayed", "held", "unseen")] == [
        5, 0, 4, 1, 0, 0,
    ]  # fmt: skip
    assert 0 <= pending["oldest_due_s"] < 600
    assert 3000 < pending["next_due_at"] - time.time() < 3700
    assert pending["bytes"] == sum(path.stat().st_size for path in project.tasks())
    names = [(folder["priority"], folder["tasks"]) for folder in shown["priorities"]]
    assert names == [("5", 1), ("10", 1), (None, 3)]
    assert masked(project, project.unspool("stats").stdout) == snapshot(name="short")
    assert masked(project, project.unspool("stats", "--functions").stdout) == snapshot(name="long")


def test_functions_with_the_most_tasks_come_first(project: Project) -> None:
    fill(project)
    shown = stats(project, "--functions", "2")
    assert [(row["function"], row["tasks"]) for row in shown["functions"]] == [
        ("send_mail", 3),
        ("resize", 2),
    ]
    assert (shown["states"]["due"], shown["states"]["delayed"], shown["states"]["dead"]) == (
        4,
        1,
        1,
    )


def test_what_runs_and_what_is_held(project: Project) -> None:
    project.write(
        "tasks.py",
        """
        from uwsgidecorators import spool
        from reporting import pause, report

        @spool
        def hold(args):
            report("hold")
            pause("hold")
        """,
    )
    (project.spool / "old").mkdir(parents=True)
    content = foreign({b"ud_spool_func": b"hold"})
    publish(project.spool / "old", "web_1_1_7_1795000000_0", content, due=1795000000)
    project.gate("hold")
    submit(project, "hold")
    running = project.daemon("--spooler", project.spool, "--spooler-import", "tasks")
    try:
        running.start().wait_ready()
        project.events.wait("hold")
        shown = stats(project)
        assert shown["daemon"] == running.pid
        assert (shown["pending"]["running"], shown["pending"]["held"]) == (1, 1)
        assert shown["pending"]["oldest_due_at"] is None
    finally:
        running.close()


def test_it_counts_more_than_one_lot_of_names(project: Project) -> None:
    content = foreign({b"ud_spool_func": b"mark"})
    later = time.time() + 3600
    for folder in ("", "5"):
        (project.spool / folder).mkdir(parents=True, exist_ok=True)
        for number in range(2100):
            path = project.spool / folder / f"uwsgi_spoolfile_on_web_1_{number}_7_1795000000_0"
            path.write_bytes(content)
            if number % 3 == 0:
                os.utime(path, (later, later))
    pending = stats(project, "--all")["pending"]
    assert (pending["tasks"], pending["delayed"], pending["due"]) == (4200, 1400, 2800)


def test_what_runs_in_several_daemons(project: Project, daemon: DaemonFactory) -> None:
    project.write(
        "tasks.py",
        """
        from uwsgidecorators import spool
        from reporting import pause, report

        @spool
        def hold(args):
            report("hold")
            pause("hold")
        """,
    )
    options = ("--spooler", project.spool, "--spooler-import", "tasks")
    daemon(*options)
    daemon(*options)
    gate = project.gate("hold")
    for _ in range(3):
        submit(project, "hold")
    project.events.collect(2, "hold")
    pending = stats(project)["pending"]
    assert (pending["tasks"], pending["running"], pending["due"]) == (3, 2, 1)
    top = json.loads(project.unspool("top", "--once", "--json").stdout)["spools"][0]
    assert len(top["daemons"]) == 2 and top["workers"]["busy"] == 2
    assert (top["tasks"]["running"], top["tasks"]["due"] + top["tasks"]["delayed"]) == (2, 1)
    gate.release(3)
    project.wait_empty()
