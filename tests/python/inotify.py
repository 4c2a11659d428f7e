"""Waiting for a change in a directory, for tests: the kernel tells, nothing polls.

Only what the tests need of inotify(7), through the C library, since the standard library has none.
"""

from __future__ import annotations

import ctypes
import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

_CHANGES = (
    0x002 | 0x004 | 0x008 | 0x040 | 0x080 | 0x100 | 0x200 | 0x400
)  # modify, attrib, close_write, moved_from, moved_to, create, delete, delete_self

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


class DirectoryWatch:
    """Watches one directory from its creation on, so that no change after it is missed."""

    def __init__(self, folder: Path) -> None:
        self._fd = _check(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), "inotify_init1")
        try:
            watch = _libc.inotify_add_watch(self._fd, os.fsencode(folder), _CHANGES)
            _check(watch, f"inotify_add_watch {folder}")
        except OSError:
            os.close(self._fd)
            raise

    def wait(self, holds: Callable[[], bool], timeout: float) -> bool:
        """Waits until the condition holds, looking at it once and after each change."""
        deadline = time.monotonic() + timeout
        while not holds():
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._fd], [], [], left)[0]:
                return holds()
            os.read(self._fd, 65536)
        return True

    def __enter__(self) -> DirectoryWatch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._fd)


_OPENED = 0x020
_IS_DIRECTORY = 0x4000_0000
_OVERFLOW = 0x4000
_EVENT_BYTES = 16


class OpenCounter:
    """Counts how often files in some directories are opened, by whichever process."""

    def __init__(self, *folders: Path) -> None:
        self._fd = _check(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), "inotify_init1")
        for folder in folders:
            watch = _libc.inotify_add_watch(self._fd, os.fsencode(folder), _OPENED)
            _check(watch, f"inotify_add_watch {folder}")

    def count(self) -> int:
        """Files opened since the last call; OSError if they were more than the kernel keeps."""
        opened = 0
        while select.select([self._fd], [], [], 0)[0]:
            data = os.read(self._fd, 65536)
            while data:
                mask = int.from_bytes(data[4:8], sys.byteorder)
                if mask & _OVERFLOW:
                    raise OSError("more files were opened than the kernel could tell of")
                opened += not mask & _IS_DIRECTORY
                data = data[_EVENT_BYTES + int.from_bytes(data[12:16], sys.byteorder) :]
        return opened

    def close(self) -> None:
        """Ends the watch."""
        os.close(self._fd)
