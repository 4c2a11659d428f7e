"""A daemon that serves statistics, the tasks that it runs, and what is said of its only spool."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from factory import DaemonFactory
from harness import Daemon, Project
from statistics_client import SECONDS_MAX, statistics

MODULE = """
    import os

    import uwsgi
    from uwsgidecorators import spool, spoolraw
    from reporting import pause, report

    VERSION = 1

    @spool
    def mark(args):
        report("mark", version=VERSION)

    @spool
    def hold(args):
        report("hold", pid=os.getpid())
        pause("hold")

    @spoolraw
    def again(args):
        return uwsgi.SPOOL_RETRY

    @spoolraw
    def leave(args):
        return uwsgi.SPOOL_IGNORE

    @spool
    def fail(args):
        raise ValueError("no such order")

    @spool
    def die(args):
        os._exit(9)
"""

StartServing = Callable[..., Daemon]


def starter(project: Project, daemon: DaemonFactory, where: Path) -> StartServing:
    """Starts a daemon that serves at `where`; whatever is tried again is so after an hour."""
    project.write("tasks.py", MODULE)

    def start(*options: str, ready: bool = True) -> Daemon:
        spool = ("--spooler", project.spool, "--spooler-import", "tasks")
        return daemon(
            *spool, "--spooler-frequency", "3600", "--stats", where, *options, ready=ready
        )

    return start


def spool_of(where: Path) -> dict[str, Any]:
    """What is said of the only spool."""
    (spool,) = statistics(where)["unspool"]["spools"]
    assert isinstance(spool, dict)
    return spool


def wait_for(where: Path, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Asks until the only spool is so."""
    deadline = time.monotonic() + SECONDS_MAX
    while not holds(spool := spool_of(where)):
        assert time.monotonic() < deadline, spool
    return spool
