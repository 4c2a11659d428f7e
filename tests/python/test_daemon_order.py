"""The order in which tasks start: by priority, then by submission."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest
from factory import DaemonFactory
from harness import Project, wait_gone
from processes import WAIT_SECONDS_MAX
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


OrderOf = Callable[[int], list[str]]


@pytest.fixture
def order_of(project: Project, daemon: DaemonFactory) -> OrderOf:
    """A daemon whose only worker is held, so that what is submitted now waits. Called with the
    number of those, it lets them run and returns their order.
    """
    project.write("tasks.py", MODULE)
    project.gate("hold")
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    submit(project, "hold")
    project.events.wait("hold")

    def run(count: int) -> list[str]:
        # Ordered is what the daemon knows: it may hear of new folders one after the other.
        until = time.monotonic() + WAIT_SECONDS_MAX
        known = 0
        while known < count:
            assert time.monotonic() < until, f"the daemon knows {known} of {count} tasks"
            mark = running.mark()
            running.send(signal.SIGUSR1)
            known = int(running.wait_log(r"state of the spool .*pending=(\d+)", since=mark)[1])
        project.gate("hold").release()
        order = [event["id"] for event in project.events.collect(count, "mark")]
        project.wait_empty()
        return order

    return run


def test_tasks_of_one_priority_start_in_the_order_of_submission(
    project: Project, order_of: OrderOf
) -> None:
    count = 200
    with Producer(project) as producer:
        producer.many([call("mark", id=number) for number in range(count)])
    assert order_of(count) == [str(number) for number in range(count)]


def test_also_from_different_producers(project: Project, order_of: OrderOf) -> None:
    with Producer(project) as one, Producer(project) as other:
        for number in range(20):
            (one, other)[number % 2].one("mark", id=number)
    assert order_of(20) == [str(number) for number in range(20)]


def test_numbers_come_first_low_before_high_then_names_then_no_priority(
    project: Project, order_of: OrderOf
) -> None:
    wanted = ["0", "5", "10", "1000", "low", "mail", "no.thing-special", ""]
    with Producer(project) as producer:
        # The folders are made while the daemon runs, by these very submissions.
        for priority in reversed(wanted):
            producer.many([call("mark", id=priority, priority=priority)])
    assert order_of(len(wanted)) == wanted


def test_order_by_submission_holds_within_each_priority(
    project: Project, order_of: OrderOf
) -> None:
    with Producer(project) as producer:
        for number in range(10):
            for priority in ("b", "a", "2"):
                producer.one("mark", id=f"{priority}{number}", priority=priority)
    wanted = [f"{priority}{number}" for priority in ("2", "a", "b") for number in range(10)]
    assert order_of(30) == wanted


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


def test_a_task_moved_into_a_priority_runs_there(project: Project, order_of: OrderOf) -> None:
    submit(project, "mark", id="first")
    path = submit(project, "mark", id="second")
    folder = project.spool / "1"
    folder.mkdir()
    path.rename(folder / path.name)
    assert order_of(2) == ["second", "first"]
