"""Two daemons on one directory: it works, and each task runs exactly once."""

from __future__ import annotations

from collections import Counter

from factory import DaemonFactory
from harness import Project
from spooling import Producer, call, submit

TASKS = 500

MODULE = """
    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def gated(args):
        report("gated")
        pause("start")

    @spool
    def mark(args):
        report("mark", id=args["id"])
"""


def test_two_daemons_run_each_task_exactly_once(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", MODULE)
    gate = project.gate("start")
    options = ("--spooler", project.spool, "--spooler-import", "tasks", "--spooler-quiet")
    daemons = [daemon(*options, "--spooler-processes", "2") for _ in range(2)]
    half = TASKS // 2
    with Producer(project) as producer:
        # Every worker of both is in a task before the first of the others is there.
        producer.many([call("gated") for _ in range(4)])
        workers = {event.pid for event in project.events.collect(4, "gated")}
        assert len(workers) == 4
        producer.many([call("mark", id=number) for number in range(half)])
        gate.release(4)
        producer.many([call("mark", id=number) for number in range(half, TASKS)])
    ran = project.events.collect(TASKS, "mark")
    project.wait_empty()
    for each in daemons:
        assert each.stop() == 0
    times = Counter(int(event["id"]) for event in project.events.history if event.name == "mark")
    assert times == Counter(range(TASKS))
    assert {event.pid for event in ran} <= workers


def test_a_second_daemon_takes_over_what_the_first_leaves(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    gate = project.gate("start")
    options = ("--spooler", project.spool, "--spooler-import", "tasks")
    first = daemon(*options)
    submit(project, "gated")
    project.events.wait("gated")
    # The first is busy, so this one must be run by the second.
    daemon(*options)
    submit(project, "mark", id=1)
    assert project.events.wait("mark").pid not in first.children
    gate.release()
    assert first.stop() == 0
    submit(project, "mark", id=2)
    assert project.events.wait("mark")["id"] == "2"
