"""`uwsgi.lock` and its kin: numbered locks of all processes that share the first spool.

There is lock 0, and with `locks = N` those up to N. Each is an flock, which the kernel releases
when its holder dies: lock 0 of the spool directory, the others of files of their own. They exclude
threads of one process too.
"""

from __future__ import annotations

import fcntl
import operator
import os

from unspool import _native, _process

# The open files of the locks that this process holds, by number.
_held: dict[int, list[int]] = {}


def _forget() -> None:
    # The parent holds them on; what a child inherited must not outlive the parent's hold.
    for files in _held.values():
        while files:
            os.close(files.pop())


os.register_at_fork(after_in_child=_forget)


def lock(number: int = 0, /) -> None:
    """Waits for the lock and takes it."""
    number = _check(number)
    file = _open(number)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except BaseException:
        os.close(file)
        raise
    _held.setdefault(number, []).append(file)


def unlock(number: int = 0, /) -> None:
    """Releases the lock, if this process holds it."""
    files = _held.get(_check(number))
    if files:
        file = files.pop()
        # Not by closing alone: a child forked meanwhile may have a copy.
        fcntl.flock(file, fcntl.LOCK_UN)
        os.close(file)


def is_locked(number: int = 0, /) -> bool:
    """Whether anybody holds the lock."""
    file = _open(_check(number))
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _check(number: int) -> int:
    number = operator.index(number)
    if number != 0 and not 0 < number <= _process.shared_settings().locks:
        raise ValueError("Invalid lock number")
    return number


def _open(number: int) -> int:
    if number == 0:
        path, flags = _native.open_first_spool(), os.O_RDONLY | os.O_DIRECTORY
    else:
        path, flags = _native.shared_lock(number), os.O_RDWR
    return os.open(path, flags | os.O_CLOEXEC)
