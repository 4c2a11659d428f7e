"""How many workers there are: by spool, by folder of a priority, and by need."""

from __future__ import annotations

import re

import pytest
from factory import DaemonFactory
from harness import Project
from spooling import stop_without_complaints, submit, wait_children
from statistics_client import statistics

MODULE = """
    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def mark(args):
        report("mark", id=args.get("id"))

    @spool
    def hold(args):
        report("hold", id=args.get("id"))
        pause("hold")
        report("held", id=args.get("id"))
"""


def test_a_folder_has_workers_of_its_own_while_the_others_are_busy(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    gate = project.gate("hold")
    folder = project.spool / "5"
    running = daemon(
        *("--spooler", project.spool, "--spooler", folder, "--spooler-import", "tasks"),
        *("--spooler-processes", "2"),
    )
    workers = set(running.workers)
    assert len(workers) == 4
    for number in range(2):
        submit(project, "hold", id=f"plain {number}")
    general = {event.pid for event in project.events.collect(2, "hold")}
    # More of the same wait, and do not get the dedicated workers.
    waiting = submit(project, "mark", id="waits")
    urgent = [submit(project, "mark", "--priority", "5", id=n) for n in range(6)]
    assert {path.parent for path in urgent} == {folder}
    events = project.events.collect(6, "mark")
    assert {event["id"] for event in events} == {"0", "1", "2", "3", "4", "5"}
    assert not {event.pid for event in events} & general
    # Both of them, if they are needed.
    for number in range(2):
        submit(project, "hold", "--priority", "5", id=f"urgent {number}")
    dedicated = {event.pid for event in project.events.collect(2, "hold")}
    assert dedicated == workers - general
    assert waiting.exists()
    gate.release(4)
    project.events.collect(4, "held")
    assert project.events.wait("mark")["id"] == "waits"
    project.wait_empty()


def test_the_general_workers_run_the_folder_too(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", MODULE)
    gate = project.gate("hold")
    count = f"{project.spool}/5=1"
    running = daemon(
        *("--spooler", project.spool, "--spooler-import", "tasks"),
        *("--spooler-processes", "1", "--spooler-processes-of", count),
    )
    workers = set(running.workers)
    assert len(workers) == 2
    for _ in range(2):
        submit(project, "hold", "--priority", "5")
    assert {event.pid for event in project.events.collect(2, "hold")} == workers
    # Another priority and none are not for the dedicated one.
    submit(project, "mark", "--priority", "4", id="4")
    submit(project, "mark", id="none")
    with pytest.raises(AssertionError):
        project.events.wait("mark", timeout=0.3)
    gate.release(2)
    assert [event["id"] for event in project.events.collect(2, "mark")] == ["4", "none"]


def test_the_statistics_tell_whose_tasks_a_worker_runs(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    where = project.root / "stats.sock"
    daemon(
        *("--spooler", project.spool, "--spooler", project.spool / "5"),
        *("--spooler-import", "tasks", "--spooler-processes", "2", "--stats", where),
    )
    (spool,) = statistics(where)["unspool"]["spools"]
    assert spool["processes"] == 4
    priorities = [worker["priority"] for worker in spool["workers"]]
    assert sorted(priorities, key=str) == ["5", "5", None, None]


def test_dedicated_workers_are_reloaded_and_replaced(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    gate = project.gate("hold")
    running = daemon(
        *("--spooler", project.spool, "--spooler", project.spool / "5"),
        *("--spooler-import", "tasks", "--spooler-max-tasks", "1"),
    )
    running.reload()
    submit(project, "hold", id="plain")
    project.events.wait("hold")
    for number in range(4):
        submit(project, "mark", "--priority", "5", id=number)
        assert project.events.wait("mark")["id"] == str(number)
    gate.release()
    project.events.wait("held")
    project.wait_empty()


def test_each_spool_has_its_own_number(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", MODULE)
    one, two = project.root / "one", project.root / "two"
    running = daemon(
        *("--spooler", one, "--spooler", two, "--spooler-import", "tasks"),
        *("--spooler-processes", "2", "--spooler-processes-of", "one=3"),
    )
    assert len(running.workers) == 5
    options = ("--spooler", "one", "--spooler-processes-of", "one=3")
    shown = project.unspool("config", *options).stdout
    assert re.search(rf"^spooler-processes-of *= {one}=3 ", shown, re.MULTILINE)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (
            "three=3",
            r"`/.*/three` is neither a spool that is run here nor the folder of a priority",
        ),
        ("one", "write a spool's directory and a number of workers"),
        ("one=0", "write a spool's directory and a number of workers"),
        ("one=5000", "this is more than 4096"),
        ("one=4090", r"\d+ workers are too many: those of all spools"),
    ],
)
def test_a_number_for_what_is_no_spool_is_an_error(
    project: Project, value: str, problem: str
) -> None:
    arguments = ["run", "--spooler", "one", "--spooler-processes-of", value]
    if value == "one=4090":
        arguments += ["--spooler", "two", "--spooler-processes", "10"]
    done = project.unspool(*arguments, check=False)
    assert done.returncode == 2
    assert re.search(problem, done.stderr), done.stderr


def test_no_worker_while_there_is_no_work(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", MODULE)
    gate = project.gate("hold")
    running = daemon(
        *("--spooler", project.spool, "--spooler-import", "tasks"),
        *("--spooler-processes", "2", "--spooler-cheap"),
    )
    assert running.workers == []
    submit(project, "mark", id="first")
    first = project.events.wait("mark").pid
    wait_children(running, 2)
    # One more for a second task while the first one runs, and no third.
    for number in range(3):
        submit(project, "hold", id=number)
    project.events.collect(2, "hold")
    wait_children(running, 3)
    assert first in running.workers
    gate.release(3)
    project.events.collect(3, "held")
    running.wait_log(rf"worker left pid={first}\b")
    wait_children(running, 1)
    # One that comes in the future wakes one.
    submit(project, "mark", "--delay", "1", id="later")
    assert project.events.wait("mark")["id"] == "later"
    project.wait_empty()
    running.reload()
    submit(project, "mark", id="reloaded")
    assert project.events.wait("mark")["id"] == "reloaded"
    stop_without_complaints(running)


def test_tasks_that_wait_at_the_start_wake_a_cheap_daemon(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    for number in range(3):
        submit(project, "mark", "--durability", "none", id=number)
    daemon(
        *("--spooler", project.spool, "--spooler-import", "tasks", "--spooler-cheap"),
        *("--spooler-adopt", "run"),
    )
    events = project.events.collect(3, "mark")
    assert [event["id"] for event in events] == ["0", "1", "2"]
