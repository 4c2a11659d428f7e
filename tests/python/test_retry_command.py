"""`unspool retry`: what was given up is pending again, what waits is due now."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import Project, wait_gone
from spooling import ATTEMPTS_OFFSET, Producer, attempts, submit
from steering import (
    FAILED,
    HELD,
    NOTHING,
    USAGE,
    bury,
    complaint,
    fragile,
    mend,
    rows,
    start,
    words,
)  # fmt: skip

MANY = 10_000


def outcomes(project: Project, name: str) -> list[str]:
    record = project.spool / ".unspool/attempts" / name
    return [json.loads(line)["outcome"] for line in record.read_text().splitlines()]


def test_a_task_that_was_given_up_runs_again(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    path = fragile(project, "--priority", "5", id="1")
    running.wait_log("task given up")
    mend(project)
    project.unspool("pause")
    assert words(project, "retry", path.name[-20:]) == ["pending"]
    shown = project.unspool("show", path.name).stdout
    assert "somebody let it run again" in shown and "attempt 0" not in shown
    project.unspool("resume")
    assert project.events.wait("fragile")["id"] == "1"
    wait_gone(path)
    assert not any((project.spool / "dead").iterdir())


def test_it_goes_to_the_folder_that_it_came_from(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    path = fragile(project, "--priority", "5", "--delay", "1000", id="1")
    assert words(project, "mv", "--priority", "7", "--at", "now", path) == ["moved"]
    running.wait_log("task given up")
    running.stop()
    assert words(project, "retry", project.spool / "dead" / path.name) == ["pending"]
    assert project.tasks() == [project.spool / "7" / path.name]
    assert outcomes(project, path.name) == ["exception", "retried"]


def test_it_fails_again_with_one_record(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    path = fragile(project, id="1")
    running.wait_log("task given up")
    mark = running.mark()
    assert words(project, "retry", "--all") == ["1"]
    running.wait_log("task given up", since=mark)
    record = project.spool / "dead" / f"attempts.{path.name}"
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert [line["outcome"] for line in lines] == ["exception", "retried", "exception"]
    assert [line["attempt"] for line in lines] == [1, 0, 1]


def test_one_that_expired_is_run_all_the_same(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", "import nothing_yet")
    path = submit(project, "mark", "--expires", "0.001", id="late")
    (project.root / "tasks.py").unlink()
    running = start(project, daemon)
    running.wait_log(f"task given up.*{path.name}|{path.name}.*given up")
    assert words(project, "retry", path.name) == ["pending"]
    assert project.events.wait("mark")["id"] == "late"


def test_one_that_waits_is_due_now(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon, "--spooler-frequency", "3600")
    path = submit(project, "fails")
    running.wait_log("task failed")
    wait_count(path, 1)
    mark = running.mark()
    assert words(project, "retry", path) == ["due"]
    running.wait_log("task failed", since=mark)
    wait_count(path, 2)
    assert words(project, "retry", "--all", "--func", "fail*") == ["0"]
    running.wait_log("task failed.*attempt=3")


def wait_count(path: Path, count: int) -> None:
    """The count stands in the file a moment before its due time does."""
    while attempts(path) != count or path.stat().st_mtime < time.time():
        os.sched_yield()


def test_a_running_one_is_left(project: Project, daemon: DaemonFactory) -> None:
    project.gate("waits")
    start(project, daemon)
    path = submit(project, "waits")
    project.events.wait("waits")
    assert words(project, "retry", path, status=HELD) == ["running"]
    project.gate("waits").release()
    wait_gone(path)
    assert words(project, "retry", path, status=NOTHING) == ["gone"]


def test_a_corrupt_one_needs_to_be_meant(project: Project) -> None:
    path = submit(project, "mark", id="1")
    corrupt = project.spool / "corrupt"
    corrupt.mkdir()
    moved = path.rename(corrupt / path.name)
    assert words(project, "retry", moved, status=NOTHING) == ["corrupt"]
    assert words(project, "retry", "--all", status=NOTHING) == ["0"]
    assert words(project, "retry", "--corrupt", moved) == ["pending"]
    assert project.tasks() == [path]


def test_filters_choose(project: Project) -> None:
    names = {}
    for function, priority in [("mail", "5"), ("mail", ""), ("send", "5")]:
        options = ["--priority", priority] if priority else []
        path = submit(project, function, *options, id="1")
        names[function, priority] = bury(project, path).name
    old = bury(project, submit(project, "mail", id="old"))
    aged = old.rename(old.with_name("_".join([*old.name.split("_")[:-2], "1000000000", "5"])))
    dry = project.unspool("retry", "--all", "--dry-run", "--func", "ma?l", "--priority", "5")
    assert dry.stdout == "1 task would be pending again, 0 would be due now\n"
    assert not project.tasks()
    assert words(project, "retry", "--all", "--func", "ma?l", "--priority", "5") == ["1"]
    assert project.tasks() == [project.spool / "5" / names["mail", "5"]]
    assert words(project, "retry", "--all", "--older", "3 h") == ["1"]
    assert aged.name in {path.name for path in project.tasks()}
    summary = rows(project, "retry", "--all", "--priority", ".")[-1]["summary"]
    assert (summary["pending"], summary["failed"]) == (1, 0)
    assert {path.name for path in (project.spool / "dead").iterdir() if "attempts" not in path.name}
    assert "give --all" in complaint(project, "retry", "--func", "x", "some", status=USAGE)


def test_a_copy_of_a_pending_task_is_refused(project: Project) -> None:
    path = submit(project, "mark", id="1")
    content = path.read_bytes()
    dead = bury(project, path)
    path.write_bytes(content)
    assert words(project, "retry", dead, status=FAILED) == ["taken"]
    path.rename(project.root / "apart")
    assert words(project, "retry", dead) == ["pending"]


def test_json_says_where_it_is(project: Project) -> None:
    path = bury(project, submit(project, "mark", id="1"), "9")
    row = rows(project, "retry", path)[0]
    assert row["became"] == "pending" and row["priority"] == "9"
    assert row["path"] == str(project.spool / "9" / path.name)
    assert rows(project, "retry", path)[0] == {
        "task": str(path), "path": str(project.spool / "9" / path.name), "became": "due",
        "priority": None, "dry_run": False,
    }  # fmt: skip


def test_ten_thousand_at_once_beside_a_daemon(project: Project, daemon: DaemonFactory) -> None:
    with Producer(project) as producer:
        made = producer.many(
            {"ud_spool_func": "mark", "id": str(number), "at": "4000000000"}
            for number in range(MANY)
        )
    dead = project.spool / "dead"
    dead.mkdir(mode=0o700)
    for submitted in made:
        content = bytearray(submitted.path.read_bytes())
        # A burial that was cut left its count.
        content[ATTEMPTS_OFFSET] = 3
        submitted.path.write_bytes(content)
        submitted.path.rename(dead / submitted.path.name)
    start(project, daemon, "--spooler-processes", "2")
    done = project.unspool("retry", "--all")
    assert done.stdout == f"{MANY:,} tasks pending again, 0 due now\n"
    ids = {event["id"] for event in project.events.collect(MANY, "mark", 120)}
    assert len(ids) == MANY
    project.wait_empty()
    assert [event.name for event in project.events.history].count("mark") == MANY


@pytest.mark.parametrize("arguments", [[], ["--all", "some"]])
def test_a_command_line_that_says_nothing_is_refused(
    project: Project, arguments: list[str]
) -> None:
    assert "Usage" in complaint(project, "retry", *arguments, status=USAGE)
