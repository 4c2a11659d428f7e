"""What is asked of each of the two systems, and the plumbing that both use.

A side knows how to start its daemon and its submitter; the rows know what to measure.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from bench.processes import Child

APPS = Path(__file__).with_name("apps")
START_SECONDS_MAX = 60.0
JOB_SECONDS_MAX = 180.0


class Burst(NamedTuple):
    """Some tasks, and how long they took."""

    tasks: int
    nanoseconds: int

    @property
    def per_second(self) -> float:
        return self.tasks * 1e9 / self.nanoseconds


class Job(NamedTuple):
    """One call of a function in `apps/submitter.py`."""

    name: str
    arguments: dict[str, Any]


class Session:
    """Sockets, files and environment of one measurement on one fresh spool directory."""

    def __init__(self, scratch: Path, spool: Path, goal: int) -> None:
        self.scratch = scratch
        self.spool = spool
        self.log = scratch / "log"
        self.result = scratch / "result.json"
        self.environment = {
            "BENCH_GOAL": str(goal),
            "BENCH_REPORTS": str(scratch / "reports"),
            "BENCH_ECHO": str(scratch / "echo"),
            "BENCH_RESULT": str(self.result),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.environment["BENCH_REPORTS"])
        self._children: list[Child] = []
        self._submitted = False
        self._goal: tuple[int, int] | None = None

    def close(self) -> None:
        self._socket.close()

    def with_job(self, job: Job) -> dict[str, str]:
        return {**self.environment, "BENCH_JOB": json.dumps([job.name, job.arguments])}

    def watch(self, child: Child) -> Child:
        """A wait for a report ends with an error if this child fails."""
        self._children.append(child)
        return child

    def wait_submitted(self) -> dict[str, Any]:
        """The result of the job, when the submitter says that it has written it."""
        while not self._submitted:
            self._receive(JOB_SECONDS_MAX)
        result: dict[str, Any] = json.loads(self.result.read_text())
        if "error" in result:
            raise self._children[-1].failure(f"the submitter failed: {result['error']}")
        return result

    def wait_goal(self) -> tuple[int, int]:
        """When the first task began and when the last one did, by CLOCK_MONOTONIC."""
        while self._goal is None:
            self._receive(JOB_SECONDS_MAX)
        return self._goal

    def _receive(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        self._socket.settimeout(0.5)
        while True:
            try:
                text = self._socket.recv(256).decode()
                break
            except TimeoutError:
                for child in self._children:
                    if child.has_ended() and child.process.returncode != 0:
                        status = child.process.returncode
                        raise child.failure(f"ended with {status}") from None
                if time.monotonic() > deadline:
                    failed = self._children[-1]
                    raise failed.failure(f"nothing was reported in {seconds:.0f} s") from None
        if text == "submitted":
            self._submitted = True
        else:
            first, last, _pid = text.split()
            self._goal = (int(first), int(last))


class Side(Protocol):
    """One of the two systems."""

    name: str

    def version(self) -> str:
        """Name and version, with those of its Python."""
        ...

    def submit(self, session: Session, job: Job) -> dict[str, Any]:
        """Runs a job in a submitter while nothing drains the spool."""
        ...

    def serve(self, session: Session, frequency: int) -> contextlib.AbstractContextManager[Child]:
        """Runs the daemon with one worker."""
        ...

    def serve_and_submit(
        self, session: Session, job: Job
    ) -> contextlib.AbstractContextManager[Child]:
        """Runs the daemon with one worker, and beside it a submitter with a job."""
        ...


def wait_empty(spool: Path, seconds: float) -> int:
    """When the last task file had gone, by CLOCK_MONOTONIC."""
    deadline = time.monotonic() + seconds
    while left := sum(1 for _ in task_files(spool)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{left} tasks are left in {spool} after {seconds:.0f} s")
        time.sleep(0.002)
    return time.monotonic_ns()


def task_files(spool: Path) -> Iterator[Path]:
    return spool.glob("uwsgi_spoolfile_on_*")
