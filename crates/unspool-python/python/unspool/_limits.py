"""What limits a worker from inside: the system's own limits, and what it shows before it is killed.

The daemon enforces the limits of time and of memory that the options name; here is what only the
worker itself can do.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
from typing import Any

from unspool import _native
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
    """Has tasks told when their time is over, by an exception."""
    signal.signal(_native.look_signal(), _look)


def _look(number: int, frame: object) -> None:
    if _native.take_soft_timeout():
        raise SoftTimeLimitExceeded("the task runs longer than its soft time limit")


def apply(setup: dict[str, Any], worker: int) -> None:
    """Marks a new worker and sets its limits. Exits with a message where they leave no room."""
    mark = _native.mark_process(setup["daemon_pid"], worker)
    if mark is not None:
        name, value = mark
        # For what is started with a copy of this dictionary as its environment.
        os.environ[name] = value
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
