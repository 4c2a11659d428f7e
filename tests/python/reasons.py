"""What the tests of `unspool why` share: an application, and the reasons of an answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from factory import DaemonFactory
from harness import Daemon, Project

OK, NOTHING = 0, 3

MODULE = """
    import os
    import time

    from uwsgidecorators import spool, spoolraw
    from reporting import pause, report

    @spool
    def mark(args):
        report("mark", number=args.get("number"))

    @spool
    def slow(args):
        time.sleep(0.02)
        report("slow")

    @spool
    def hold(args):
        report("hold", pid=os.getpid())
        pause("hold")

    @spool
    def stubborn(args):
        report("stubborn", pid=os.getpid())
        for _ in range(2):
            try:
                pause("hold")
            except BaseException:
                report("told")

    @spool
    def fail(args):
        raise ValueError("no such order")

    @spool
    def die(args):
        report("die", pid=os.getpid())
        os._exit(9)

    @spoolraw
    def leave(args):
        return 0
"""


def start(project: Project, daemon: DaemonFactory, *options: str, ready: bool = True) -> Daemon:
    """A daemon with the application, which retries after an hour."""
    if not (project.root / "tasks.py").exists():
        project.write("tasks.py", MODULE)
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    return daemon(*spool, "--spooler-frequency", "3600", *options, ready=ready)


def why(project: Project, task: str | Path, *options: str) -> dict[str, Any]:
    """The answer about a task."""
    done = project.unspool("why", "--json", *options, task, check=False)
    assert done.returncode in (OK, NOTHING), done.stderr
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


def codes(answer: dict[str, Any]) -> list[str]:
    """The codes of its reasons."""
    return [reason["reason"] for reason in answer["reasons"]]


def reason(answer: dict[str, Any], code: str) -> dict[str, Any]:
    """The reason of this code, which has to be there."""
    found = [reason for reason in answer["reasons"] if reason["reason"] == code]
    assert found, answer["reasons"]
    one = found[0]
    assert isinstance(one, dict)
    return one


def wait_why(
    project: Project, task: Path, holds: Callable[[dict[str, Any]], bool], *options: str
) -> dict[str, Any]:
    """Asks until the answer is so: the daemon may not have met the task yet."""
    deadline = time.monotonic() + 20
    while not holds(answer := why(project, task, *options)):
        assert time.monotonic() < deadline, answer
    return answer
