"""The order in which tasks start: by priority, then by submission."""

from __future__ import annotations

import pytest
from factory import DaemonFactory
from harness import Project, wait_gone
from spooling import Producer, call, foreign, publish, submit

MODULE = """
    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def hold(args):
        report("hold")
        pause("hold")

    @spool
    def mark(args):
        report("mark", id=args["id"])
"""


@pytest.fixture
def held(project: Project, daemon: DaemonFactory) -> Project:
    """A project whose only worker is held, so that what is submitted now waits."""
    project.write("tasks.py", MODULE)
    project.gate("hold")
    daemon("--spooler", project.spool, "--spooler-import", "tasks")
    submit(project, "hold")
    project.events.wait("hold")
    return project


def order_of(project: Project, count: int) -> list[str]:
    project.gate("hold").release()
    order = [event["id"] for event in project.events.collect(count, "mark")]
    project.wait_empty()
    return order


def test_tasks_of_one_priority_start_in_the_order_of_submission(held: Project) -> None:
    count = 200
    with Producer(held) as producer:
        producer.many([call("mark", id=number) for number in range(count)])
    assert order_of(held, count) == [str(number) for number in range(count)]


def test_also_from_different_producers(held: Project) -> None:
    with Producer(held) as one, Producer(held) as other:
        for number in range(20):
            (one, other)[number % 2].one("mark", id=number)
    assert order_of(held, 20) == [str(number) for number in range(20)]


def test_numbers_come_first_low_before_high_then_names_then_no_priority(held: Project) -> None:
    wanted = ["0", "5", "10", "1000", "low", "mail", "no.thing-special", ""]
    with Producer(held) as producer:
        # The folders are made while the daemon runs, by these very submissions.
        for priority in reversed(wanted):
            producer.many([call("mark", id=priority, priority=priority)])
    assert order_of(held, len(wanted)) == wanted


def test_order_by_submission_holds_within_each_priority(held: Project) -> None:
    with Producer(held) as producer:
        for number in range(10):
            for priority in ("b", "a", "2"):
                producer.one("mark", id=f"{priority}{number}", priority=priority)
    wanted = [f"{priority}{number}" for priority in ("2", "a", "b") for number in range(10)]
    assert order_of(held, 30) == wanted


def test_what_waits_when_the_daemon_starts_is_ordered_too(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    with Producer(project) as producer:
        for number in range(50):
            producer.one("mark", id=number, priority="" if number < 25 else "9")
    daemon("--spooler", project.spool, "--spooler-import", "tasks")
    order = [event["id"] for event in project.events.collect(50, "mark")]
    assert order == [str(number) for number in [*range(25, 50), *range(25)]]


def test_a_folder_made_by_hand_while_the_daemon_runs_is_a_priority(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    daemon("--spooler", project.spool, "--spooler-import", "tasks")
    folder = project.spool / "urgent"
    folder.mkdir()
    task = foreign({b"ud_spool_func": b"mark", b"id": b"by hand"})
    path = publish(folder, "foreign_1", task)
    assert project.events.wait("mark")["id"] == "by hand"
    wait_gone(path)
    # It goes and comes back.
    folder.rmdir()
    submit(project, "mark", id="between")
    assert project.events.wait("mark")["id"] == "between"
    submit(project, "mark", "--priority", "urgent", id="back")
    assert project.events.wait("mark")["id"] == "back"


def test_a_task_moved_into_a_priority_runs_there(held: Project) -> None:
    submit(held, "mark", id="first")
    path = submit(held, "mark", id="second")
    folder = held.spool / "1"
    folder.mkdir()
    path.rename(folder / path.name)
    assert order_of(held, 2) == ["second", "first"]
