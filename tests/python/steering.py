"""What the tests of commands that steer tasks share: an application and the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from factory import DaemonFactory
from harness import Daemon, Project
from spooling import submit

DONE, FAILED, USAGE, NOTHING, HELD = 0, 1, 2, 3, 4

MODULE = """
    import os
    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def mark(args):
        report("mark", **{key: args[key] for key in args if key in ("id", "body", "more")})

    @spool
    def fragile(args):
        if not os.path.exists(os.environ["UNSPOOL_TEST_ROOT"] + "/mended"):
            raise ValueError("not mended")
        report("fragile", id=args["id"])

    @spool
    def fails(args):
        raise ValueError("as always")

    @spool
    def waits(args):
        report("waits")
        pause("waits")

    @spool(pass_arguments=True)
    def pickled(a, b):
        report("pickled", a=a, b=b)
"""


def start(project: Project, daemon: DaemonFactory, *options: str) -> Daemon:
    """A daemon that runs the application, and has its workers."""
    if not (project.root / "tasks.py").exists():
        project.write("tasks.py", MODULE)
    return daemon("--spooler", project.spool, "--import", "tasks", *options)


def fragile(project: Project, *options: str, **pairs: object) -> Path:
    """A task that is given up after one attempt unless the application is mended."""
    return submit(project, "fragile", "--max-attempts", "1", *options, **pairs)


def mend(project: Project) -> None:
    """From here on `fragile` does what it should."""
    (project.root / "mended").touch()


def words(project: Project, command: str, *arguments: str | Path, status: int = DONE) -> list[str]:
    """A command that must end so; the first word of each line of its answer."""
    done = project.unspool(command, *arguments, check=False)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return [line.split(maxsplit=1)[0] for line in done.stdout.splitlines()]


def complaint(project: Project, command: str, *arguments: str | Path, status: int) -> str:
    """What a command says that must fail so."""
    done = project.unspool(command, *arguments, check=False)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done.stderr


def rows(project: Project, command: str, *arguments: str | Path) -> list[dict[str, Any]]:
    """The objects of a command's JSON lines, however it ends."""
    done = project.unspool(command, "--json", *arguments, check=False)
    return [json.loads(line) for line in done.stdout.splitlines()]


def bury(project: Project, path: Path, priority: str | None = None) -> Path:
    """What a burial leaves whose daemon is gone: the task in `dead/`, and a record."""
    dead = project.spool / "dead"
    dead.mkdir(mode=0o700, exist_ok=True)
    attempt = {"attempt": 1, "outcome": "exception", "at": 1.0, "host": "h", "pid": 1, "error": "x"}
    if priority is not None:
        attempt["priority"] = priority
    (dead / f"attempts.{path.name}").write_text(json.dumps(attempt) + "\n")
    return path.rename(dead / path.name)
