"""A spool with a long backlog, and what a daemon that starts on it needs.

The tasks are real files, named as unspool names them, in four folders, half of them due tomorrow.
The only worker is held by the first one, so that no other has its turn. Opened files are counted by
inotify, which sees every process.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import Daemon, HarnessError, Project
from inotify import OpenCounter
from spooling import foreign

FOLDERS = ("", "1", "5", "10")
APPLICATION = """
    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def hold(args):
        report("hold")
        pause("hold")
"""
SCANNED = r"spool scanned .*tasks=(\d+) due=(\d+) ms=(\d+)"
START_SECONDS_MAX = 120.0


@dataclass(frozen=True)
class Figures:
    """What a start on a backlog took."""

    tasks: int
    due: int
    # From the start of the process to the end of the first scan.
    start_seconds: float
    scan_seconds: float
    # Of the daemon's processor time until then: a busy machine lengthens it less than the others.
    cpu_seconds: float
    resident_bytes: int
    peak_bytes: int
    # Before any task was there.
    empty_bytes: int
    opened: int
    descriptors: int

    @property
    def bytes_each(self) -> float:
        """Peak resident memory that a task costs."""
        return (self.peak_bytes - self.empty_bytes) / self.tasks


def fill(spool: Path, count: int) -> None:
    """Writes so many tasks, every second one due tomorrow."""
    content = foreign({b"ud_spool_func": b"hold", b"number": b"12345"})
    later_ns = time.time_ns() + 86_400 * 10**9
    host = socket.gethostname()
    for at, folder in enumerate(FOLDERS):
        path = spool / folder
        path.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        now = int(time.time())
        for number in range(at, count, len(FOLDERS)):
            random = number * 2_654_435_761 % 2**31
            name = (
                f"uwsgi_spoolfile_on_{host}_{os.getpid()}_{number}_{random}_{now}_{number % 10**6}"
            )
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            file = os.open(name, flags, 0o600, dir_fd=descriptor)
            os.write(file, content)
            if number // len(FOLDERS) % 2:
                os.utime(file, ns=(later_ns, later_ns + number * 10**6))
            os.close(file)
        os.close(descriptor)


def _status(pid: int, name: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    if found is None:
        raise HarnessError(f"/proc/{pid}/status has no {name}")
    return int(found[1]) * 1024


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _daemon(project: Project, spool: Path) -> Daemon:
    return project.daemon(
        "--spooler", spool, "--spooler-processes", "1", "--spooler-import", "app", "--spooler-quiet"
    )


def measure(project: Project, spool: Path, count: int, starts: int = 1) -> list[Figures]:
    """Fills the spool, which must not be there yet, and starts a daemon on it, so many times."""
    project.write("app.py", APPLICATION)
    project.gate("hold")
    empty_bytes = empty(project, spool)
    fill(spool, count)
    return [_start(project, spool, empty_bytes) for _ in range(starts)]


def empty(project: Project, spool: Path) -> int:
    """The memory of a daemon without tasks."""
    daemon = _daemon(project, spool)
    try:
        # The first start also says that what is found later is nobody else's.
        daemon.start().wait_ready()
        daemon.wait_log(SCANNED)
        resident = _status(daemon.pid, "VmHWM")
        daemon.stop()
    finally:
        daemon.close()
    return resident


@contextmanager
def running(project: Project, spool: Path) -> Iterator[Daemon]:
    """A daemon that has listed the spool, and whose only worker is held."""
    project.write("app.py", APPLICATION)
    project.gate("hold")
    with closing(_daemon(project, spool)) as daemon:
        daemon.start()
        daemon.wait_log(SCANNED, START_SECONDS_MAX)
        project.events.wait("hold", START_SECONDS_MAX)
        yield daemon


def _start(project: Project, spool: Path, empty_bytes: int) -> Figures:
    running = _daemon(project, spool)
    with closing(OpenCounter(*(spool / folder for folder in FOLDERS))) as opened:
        try:
            began = time.monotonic()
            running.start()
            found = running.wait_log(SCANNED, START_SECONDS_MAX)
            seconds = time.monotonic() - began
            cpu_seconds = _cpu_seconds(running.pid)
            project.events.wait("hold", START_SECONDS_MAX)
            return Figures(
                tasks=int(found[1]),
                due=int(found[2]),
                start_seconds=seconds,
                scan_seconds=int(found[3]) / 1000,
                cpu_seconds=cpu_seconds,
                resident_bytes=_status(running.pid, "VmRSS"),
                peak_bytes=_status(running.pid, "VmHWM"),
                empty_bytes=empty_bytes,
                opened=opened.count(),
                descriptors=len(os.listdir(f"/proc/{running.pid}/fd")),
            )
        finally:
            running.close()
