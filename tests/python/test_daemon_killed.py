"""The daemon is killed: workers finish what they run and leave, the next daemon does the rest."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from factory import DaemonFactory
from harness import Daemon, Project, wait_gone
from processes import ProcessHandle
from spooling import QUICK_OR_HELD, Producer, attempts, hand_ahead, submit

MODULE = """
    from uwsgidecorators import spool, spoolraw, uwsgi
    from reporting import pause, report

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
    """A daemon that the test kills."""
    project.write("tasks.py", MODULE)
    project.gate("hold")
    made = project.daemon("--spooler", project.spool, "--spooler-import", "tasks")
    try:
        yield made.start().wait_ready()
    finally:
        made.close()


def test_the_worker_finishes_what_it_runs_and_the_next_daemon_runs_the_rest_once(
    project: Project, doomed: Daemon, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", QUICK_OR_HELD)
    doomed.reload()
    with Producer(project) as producer:
        first = hand_ahead(project, producer, 50)
    worker = ProcessHandle(project.events.history[-1].pid)
    doomed.kill()
    daemon("--spooler", project.spool, "--spooler-import", "tasks")
    submit(project, "mark", id="50")
    project.gate("ahead").release()
    assert project.events.wait("mark ends").pid == worker.pid
    assert worker.wait(), "a worker without a daemon has nothing left to do"
    worker.close()
    wait_gone(first.path)
    ran = project.events.collect(51, "mark")
    assert sorted(int(event["id"]) for event in ran) == list(range(51))
    assert worker.pid not in {event.pid for event in ran}
    project.wait_empty()
    assert len([event for event in project.events.history if event.name == "mark"]) == 50 + 1 + 51


def test_idle_workers_and_the_zygote_leave_at_once(project: Project, doomed: Daemon) -> None:
    submit(project, "mark")
    project.events.wait("mark")
    children = [ProcessHandle(pid) for pid in doomed.children]
    assert len(children) == 2
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
