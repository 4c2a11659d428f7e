"""A daemon that starts on a long backlog: memory and time in proportion, and no file opened early.

`make torture` measures a million, on tmpfs and on ext4; see torture/backlog.py.
"""

from __future__ import annotations

import time
from pathlib import Path

import backlog
from factory import DaemonFactory
from harness import Project, wait_gone
from spooling import Producer, call

TASKS = 50_000
# A million may take 200 MB and 5 s. Processor time, since other tests run beside this one.
BYTES_EACH_MAX = 190
CPU_MICROS_EACH_MAX = 20
CPU_START_SECONDS_MAX = 0.5


def test_a_backlog_costs_little_memory_and_time_and_no_open_file(project: Project) -> None:
    (figures,) = backlog.measure(project, project.spool, TASKS)
    # A scan that takes long does not keep a worker waiting: it may have the first of them.
    assert figures.tasks == TASKS and figures.due in (TASKS // 2, TASKS // 2 - 1), figures
    assert figures.bytes_each < BYTES_EACH_MAX, figures
    cpu_seconds_max = CPU_START_SECONDS_MAX + TASKS * CPU_MICROS_EACH_MAX / 1e6
    assert figures.cpu_seconds < cpu_seconds_max, figures
    # The only worker has the only one that has had its turn.
    assert figures.opened == 1, figures
    assert figures.descriptors < 100, figures


KNOWN = 200
SUBMITTED = 1_500
MODULE = """
    import time

    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def mark(args):
        report("mark", id=args["id"], at=time.time())

    @spool
    def hold(args):
        report("hold")
        pause("hold")
"""


def wait_only(project: Project, stay: set[Path]) -> None:
    """Waits until these tasks are left, and no other."""
    for path in set(project.tasks()) - stay:
        wait_gone(path)
    assert set(project.tasks()) == stay


def test_more_tasks_than_are_kept_in_memory_all_run(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    with Producer(project) as producer:
        # Delayed ones leave room for those that are due.
        later = {"at": "4000000000"}
        producer.many([call("mark", id=f"later {number}", **later) for number in range(KNOWN)])
        stay = set(project.tasks())
        producer.many([call("mark", id=str(number)) for number in range(SUBMITTED)])
    options = ("--spooler-max-known", str(KNOWN), "--spooler-quiet")
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks", *options)
    ran = project.events.collect(SUBMITTED, "mark")
    assert {event["id"] for event in ran} == {str(number) for number in range(SUBMITTED)}
    running.wait_log("`spooler-max-known`")
    wait_only(project, stay)


def test_many_that_cannot_run_leave_room_for_those_that_can(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    project.gate("hold")
    nobodys, others = KNOWN * 4 // 5, KNOWN
    options = ("--spooler-max-known", str(KNOWN), "--spooler-frequency", "600")
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks", *options)
    with Producer(project) as producer:
        producer.many([call("nobodys", id=str(number)) for number in range(nobodys)])
        stay = set(project.tasks())
        producer.many([call("hold")])
        project.events.wait("hold")
        producer.many([call("mark", id=str(number)) for number in range(others)])
    running.wait_log("`spooler-max-known`")
    project.gate("hold").release()
    ran = project.events.collect(others, "mark")
    assert {event["id"] for event in ran} == {str(number) for number in range(others)}
    wait_only(project, stay)


def test_held_tasks_that_would_fill_the_memory_leave_it_for_those_that_can_run(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    nobodys, others = 2 * KNOWN, KNOWN
    options = ("--spooler-max-known", str(KNOWN), "--spooler-frequency", "600")
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks", *options)
    with Producer(project) as producer:
        stay = set()
        for part in range(4):
            # A few at a time: each of them is tried, and held.
            calls = [call("nobodys", id=str(number)) for number in range(nobodys // 4)]
            stay |= {submitted.path for submitted in producer.many(calls)}
            producer.many([call("mark", id=f"part {part}")])
            project.events.wait("mark")
        running.wait_log("`spooler-max-known`")
        producer.many([call("mark", id=str(number)) for number in range(others)])
    ran = project.events.collect(others, "mark")
    assert {event["id"] for event in ran} == {str(number) for number in range(others)}
    wait_only(project, stay)


PRIORITIES = ("5", "10", "mail", "")


def test_priorities_and_order_hold_for_those_that_are_not_in_memory(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    numbers = range(SUBMITTED)
    with Producer(project) as producer:
        # The last that is submitted comes first: none could be left out for good.
        calls = [
            call("mark", id=f"{priority} {number}", priority=priority)
            for number in range(SUBMITTED // len(PRIORITIES))
            for priority in reversed(PRIORITIES)
        ]
        producer.many(calls)
    options = ("--spooler-max-known", str(KNOWN), "--spooler-processes", "1", "--spooler-quiet")
    daemon("--spooler", project.spool, "--spooler-import", "tasks", *options)
    ran = [event["id"] for event in project.events.collect(len(numbers), "mark")]
    wanted = [
        f"{priority} {number}"
        for priority in PRIORITIES
        for number in range(SUBMITTED // len(PRIORITIES))
    ]
    assert ran == wanted
    project.wait_empty()


def test_an_urgent_task_goes_before_all_that_fill_the_memory(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE + HOLD)
    hold = project.gate("hold")
    options = ("--spooler-max-known", str(KNOWN), "--spooler-processes", "1", "--spooler-quiet")
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks", *options)
    with Producer(project) as producer:
        producer.one("hold")
        project.events.wait("hold")
        producer.many([call("mark", id=str(number)) for number in range(2 * KNOWN)])
        running.wait_log("`spooler-max-known`")
        producer.one("mark", id="urgent", priority="1")
        producer.one("mark", id="last")
    hold.release()
    ran = [event["id"] for event in project.events.collect(2 * KNOWN + 2, "mark")]
    assert ran == ["urgent", *(str(number) for number in range(2 * KNOWN)), "last"]


HOLD = """
    from reporting import pause

    @spool
    def hold(args):
        report("hold")
        pause("hold")
"""
# A scan every 30 s would be later.
LATE_SECONDS_MAX = 10


def test_due_times_hold_for_those_that_are_not_in_memory(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    began = int(time.time())
    due = {str(number): began + 3 + number * 7 % 5 for number in range(3 * KNOWN)}
    with Producer(project) as producer:
        producer.many([call("mark", id=number, at=str(at)) for number, at in due.items()])
    options = ("--spooler-max-known", str(KNOWN), "--spooler-quiet")
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks", *options)
    running.wait_log("`spooler-max-known`")
    early = []
    for event in project.events.collect(len(due), "mark"):
        at = due.pop(event["id"])
        early += [event["id"]] * (float(event["at"]) < at)
        assert float(event["at"]) < at + LATE_SECONDS_MAX
    assert not early and not due
