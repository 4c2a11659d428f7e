"""Workers that are replaced while all is well: no gap, no task more, nothing lost."""

from __future__ import annotations

import pytest
from factory import DaemonFactory
from harness import Daemon, Project
from spooling import Producer, call, stop_without_complaints, submit, wait_children

MODULE = """
    import mmap
    import uwsgi
    from uwsgidecorators import spool, spoolraw
    from reporting import pause, report

    HELD = []

    @spool
    def mark(args):
        report("mark", id=args.get("id"))

    @spool
    def hold(args):
        report("hold", id=args.get("id"))
        pause("hold")
        report("held", id=args.get("id"))

    @spoolraw
    def again(args):
        report("again")
        return uwsgi.SPOOL_RETRY

    @spool
    def grow(args):
        HELD.append(bytearray(b"x" * (200 << 20)))
        # Reserved and not touched.
        HELD.append(mmap.mmap(-1, 1 << 30))
        report("grow")
        pause("grow")
"""

REGISTERS = """
@spool
def registers(args):
    uwsgi.register_signal(9, "", lambda number: report("handled"))
    report("registered")
"""


def started(project: Project, daemon: DaemonFactory, *options: str) -> Daemon:
    project.write("tasks.py", MODULE)
    return daemon("--spooler", project.spool, "--spooler-import", "tasks", *options)


@pytest.mark.parametrize("most", [1, 3])
def test_a_worker_runs_so_many_tasks_and_not_one_more(
    project: Project, daemon: DaemonFactory, most: int
) -> None:
    with Producer(project) as producer:
        producer.many([call("mark", id=n) for n in range(20)])
    running = started(project, daemon, "--spooler-max-tasks", str(most))
    events = project.events.collect(20, "mark")
    project.wait_empty()
    # In order, although they are handed to one worker after the other.
    assert [int(event["id"]) for event in events] == list(range(20))
    pids = [event.pid for event in events]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)][:-1] == [most] * ((20 - 1) // most)
    running.wait_log(
        rf"INFO  replacing a worker: {most} tasks are as many as `spooler-max-tasks` allows "
        rf"pid={pids[0]}\b"
    )
    running.wait_log(rf"worker left pid={pids[0]}\b")
    stop_without_complaints(running)


def test_retried_runs_count(project: Project, daemon: DaemonFactory) -> None:
    options = ("--spooler-max-tasks", "2", "--spooler-frequency", "0.05")
    started(project, daemon, *options)
    submit(project, "again")
    pids = [event.pid for event in project.events.collect(6, "again")]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 2]


def test_the_next_worker_is_there_before_the_last_task_ends_and_waits_for_it(
    project: Project, daemon: DaemonFactory
) -> None:
    running = started(project, daemon, "--spooler-max-tasks", "1")
    gate = project.gate("hold")
    submit(project, "hold")
    first = project.events.wait("hold").pid
    running.wait_log(rf"replacing a worker: .* pid={first}\b")
    submit(project, "mark")
    # One worker is one task at a time, also while there are two.
    with pytest.raises(AssertionError):
        project.events.wait("mark", timeout=0.5)
    wait_children(running, 3)
    gate.release()
    project.events.wait("held")
    assert project.events.wait("mark").pid != first


def test_a_reload_in_the_middle_leaves_as_many_workers_as_configured(
    project: Project, daemon: DaemonFactory
) -> None:
    running = started(project, daemon, "--spooler-max-tasks", "1", "--spooler-processes", "2")
    gate = project.gate("hold")
    submit(project, "hold")
    old = project.events.wait("hold").pid
    running.reload()
    submit(project, "mark")
    project.events.wait("mark")
    gate.release()
    running.wait_log(rf"worker left pid={old}\b")
    project.wait_empty()
    with Producer(project) as producer:
        producer.many([call("mark") for _ in range(10)])
    project.events.collect(10, "mark")
    project.wait_empty()
    stop_without_complaints(running)


def test_a_worker_is_replaced_when_it_is_old(project: Project, daemon: DaemonFactory) -> None:
    running = started(project, daemon, "--max-worker-lifetime", "1")
    gate = project.gate("hold")
    submit(project, "hold")
    first = project.events.wait("hold").pid
    running.wait_log(
        rf"replacing a worker: it is older than `max-worker-lifetime`, 1 s pid={first}\b"
    )
    # Its task ends first.
    gate.release()
    project.events.wait("held")
    running.wait_log(rf"worker left pid={first}\b")
    submit(project, "mark")
    assert project.events.wait("mark").pid != first
    stop_without_complaints(running)


def test_each_next_worker_lasts_longer(project: Project, daemon: DaemonFactory) -> None:
    options = ("--max-worker-lifetime", "0.5", "--max-worker-lifetime-delta", "1")
    running = started(project, daemon, *options, "--spooler-processes", "2")
    old = "replacing a worker: it is older than `max-worker-lifetime`,"
    first = int(running.wait_log(rf"{old} 1\.5 s pid=(\d+)")[1])
    second = int(running.wait_log(rf"{old} 2\.5 s pid=(\d+)")[1])
    assert first != second
    stop_without_complaints(running)


@pytest.mark.parametrize("kind", ["rss", "as"])
def test_a_worker_that_has_grown_is_replaced_after_its_task(
    project: Project, daemon: DaemonFactory, kind: str
) -> None:
    # What is reserved is more than what is there.
    most = {"rss": 150, "as": 1000}[kind]
    running = started(project, daemon, f"--reload-on-{kind}", str(most))
    gate = project.gate("grow")
    path = submit(project, "grow")
    first = project.events.wait("grow").pid
    running.wait_log(
        rf"replacing a worker: it has \d+ MiB, more than `reload-on-{kind}` allows \({most} MiB\) "
        rf"pid={first}\b"
    )
    assert path.exists()
    gate.release()
    running.wait_log(rf"task done task={path.name}")
    running.wait_log(rf"worker left pid={first}\b")
    submit(project, "mark")
    assert project.events.wait("mark").pid != first


@pytest.mark.parametrize("counts", [False, True])
def test_signals_count_as_tasks_if_asked(
    project: Project, daemon: DaemonFactory, counts: bool
) -> None:
    """Those that a worker handles itself, since a task of it registered their handler."""
    project.write("tasks.py", MODULE)
    with open(project.root / "tasks.py", "a") as file:
        file.write(REGISTERS)
    options = ["--spooler-signal-as-task"] if counts else []
    running = daemon(
        *("--spooler", project.spool, "--spooler-import", "tasks"),
        *("--spooler-max-tasks", "3", *options),
    )
    submit(project, "registers")
    pid = project.events.wait("registered").pid
    for _ in range(2):
        project.python("import uwsgi; uwsgi.signal(9)")
        assert project.events.wait("handled").pid == pid
    worn = f"replacing a worker: 3 tasks are as many as `spooler-max-tasks` allows pid={pid}"
    if counts:
        running.wait_log(worn)
    submit(project, "mark")
    assert (project.events.wait("mark").pid == pid) != counts
    if not counts:
        assert running.stop() == 0
        assert not any(worn in line for line in running.log)


def test_nothing_is_lost_or_run_twice_while_all_are_replaced(
    project: Project, daemon: DaemonFactory
) -> None:
    running = started(
        *(project, daemon, "--spooler-processes", "3", "--spooler-max-tasks", "2"),
        *("--spooler", str(project.spool / "5"), "--max-worker-lifetime", "1"),
    )
    count = 0
    with Producer(project) as producer:
        for _ in range(3):
            plain = [call("mark", id=count + n) for n in range(30)]
            urgent = [call("mark", id=count + 30 + n, priority=b"5") for n in range(30)]
            producer.many([task for pair in zip(plain, urgent, strict=True) for task in pair])
            count += 60
            running.reload()
    events = project.events.collect(count, "mark", timeout=60)
    assert sorted(int(event["id"]) for event in events) == list(range(count))
    project.wait_empty()
    pids = [event.pid for event in events]
    assert max(pids.count(pid) for pid in set(pids)) <= 2
    stop_without_complaints(running)
