"""Signals to the daemon: each has its effect, and none that means nothing ends it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import Daemon, Project
from spooling import submit

MODULE = """
    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def mark(args):
        report("mark")

    @spool
    def fail(args):
        report("fail")
        raise ValueError("no")

    @spool
    def hold(args):
        report("hold")
        pause("hold")
        report("held")
"""


def start(project: Project, daemon: DaemonFactory, *options: str) -> Daemon:
    project.write("tasks.py", MODULE)
    project.gate("hold")
    return daemon("--spooler", project.spool, "--spooler-import", "tasks", *options)


def runs(project: Project) -> None:
    submit(project, "mark")
    project.events.wait("mark")


@pytest.mark.parametrize("name", ["SIGUSR2", "SIGALRM", "SIGPIPE", "SIGWINCH", "SIGTSTP"])
def test_the_daemon_lives_on(project: Project, daemon: DaemonFactory, name: str) -> None:
    running = start(project, daemon)
    running.send(signal.Signals[name])
    runs(project)
    assert running.running
    stat = Path(f"/proc/{running.pid}/stat").read_text()
    # Not stopped either.
    assert stat.rpartition(")")[2].split()[0] in "RSD"
    if name == "SIGTSTP":
        running.wait_log("there are no web workers to pause; tasks go on")


def test_sigusr1_tells_how_the_spool_is_doing(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon, "--spooler-processes=2", "--spooler-frequency=60")
    runs(project)
    submit(project, "fail")
    running.wait_log("task failed")
    submit(project, "hold")
    project.events.wait("hold")
    # One that waits, beside the failed one.
    submit(project, "mark", "--delay", "600")
    late = submit(project, "mark")
    running.wait_log(rf"task done task={late.name} ")
    running.send(signal.SIGUSR1)
    running.wait_log(
        rf"state of the daemon pid={running.pid} spools=1 workers=2 mules=0 generation=1"
    )
    line = running.wait_log(
        r"state of the spool spool=(\S+) pending=(\d+) due=0 running=1 done=2 failed=1 workers=2"
    )
    assert line[1] == str(project.spool)
    assert line[2] == "2"
    project.gate("hold").release()
    project.events.wait("held")


def test_sigquit_waits_for_no_task(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    task = submit(project, "hold")
    project.events.wait("hold")
    running.send(signal.SIGQUIT)
    running.wait_log("told to stop at once: sending SIGTERM to the workers")
    assert running.wait_exit() == 0
    # It was interrupted, not lost and not counted.
    assert task.exists()
    assert task.read_bytes()[3] == 0
    assert all(event.name != "held" for event in project.events.history)


def test_with_die_on_term_sigquit_reloads(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon, "--die-on-term")
    before = set(running.workers)
    mark = running.mark()
    running.send(signal.SIGQUIT)
    running.wait_reloaded(mark)
    runs(project)
    assert running.running
    assert before.isdisjoint({event.pid for event in project.events.history})
    assert running.stop(signal.SIGTERM) == 0


def test_what_signals_do_is_not_passed_on_to_workers(
    project: Project, daemon: DaemonFactory
) -> None:
    """A handler goes with an exec; SIG_IGN would stay, for everything that a task starts."""
    running = start(project, daemon)
    ignored = {}
    for pid in running.children:
        status = Path(f"/proc/{pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("SigIgn:"))
        ignored[pid] = int(line.split()[1], 16)
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGTSTP, signal.SIGQUIT):
        assert not any(mask >> (number - 1) & 1 for mask in ignored.values()), number
    assert os.getpid() not in ignored
