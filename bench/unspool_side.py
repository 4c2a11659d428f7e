"""unspool, as `make build` installs it into `.venv`."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.processes import Child, running
from bench.side import APPS, JOB_SECONDS_MAX, START_SECONDS_MAX, Job, Session


class UnspoolSide:
    """The daemon with one worker; the submitter is a plain Python process."""

    name = "unspool"

    def __init__(self, environment: Path, durability: str = "none") -> None:
        self.binary = environment / "bin" / "unspool"
        self.python = environment / "bin" / "python"
        self.durability = durability

    def missing(self) -> str | None:
        """Why it cannot be measured, or None."""
        return None if self.binary.exists() else f"{self.binary} is missing (run `make build`)"

    def version(self) -> str:
        number = subprocess.run(
            [self.binary, "--version"], check=True, capture_output=True, text=True
        ).stdout.strip()
        python = subprocess.run(
            [self.python, "--version"], check=True, capture_output=True, text=True
        ).stdout.strip()
        return f"{number}, {python}"

    def with_durability(self, durability: str) -> UnspoolSide:
        return UnspoolSide(self.binary.parent.parent, durability)

    def _submitter(self, session: Session, job: Job) -> tuple[list[str], dict[str, str]]:
        environment = {
            **session.with_job(job),
            "BENCH_SPOOL": str(session.spool),
            "BENCH_DURABILITY": self.durability,
        }
        return [str(self.python), str(APPS / "submitter.py")], environment

    def submit(self, session: Session, job: Job) -> dict[str, Any]:
        command, environment = self._submitter(session, job)
        with running(command, environment, session.log) as child:
            session.watch(child)
            result = session.wait_submitted()
            child.wait(JOB_SECONDS_MAX)
            return result

    @contextlib.contextmanager
    def serve(self, session: Session, frequency: int) -> Iterator[Child]:
        command = [
            str(self.binary),
            "run",
            f"--spooler={session.spool}",
            "--spooler-import=bench_tasks",
            f"--pythonpath={APPS}",
            "--spooler-processes=1",
            f"--spooler-frequency={frequency}",
            "--spooler-quiet",
        ]
        with running(command, session.environment, session.log) as child:
            child.wait_for_log("ready", START_SECONDS_MAX)
            yield session.watch(child)

    @contextlib.contextmanager
    def serve_and_submit(self, session: Session, job: Job) -> Iterator[Child]:
        command, environment = self._submitter(session, job)
        with (
            self.serve(session, 1) as daemon,
            running(command, environment, session.scratch / "submitter.log") as submitter,
        ):
            session.watch(submitter)
            yield daemon
