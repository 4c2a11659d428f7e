"""`uwsgi.lock` and its kin: one lock for all processes that share the first spool.

uWSGI has lock 0 unless `locks` asks for more, and so has this module: an flock of the spool
directory, which the kernel releases when its holder dies. It excludes threads of one process too.
"""

from __future__ import annotations

import fcntl
import operator
import os

from unspool import _native

# The open directory while this process holds the lock.
_held: list[int] = []


def _forget() -> None:
    # The parent holds it on; what a child inherited must not outlive the parent's hold.
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_forget)


def lock(number: int = 0, /) -> None:
    """Waits for the lock and takes it."""
    folder = _open(number)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
    except BaseException:
        os.close(folder)
        raise
    _held.append(folder)


def unlock(number: int = 0, /) -> None:
    """Releases the lock, if this process holds it."""
    _check(number)
    if _held:
        folder = _held.pop()
        # Not by closing alone: a child forked meanwhile may have a copy.
        fcntl.flock(folder, fcntl.LOCK_UN)
        os.close(folder)


def is_locked(number: int = 0, /) -> bool:
    """Whether anybody holds the lock."""
    folder = _open(number)
    try:
        fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(folder)
    return False


def _check(number: int) -> None:
    if operator.index(number) != 0:
        raise ValueError("Invalid lock number")


def _open(number: int) -> int:
    _check(number)
    return os.open(_native.open_first_spool(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
