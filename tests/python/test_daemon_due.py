"""A task with a time starts at it, whether the time was given with `at` or with `touch`."""

from __future__ import annotations

import os
import time

from factory import DaemonFactory
from harness import PYTHON, Daemon, Project, wait_gone
from pacing import Batch, check_promise
from spooling import Producer, call, submit

TASKS = 100
SPREAD_SECONDS = 1.0
# Until the first is due: enough to submit all of them.
AHEAD_SECONDS = 1.5
PROMISED_SECONDS = 0.010

MODULE = """
    import time

    from uwsgidecorators import spool
    from reporting import report

    @spool
    def mark(args):
        started = time.time()
        report("mark", started=started, at=float(args.get("at", 0)), id=args.get("id"))
"""

# How late a process is that does nothing but wait for the same times.
PLAIN = """
import sys, time
for due in map(float, sys.argv[1:]):
    time.sleep(max(0.0, due - time.time()))
    print(time.time() - due)
"""


def run(project: Project, daemon: DaemonFactory) -> Daemon:
    project.write("tasks.py", MODULE)
    return daemon("--spooler", project.spool, "--spooler-import", "tasks")


def test_tasks_start_within_10_ms_of_their_time_and_never_before(
    project: Project, daemon: DaemonFactory
) -> None:
    run(project, daemon)
    with Producer(project) as producer:

        def measure() -> Batch:
            first = time.time() + AHEAD_SECONDS
            times = [round(first + number * SPREAD_SECONDS / TASKS, 6) for number in range(TASKS)]
            producer.many([call("mark", at=f"{due:.6f}") for due in reversed(times)])
            plain = project.run(PYTHON, "-c", PLAIN, *map(str, times)).stdout.split()
            started = project.events.collect(TASKS, "mark")
            assert sorted(event["at"] for event in started) == times
            late = [event["started"] - event["at"] for event in started]
            assert min(late) >= 0
            return late, [float(seconds) for seconds in plain]

        check_promise(measure, PROMISED_SECONDS)


def test_whole_seconds_in_the_future_wait_and_the_past_does_not(
    project: Project, daemon: DaemonFactory
) -> None:
    run(project, daemon)
    later = submit(project, "mark", "--at", str(int(time.time()) + 3600), id="later")
    submit(project, "mark", "--at", str(int(time.time()) - 3600), id="past")
    assert project.events.wait("mark")["id"] == "past"
    submit(project, "mark", id="now")
    assert project.events.wait("mark")["id"] == "now"
    assert later.exists()


def test_touch_makes_a_delayed_task_due(project: Project, daemon: DaemonFactory) -> None:
    run(project, daemon)
    path = submit(project, "mark", "--delay", "3600", id="delayed")
    submit(project, "mark", id="now")
    assert project.events.wait("mark")["id"] == "now"
    project.run("touch", "-d", "now", path)
    assert project.events.wait("mark")["id"] == "delayed"
    wait_gone(path)


def test_touch_puts_a_task_off(project: Project, daemon: DaemonFactory) -> None:
    run(project, daemon)
    paths = [submit(project, "mark", "--delay", "3600", id=name) for name in ("put off", "other")]
    path, other = paths
    due = time.time() + 0.5
    for each in paths:
        os.utime(each, (due, due))
    os.utime(path, (due + 3600, due + 3600))
    # The other one, with the same time at first, tells when that has passed.
    assert project.events.wait("mark")["id"] == "other"
    wait_gone(other)
    submit(project, "mark", id="last")
    assert project.events.wait("mark")["id"] == "last"
    assert path.exists()


def test_a_time_that_touch_sets_is_kept_to_the_fraction(
    project: Project, daemon: DaemonFactory
) -> None:
    run(project, daemon)
    path = submit(project, "mark", "--delay", "3600", id="touched")
    due_ns = time.time_ns() + 400_000_000
    os.utime(path, ns=(due_ns, due_ns))
    event = project.events.wait("mark")
    assert event["id"] == "touched"
    assert event["started"] >= due_ns / 1e9 - 1e-6
    wait_gone(path)


def test_a_task_that_became_due_while_no_daemon_ran_starts_at_once(
    project: Project, daemon: DaemonFactory
) -> None:
    path = submit(project, "mark", "--at", f"{time.time() - 1.5:.3f}", id="overdue")
    run(project, daemon)
    assert project.events.wait("mark")["id"] == "overdue"
    wait_gone(path)
