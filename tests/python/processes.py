"""Processes as `/proc` shows them, by their pidfds: who is whose child, and waiting for an end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from pathlib import Path

# Generous, because they only bound a failure: nothing waits for them when all is well.
WAIT_SECONDS_MAX = 20.0


def parent_of(pid: int) -> int | None:
    """The parent of a process, or None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "backslashreplace")
    except OSError:
        return None
    # The command name in parentheses may itself hold blanks and parentheses.
    return int(stat.rpartition(")")[2].split()[1])


def children_of(pid: int) -> list[int]:
    """The direct children of a process."""
    every = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return sorted(child for child in every if parent_of(child) == pid)


def descendants_of(pid: int) -> list[int]:
    """The children of a process, their children, and so on."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = children_of(waiting.pop())
        found += children
        waiting += children
    return found


def marked(daemon: int, more: str = "") -> set[int]:
    """The programs `... time.sleep(1000)` that descend from workers of a daemon, by the marks in
    their environments; `more` is how the number of the worker begins."""
    wanted = f"UNSPOOL_WORKER={daemon:010}.{more}".encode()
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                environment = Path(f"/proc/{entry}/environ").read_bytes()
                command = Path(f"/proc/{entry}/cmdline").read_bytes()
            except OSError:
                continue
            if wanted in environment and b"time.sleep(1000)" in command:
                found.add(int(entry))
    return found


class ProcessHandle:
    """A process by its pidfd: its number may be given to another process, its pidfd never is."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)

    def send(self, number: signal.Signals) -> None:
        """Signals the process, if it still lives."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def wait(self, timeout: float = WAIT_SECONDS_MAX) -> bool:
        """Waits for the end of the process; False at the bound."""
        return bool(select.select([self._pidfd], [], [], timeout)[0])

    def close(self) -> None:
        """Releases the pidfd."""
        os.close(self._pidfd)


def handles_below(pid: int) -> list[ProcessHandle]:
    """The processes below one, but for those that end while they are looked for."""
    found = []
    for each in descendants_of(pid):
        with contextlib.suppress(ProcessLookupError):
            found.append(ProcessHandle(each))
    return found


def wait_ended(*pids: int, timeout: float = WAIT_SECONDS_MAX) -> None:
    """Waits until these processes have ended, whether or not their parents have read it."""
    for pid in pids:
        try:
            handle = ProcessHandle(pid)
        except ProcessLookupError:
            continue
        with contextlib.closing(handle):
            if not handle.wait(timeout):
                raise AssertionError(f"process {pid} has not ended after {timeout:g} s")
