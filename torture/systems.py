"""The systems that are tortured: unspool, and the real uWSGI where a fault can be done to both."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from harness import PYTHON, REAL_UWSGI, UNSPOOL, Daemon, HarnessError, Project
from processes import children_of

from torture.oracle import APPLICATION

SUBMITTER = Path(__file__).resolve().parent / "submitter.py"
MODULE = "torture_app"


@dataclass(frozen=True)
class Plan:
    """What a submitter does; see `submitter.py`."""

    name: str
    seed: int
    record: str
    count: int
    pause: float = 0.0
    levels: tuple[str, ...] = ("none",)
    kinds: tuple[str, ...] = ("quick",)
    ms: int = 0
    bytes: int = 0


class Unspool:
    """Daemons and submitters of unspool on the spool of a project."""

    name = "unspool"
    # What the log says of a daemon, or of each of its workers, that can run tasks.
    ready = r"\bready\b"
    ready_each = False
    kinds: tuple[str, ...] = ("quick", "quick", "quick", "fails", "retries", "urgent", "later")

    def __init__(self, project: Project, workers: int, *options: str) -> None:
        self.project = project
        self.workers = workers
        self.options = options
        project.write(f"{MODULE}.py", APPLICATION)

    def command(self, spool: Path) -> list[str]:
        """What starts a daemon of that spool."""
        return [
            os.fspath(UNSPOOL),
            "run",
            f"--spooler={spool}",
            f"--spooler-processes={self.workers}",
            f"--spooler-import={MODULE}",
            "--spooler-frequency=0.3",
            "--spooler-settle=1",
            "--spooler-quiet",
            *self.options,
        ]

    def submitter_command(self, spool: Path) -> list[str]:
        """What starts a submitter; one of unspool has its spool from its environment."""
        return [os.fspath(PYTHON), os.fspath(SUBMITTER)]

    def daemon(self) -> Daemon:
        """A daemon, not yet started."""
        command = self.command(self.project.spool)
        return Daemon(
            *command[1:], cwd=self.project.root, env=self.project.env, command=(command[0],)
        )

    def wait_ready(self, daemon: Daemon) -> None:
        """Waits until workers can run tasks."""
        if not self.ready_each:
            daemon.wait_ready()
            return
        for _ in range(self.workers):
            daemon.wait_log(self.ready)

    def workers_of(self, daemon: Daemon) -> list[int]:
        """The processes that run tasks now."""
        return daemon.workers

    def submitter(self, plan: Plan) -> subprocess.Popen[bytes]:
        """Starts a submitter; its errors are read from `stderr`."""
        return subprocess.Popen(
            self.submitter_command(self.project.spool),
            cwd=self.project.root,
            env={**self.project.producer_env, "TORTURE_SUBMITTER": json.dumps(asdict(plan))},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )


class RealUwsgi(Unspool):
    """The same by the real uWSGI, whose submitters have to be processes of it."""

    name = "uWSGI"
    ready = "spawned the uWSGI spooler"
    ready_each = True
    # Without priorities, which it runs only with another option.
    kinds = ("quick", "quick", "quick", "fails", "retries", "later")

    def _program(self, spool: Path) -> list[str]:
        return [
            os.fspath(REAL_UWSGI),
            "--master",
            "--die-on-term",
            f"--virtualenv={REAL_UWSGI.parent.parent}",
            f"--pythonpath={self.project.root}",
            f"--pythonpath={SUBMITTER.parent}",
            f"--spooler={spool}",
        ]

    def command(self, spool: Path) -> list[str]:
        """What starts a master with its spoolers; the spool must be there."""
        return [
            *self._program(spool),
            f"--spooler-processes={self.workers}",
            f"--spooler-import={MODULE}",
            "--spooler-frequency=1",
            "--spooler-quiet",
            *self.options,
        ]

    def submitter_command(self, spool: Path) -> list[str]:
        """What starts a master that submits, and ends before it would start a spooler."""
        return [*self._program(spool), f"--import={SUBMITTER.stem}", "--disable-logging"]

    def daemon(self) -> Daemon:
        """A master with its spoolers, not yet started."""
        self.project.spool.mkdir(mode=0o700, exist_ok=True)
        return super().daemon()

    def workers_of(self, daemon: Daemon) -> list[int]:
        """Its spoolers that live."""
        log = "\n".join(daemon.log)
        spoolers = {int(pid) for pid in re.findall(r"spawned the uWSGI spooler.* pid (\d+)", log)}
        return [pid for pid in children_of(daemon.pid) if pid in spoolers]

    def submitter(self, plan: Plan) -> subprocess.Popen[bytes]:
        """Starts a submitter, which says nothing of its errors but their status."""
        # On a disk that failed there is neither a spool nor a way to make one.
        with contextlib.suppress(OSError):
            self.project.spool.mkdir(mode=0o700, exist_ok=True)
        return subprocess.Popen(
            self.submitter_command(self.project.spool),
            cwd=self.project.root,
            env={**self.project.env, "TORTURE_SUBMITTER": json.dumps(asdict(plan))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def need_real_uwsgi() -> None:
    """Raises HarnessError where there is no real uWSGI."""
    if not REAL_UWSGI.exists():
        raise HarnessError(f"there is no {REAL_UWSGI}: make {REAL_UWSGI.parent.parent}/.installed")
