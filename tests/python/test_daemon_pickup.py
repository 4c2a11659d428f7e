"""A task starts within a millisecond of its submission when a worker is idle."""

from __future__ import annotations

from factory import DaemonFactory
from harness import Project, wait_gone
from pacing import Batch, Relay, check_promise
from spooling import Producer, submit

TASKS = 300
PROMISED_SECONDS = 0.001

MODULE = """
    import time

    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def mark(args):
        started = time.monotonic()
        report("mark", started=started)

    @spool
    def hold(args):
        report("hold")
        pause("hold")
"""


def check_pickup(project: Project) -> None:
    """Submits one task after the other, each to an idle worker."""
    with Producer(project) as producer, Relay() as relay:

        def measure() -> Batch:
            late, plain = [], []
            for _ in range(TASKS):
                task = producer.one("mark")
                late.append(project.events.wait("mark")["started"] - task.returned)
                wait_gone(task.path)
                plain.append(relay.measure())
            return late, plain

        check_promise(measure, PROMISED_SECONDS)


def test_an_idle_worker_starts_a_task_within_a_millisecond(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    daemon("--spooler", project.spool, "--spooler-import", "tasks")
    check_pickup(project)


def test_also_while_other_workers_run_long_tasks(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", MODULE)
    gate = project.gate("hold")
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    daemon(*spool, "--spooler-processes", "3")
    for _ in range(2):
        submit(project, "hold")
    holding = {event.pid for event in project.events.collect(2, "hold")}
    check_pickup(project)
    assert len(holding) == 2
    assert {
        event.pid for event in project.events.history if event.name == "mark"
    } & holding == set()
    gate.release(2)
