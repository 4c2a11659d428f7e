"""Child processes of the benchmark: each its own session, always stopped, checked to be gone."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench import procfs

STOP_SECONDS_MAX = 20.0
KILL_SECONDS_MAX = 10.0
LOG_LINES_SHOWN = 15


PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def _end_with_parent() -> None:
    # Even if the benchmark is killed, what it started ends, and with it the private mount.
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def free_port() -> int:
    """A port of TCP that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class ChildError(Exception):
    """A child did not do what it was started for; its last log lines are in the text."""


class Child:
    """One started process and everything that it started."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = Path(arguments[0]).name
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                arguments,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        self.pid = self.process.pid

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def log_has(self, text: str) -> bool:
        return text in self.log.read_text(errors="replace")

    def failure(self, what: str) -> ChildError:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        log = "".join(f"\n  | {line}" for line in lines) or " (its log is empty)"
        return ChildError(f"{self.name}: {what}{log}")

    def wait_for_log(self, text: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self.log_has(text):
            if self.has_ended():
                raise self.failure(f"ended with {self.process.returncode} before `{text}`")
            if time.monotonic() > deadline:
                raise self.failure(f"did not say `{text}` in {seconds:.0f} s")
            time.sleep(0.01)

    def wait(self, seconds: float) -> None:
        """Until it ends by itself, with status 0."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise self.failure(f"has not ended after {seconds:.0f} s") from None
        if status != 0:
            raise self.failure(f"ended with {status}")

    def stop(self) -> None:
        """Asks the process to end, then kills what is left of it and of its descent."""
        # Workers may be sessions of their own, so the process group is not all of them.
        family = procfs.tree(self.pid)
        if not self.has_ended():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(KILL_SECONDS_MAX)
        deadline = time.monotonic() + KILL_SECONDS_MAX
        while left := [member for member in family if procfs.is_alive(member)]:
            if time.monotonic() > deadline:
                raise self.failure(f"left processes behind: {[member.pid for member in left]}")
            for member in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member.pid, signal.SIGKILL)
            time.sleep(0.005)


@contextlib.contextmanager
def running(arguments: list[str], environment: Mapping[str, str], log: Path) -> Iterator[Child]:
    """Starts a process for the length of a `with` block."""
    child = Child(arguments, environment, log)
    try:
        yield child
    finally:
        child.stop()
