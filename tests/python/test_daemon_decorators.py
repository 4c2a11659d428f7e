"""Decorators that matter in a daemon: limits of calls, and what is registered without effect."""

from __future__ import annotations

from factory import DaemonFactory
from harness import Project
from spooling import submit, wait_attempts


def test_harakiri_ends_a_worker_that_takes_too_long(
    project: Project, daemon: DaemonFactory
) -> None:
    project.gate("never")
    project.write(
        "tasks.py",
        """
        from reporting import pause, report
        from uwsgidecorators import harakiri, spool

        @spool
        @harakiri(1)
        def slow(arguments):
            report("slow")
            pause("never")

        @spool
        @harakiri(1)
        def quick(arguments):
            report("quick")

        @spool
        @harakiri(1)
        def failing(arguments):
            report("failing")
            raise ValueError
        """,
    )
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    path = submit(project, "slow")
    project.events.wait("slow")
    running.wait_log(r"Timeout \(0:00:01\)!")
    running.wait_log(r'tasks\.py", line \d+ in slow')
    running.wait_log("task failed: its worker exited with status 1")
    # The others go on, and a limit ends with its call, also by an exception.
    submit(project, "failing")
    failed = project.events.wait("failing")
    submit(project, "quick")
    assert project.events.wait("quick").pid == failed.pid
    assert path.exists()
    wait_attempts(path, 1)


def test_what_is_not_carried_out_yet_is_named_once(project: Project, daemon: DaemonFactory) -> None:
    project.write(
        "tasks.py",
        """
        from reporting import report
        from uwsgidecorators import *

        @mule(1)
        def brain(): pass

        @muleloop(1)
        def looping(): pass

        @mulemsg(2)
        def messages(message): pass

        @farm("workers")
        def farmed(message): pass


        @erlang("pid")
        def process(message): pass

        @mulefunc
        def elsewhere(): pass

        @spool
        def task(arguments):
            try:
                elsewhere()
            except ValueError as error:
                report("refused", text=str(error))
        """,
    )
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    line = running.wait_log("WARN .*registered and not carried out yet").string
    for name in ("brain", "looping", "messages", "farmed", "process"):
        assert f" tasks.{name} (needs " in line, name
    submit(project, "task")
    text = project.events.wait("refused")["text"]
    assert text == "no mule configured"
    assert running.stop() == 0
    assert sum("not carried out yet" in line for line in running.log) == 1
