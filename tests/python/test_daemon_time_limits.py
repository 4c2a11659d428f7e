"""Limits on a run: a soft one raises in the task, a hard one kills its worker, and expiry."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from factory import DaemonFactory
from harness import Daemon, Project, wait_gone
from processes import ProcessHandle
from spooling import attempts, stop_without_complaints, submit

TASKS = """
    import os
    import signal
    import time

    from reporting import pause, report
    from unspool import SoftTimeLimitExceeded
    from uwsgidecorators import spool

    @spool
    def sleeps(arguments):
        report("run")
        time.sleep(60)

    @spool
    def computes(arguments):
        report("run")
        while True:
            pass

    @spool
    def cleans_up(arguments):
        try:
            time.sleep(60)
        except SoftTimeLimitExceeded:
            report("cleaned up")

    @spool
    def deaf(arguments):
        # Blocked signals are what C code that does not look comes to.
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.SIGRTMAX + 1))
        report("run")
        while True:
            try:
                time.sleep(60)
            except BaseException:
                pass

    @spool
    def quick(arguments):
        report("quick")

    @spool
    def held(arguments):
        report("held")
        pause("held")
"""


def start(project: Project, daemon: DaemonFactory, *options: str) -> Daemon:
    project.write("tasks.py", TASKS)
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    return daemon(*spool, "--spooler-frequency", "60", *options)


def record(path: Path) -> list[dict[str, Any]]:
    text = (path.parent / ".unspool" / "attempts" / path.name).read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("function", ["sleeps", "computes"])
@pytest.mark.parametrize("whose", ["the spool's", "its own"])
def test_a_soft_limit_is_an_exception_in_the_task(
    project: Project, daemon: DaemonFactory, function: str, whose: str
) -> None:
    spools, own = ("0.2", "60") if whose == "the spool's" else ("60", "0.2")
    running = start(project, daemon, "--spooler-soft-time-limit", spools)
    path = submit(project, function, "--soft-time-limit", own)
    running.wait_log(rf"task failed task={path.name} .*attempt=1 again_s=60")
    running.wait_log("unspool.SoftTimeLimitExceeded: the task runs longer than its soft time limit")
    (attempt,) = record(path)
    assert attempt["outcome"] == "timeout"
    assert 0.2 <= attempt["duration"] < 10
    assert f"in {function}" in attempt["traceback"]
    # The worker goes on.
    run = project.events.wait("run")
    submit(project, "quick")
    assert project.events.wait("quick").pid == run.pid


def test_a_task_that_cleans_up_and_returns_is_done(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon, "--spooler-soft-time-limit", "0.1")
    path = submit(project, "cleans_up")
    project.events.wait("cleaned up")
    wait_gone(path)
    stop_without_complaints(running)


def test_tasks_within_their_soft_limit_notice_nothing(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, "--spooler-soft-time-limit", "0.1")
    for _ in range(20):
        submit(project, "quick")
    project.events.collect(20, "quick")
    # A limit that has passed by now was that of another task.
    path = submit(project, "held", "--soft-time-limit", "0.05")
    running.wait_log(rf"task failed task={path.name}")
    submit(project, "quick")
    project.events.wait("quick")


def test_a_hard_limit_of_its_own_kills_what_does_not_listen(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon)
    path = submit(project, "deaf", "--soft-time-limit", "0.1", "--time-limit", "0.4")
    worker = ProcessHandle(project.events.wait("run").pid)
    running.wait_log("a task runs longer than `time_limit`; killing its worker")
    running.wait_log(rf"task failed: its worker was killed: it ran longer .*task={path.name}")
    assert worker.wait()
    worker.close()
    (attempt,) = record(path)
    assert attempt["outcome"] == "killed"
    assert attempt["error"] == "its worker was killed: it ran longer than `time_limit`, 0.4 s"
    assert 0.4 <= attempt["duration"] < 10


def test_the_shorter_one_of_two_hard_limits_counts(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon, "--spooler-harakiri", "0.3")
    submit(project, "sleeps", "--time-limit", "60")
    running.wait_log("a task runs longer than `spooler-harakiri`; killing its worker")
    submit(project, "quick")
    project.events.wait("quick")


def test_a_task_that_is_not_started_in_time_is_buried(
    project: Project, daemon: DaemonFactory
) -> None:
    late = submit(project, "quick", "--expires", "0")
    good = submit(project, "quick", "--expires", "600")
    running = start(project, daemon)
    running.wait_log(
        rf"task given up: it was not started before it expired task={late.name} .*function=quick "
        rf".*moved_to=.*/dead/{late.name}$"
    )
    wait_gone(good)
    assert len([event for event in project.events.history if event.name == "quick"]) == 1
    (attempt,) = [
        json.loads(line)
        for line in (project.spool / "dead" / f"attempts.{late.name}").read_text().splitlines()
    ]
    assert (attempt["outcome"], attempt["attempt"]) == ("expired", 0)


def test_a_task_that_has_run_does_not_expire(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon, "--spooler-soft-time-limit", "0.1")
    path = submit(project, "sleeps", "--expires", "3", "--retry-delay", "0.1")
    expires = time.time() + 3
    running.wait_log(rf"task failed task={path.name} .*attempt=1 ")
    # Attempts go on beyond its time.
    while record(path)[-1]["at"] <= expires + 0.2:
        running.wait_log(rf"task failed task={path.name} .*attempt={attempts(path) + 1} ")
    assert path.exists()


def test_an_expired_task_that_cannot_be_moved_stays_and_does_not_run(
    project: Project, daemon: DaemonFactory
) -> None:
    project.spool.mkdir()
    (project.spool / "dead").write_text("in the way")
    path = submit(project, "quick", "--expires", "0")
    running = start(project, daemon)
    running.wait_log("cannot be moved to dead/: it stays, and does not run")
    assert running.stop() == 0
    os.utime(path)
    again = start(project, daemon)
    again.wait_log("cannot be moved to dead/: it stays, and does not run")
    assert attempts(path) == 0
    assert len(record(path)) == 1, "it is said once, however often it is looked at"
    assert not [event for event in project.events.history if event.name == "quick"]


def test_a_run_that_vanished_with_its_daemon_is_an_attempt(
    project: Project, daemon: DaemonFactory
) -> None:
    project.gate("held")
    doomed = start(project, daemon)
    path = submit(project, "held")
    worker = project.events.wait("held").pid
    # So that the daemon cannot count it.
    os.kill(doomed.pid, signal.SIGSTOP)
    with_it = ProcessHandle(worker)
    os.kill(worker, signal.SIGKILL)
    assert with_it.wait()
    with_it.close()
    doomed.kill()
    assert attempts(path) == 0
    running = start(project, daemon)
    running.wait_log(
        rf"task failed: its worker and its daemon vanished while it ran task={path.name} "
        rf".*attempt=1 again_s=60"
    )
    assert attempts(path) == 1
    (attempt,) = record(path)
    assert (attempt["outcome"], attempt["pid"]) == ("lost", worker)
    # Nothing of the dead daemon is left, so that no start counts it again.
    assert running.stop() == 0
    assert not list((project.spool / ".unspool" / "daemons").iterdir())


def test_a_worker_that_outlives_its_daemon_counts_and_records_its_failure(
    project: Project, daemon: DaemonFactory
) -> None:
    doomed = start(project, daemon, "--spooler-retry-delay", "30")
    path = submit(project, "sleeps", "--soft-time-limit", "1")
    worker = ProcessHandle(project.events.wait("run").pid)
    doomed.kill()
    assert worker.wait()
    worker.close()
    assert attempts(path) == 1
    (attempt,) = record(path)
    assert (attempt["outcome"], attempt["attempt"]) == ("timeout", 1)
    assert attempt["again_at"] == pytest.approx(attempt["at"] + 30, abs=0.1)
    assert path.stat().st_mtime == pytest.approx(attempt["again_at"], abs=0.01)


def test_a_hard_limit_holds_without_a_daemon_too(project: Project, daemon: DaemonFactory) -> None:
    doomed = start(project, daemon)
    path = submit(project, "deaf", "--time-limit", "0.5")
    run = project.events.wait("run")
    worker = ProcessHandle(run.pid)
    # It would end the worker itself.
    os.kill(doomed.pid, signal.SIGSTOP)
    doomed.kill()
    assert worker.wait(), "its own timer ends it, ten seconds after the daemon should have"
    worker.close()
    assert 10 <= time.monotonic() - run.monotonic < 20
    assert path.exists()
