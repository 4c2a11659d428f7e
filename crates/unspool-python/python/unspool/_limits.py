"""What limits a worker from inside: the system's own limits, and what it shows before it is killed.

The daemon enforces the limits of time and of memory that the options name; here is what only the
worker itself can do.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Any

from unspool import _native
from unspool._cancel import TaskCancelled
from unspool._errors import SoftTimeLimitExceeded

# The daemon sends it before it kills a process for its time.
TRACEBACK_SIGNAL = signal.SIGUSR2


def show_tracebacks() -> None:
    """Has this process, and all that it forks, write its tracebacks when it crashes or is killed
    for its time.

    It works in the middle of C code too. Standard error is taken by its number: the application may
    replace ``sys.stderr``. The signal still ends the process, by its default action: what hangs in
    a system call must not go on as if that had returned.
    """
    faulthandler.register(TRACEBACK_SIGNAL, file=2, all_threads=True, chain=True)
    faulthandler.enable(file=2)


def keep_last_words(tails: int, row: int) -> None:
    """Has the tracebacks of this worker written where its daemon reads them once it is dead."""
    # Opened anew: the number that was received shares its position with other workers.
    file = os.open(f"/proc/self/fd/{tails}", os.O_WRONLY | os.O_CLOEXEC)
    os.lseek(file, _native.last_words_offset(row), os.SEEK_SET)
    faulthandler.register(TRACEBACK_SIGNAL, file=file, all_threads=True, chain=True)
    faulthandler.enable(file=file)


def tell_tasks() -> None:
    """Has tasks told when their time is over or they are cancelled, by an exception."""
    signal.signal(_native.look_signal(), _look)


def _look(number: int, frame: object) -> None:
    if _native.take_cancellation():
        raise TaskCancelled("somebody cancelled the task")
    if _native.take_soft_timeout():
        raise SoftTimeLimitExceeded("the task runs longer than its soft time limit")


# The tracebacks come behind the line that says why.
_TRACEBACK_SECONDS = 0.05


@contextlib.contextmanager
def ended_after(seconds: float | None, what: str, option: str) -> Iterator[None]:
    """Ends this process if the block takes longer, after a line and the tracebacks of its threads;
    None: no limit. A limit that the block sets itself takes its place."""
    if seconds is None:
        yield
        return
    pid = os.getpid()
    line = f"unspool: {what} runs longer than `{option}` ({seconds:g} s); process {pid} ends"
    note = _native.LateNote(seconds, line)
    faulthandler.dump_traceback_later(seconds + _TRACEBACK_SECONDS, exit=True, file=2)
    try:
        yield
    finally:
        if os.getpid() == pid:
            note.end()
        faulthandler.cancel_dump_traceback_later()


def mark(setup: dict[str, Any], worker: int) -> None:
    """Marks a new worker, and all that it starts."""
    found = _native.mark_process(setup["daemon_pid"], worker)
    if found is not None:
        name, value = found
        # For what is started with a copy of this dictionary as its environment.
        os.environ[name] = value


def apply(setup: dict[str, Any], worker: int) -> None:
    """Marks a new worker and sets its limits. Exits with a message where they leave no room."""
    mark(setup, worker)
    if setup.get("limit_as") is not None:
        _limit_address_space(setup["limit_as"])
    if setup.get("limit_nproc") is not None:
        _set(resource.RLIMIT_NPROC, setup["limit_nproc"], "limit-nproc")


def _limit_address_space(limit: int) -> None:
    with open("/proc/self/statm", "rb") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    if taken > limit:
        sys.exit(
            f"unspool: `limit-as` is {limit >> 20} MB, and the application takes {taken >> 20} MB "
            "of address space once it is imported: allow more"
        )
    _set(resource.RLIMIT_AS, limit, "limit-as")


def _set(which: int, limit: int, option: str) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    try:
        resource.setrlimit(which, (limit, limit))
    except (OSError, ValueError) as error:
        sys.exit(f"unspool: `{option}` cannot be set: {error}")
