"""The real uWSGI, from PyPI, as `make` installs it into `.venv-uwsgi`."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.processes import Child, running
from bench.side import APPS, START_SECONDS_MAX, Job, Session


class UwsgiSide:
    """uWSGI as its users run it for tasks alone: a master, one spooler process, quiet."""

    name = "uWSGI"

    def __init__(self, environment: Path) -> None:
        self.environment = environment
        self.binary = environment / "bin" / "uwsgi"

    def missing(self) -> str | None:
        """Why it cannot be measured, or None."""
        if self.binary.exists():
            return None
        return f"{self.binary} is missing (python3 -m venv; pip install uwsgi==2.0.31)"

    def version(self) -> str:
        number = subprocess.run(
            [self.binary, "--version"], check=True, capture_output=True, text=True
        ).stdout.strip()
        python = subprocess.run(
            [self.binary, "--python-version"], check=True, capture_output=True, text=True
        ).stdout.strip()
        return f"uWSGI {number}, Python {python}"

    def command(self, *options: str) -> list[str]:
        """What starts a master."""
        return [
            str(self.binary),
            "--master",
            "--die-on-term",
            "--disable-logging",
            "--spooler-quiet",
            f"--virtualenv={self.environment}",
            f"--pythonpath={APPS}",
            *options,
        ]

    def _daemon(self, session: Session, frequency: int) -> list[str]:
        return self.command(
            f"--spooler={session.spool}",
            "--spooler-processes=1",
            "--spooler-import=bench_tasks",
            f"--spooler-frequency={frequency}",
        )

    def submit(self, session: Session, job: Job) -> dict[str, Any]:
        # An external spooler is one that this instance does not run: the task is only written.
        command = self.command(
            f"--spooler-external={session.spool}", f"--mule={APPS / 'submitter.py'}"
        )
        with running(command, session.with_job(job), session.log) as child:
            session.watch(child)
            return session.wait_submitted()

    @contextlib.contextmanager
    def serve(self, session: Session, frequency: int) -> Iterator[Child]:
        command = self._daemon(session, frequency)
        with running(command, session.environment, session.log) as child:
            child.wait_for_log("spawned the uWSGI spooler", START_SECONDS_MAX)
            yield session.watch(child)

    @contextlib.contextmanager
    def serve_and_submit(self, session: Session, job: Job) -> Iterator[Child]:
        # A task that is submitted while the spooler is busy may wait for the next scan: with the
        # shortest frequency that it has, not its default of 30 s, it loses least by that.
        command = [*self._daemon(session, 1), f"--mule={APPS / 'submitter.py'}"]
        with running(command, session.with_job(job), session.log) as child:
            yield session.watch(child)
