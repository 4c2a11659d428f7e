"""The daemon is killed: workers finish what they run and leave, the next daemon does the rest."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from factory import DaemonFactory
from harness import Daemon, ProcessHandle, Project, wait_gone
from spooling import Producer, attempts, call, submit

MODULE = """
    from uwsgidecorators import spool, spoolraw, uwsgi
    from reporting import pause, report

    @spool
    def hold(args):
        report("hold", id=args.get("id"))
        pause("hold")
        report("held", id=args.get("id"))

    @spoolraw
    def hold_and(args):
        report("hold")
        pause("hold")
        if args["then"] == "fail":
            raise ValueError("after its daemon")
        return int(args["then"])

    @spool
    def mark(args):
        report("mark", id=args.get("id"))
"""


@pytest.fixture
def doomed(project: Project) -> Iterator[Daemon]:
    """A daemon with two workers that the test kills."""
    project.write("tasks.py", MODULE)
    project.gate("hold")
    options = ("--spooler", project.spool, "--spooler-import", "tasks")
    made = project.daemon(*options, "--spooler-processes", "2")
    try:
        yield made.start().wait_ready()
    finally:
        made.close()


def test_workers_finish_what_they_run_and_the_next_daemon_runs_the_rest_once(
    project: Project, doomed: Daemon, daemon: DaemonFactory
) -> None:
    gate = project.gate("hold")
    with Producer(project) as producer:
        # Some of what waits will be handed ahead to the workers, which do not start it any more.
        producer.many([call("mark", id="warm") for _ in range(20)])
        project.events.collect(20, "mark")
        held = producer.many([call("hold", id=number) for number in range(2)])
        workers = [ProcessHandle(event.pid) for event in project.events.collect(2, "hold")]
        producer.many([call("mark", id=number) for number in range(50)])
    doomed.kill()
    daemon("--spooler", project.spool, "--spooler-import", "tasks", "--spooler-processes", "2")
    submit(project, "mark", id="50")
    gate.release(2)
    ended = project.events.collect(2, "held")
    assert {event.pid for event in ended} == {worker.pid for worker in workers}
    for worker in workers:
        assert worker.wait(), "a worker without a daemon has nothing left to do"
        worker.close()
    for task in held:
        wait_gone(task.path)
    ran = project.events.collect(51, "mark")
    assert sorted(int(event["id"]) for event in ran) == list(range(51))
    assert not {event.pid for event in ran} & {worker.pid for worker in workers}
    project.wait_empty()
    history = [event.name for event in project.events.history]
    assert (history.count("hold"), history.count("mark")) == (2, 71)


def test_idle_workers_and_the_zygote_leave_at_once(project: Project, doomed: Daemon) -> None:
    for number in range(2):
        submit(project, "mark", id=number)
    project.events.collect(2, "mark")
    children = [ProcessHandle(pid) for pid in doomed.children]
    assert len(children) == 3
    doomed.kill()
    for child in children:
        assert child.wait()
        child.close()


@pytest.mark.parametrize(
    ("then", "counted", "put_off"), [("fail", 1, True), ("-1", 0, True), ("0", 0, False)]
)
def test_other_outcomes_are_written_too(
    project: Project, doomed: Daemon, then: str, counted: int, put_off: bool
) -> None:
    path = submit(project, "hold_and", then=then)
    worker = ProcessHandle(project.events.wait("hold").pid)
    doomed.kill()
    before = time.time()
    project.gate("hold").release()
    assert worker.wait()
    worker.close()
    assert attempts(path) == counted
    assert (path.stat().st_mtime >= before + 30) == put_off
