"""What the tests of faults share: a machine that cannot do a fault says so, and does not pass."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Daemon, Project
from spooling import Producer, call

from torture.filesystems import NotRun
from torture.inject import wait_traced
from torture.table import Row, lines


@contextlib.contextmanager
def or_not_run() -> Iterator[None]:
    """Skips the test where the machine lacks what the fault needs."""
    try:
        yield
    except NotRun as reason:
        pytest.skip(str(reason))


def show(*rows: Row) -> None:
    """Prints the figures, which pytest shows if something fails."""
    print("\n".join(lines(rows)))


def seed() -> int:
    """Another one each time; a failure names it."""
    return random.SystemRandom().getrandbits(32)


@contextlib.contextmanager
def unreadable(running: Daemon, paths: list[Path]) -> Iterator[None]:
    """The disk fails to give these files to a daemon."""
    options = [option for path in paths for option in ("-P", path.name)]
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=openat:error=EIO", *options]
    with subprocess.Popen(
        [*command, "-p", str(running.pid)], stderr=subprocess.DEVNULL, text=True
    ) as strace:
        try:
            wait_traced([running.pid], strace)
            yield
        finally:
            strace.send_signal(signal.SIGINT)


# Far beyond one a second for as long as a failed one waits.
UNREADABLE = 45


@contextlib.contextmanager
def unreadable_backlog(project: Project, running: Daemon) -> Iterator[list[Path]]:
    """Tasks of a function `mark`, all due, which the disk fails to give to a daemon."""
    with Producer(project) as producer:
        producer.many([call("mark", at="4000000000") for _ in range(UNREADABLE)])
    tasks = project.tasks()
    with unreadable(running, tasks):
        for task in tasks:
            os.utime(task, (1, 1))
        running.wait_log("cannot open this one of so many tasks")
        yield tasks


@contextlib.contextmanager
def append_only(folder: Path) -> Iterator[None]:
    """Nothing in a folder can be deleted."""
    if shutil.which("chattr") is None:
        pytest.skip("not run: no chattr (on Debian and Ubuntu: apt install e2fsprogs)")
    done = subprocess.run(["chattr", "+a", folder], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"not run: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-a", folder], check=True)
