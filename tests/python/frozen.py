"""A thread of another process that is stopped where it is about to wait, or to open a file.

So what lasts a moment in a daemon lasts for as long as a test looks at it. It takes `ptrace`, which
a machine may refuse: then the test says that it was not run.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import WAIT_SECONDS_MAX

SEIZE, INTERRUPT, SYSCALL, DETACH, SYSCALL_INFO = 0x4206, 0x4207, 24, 17, 0x420E
TRACE_SYSCALL_GOOD = 1
ANY_THREAD = 0x40000000
ENTRY = 1
PATH_BYTES = 256
# epoll_wait, epoll_pwait, epoll_pwait2
WAITS = {"x86_64": {232, 281, 441}, "aarch64": {22, 441}}
OPENAT = {"x86_64": 257, "aarch64": 56}

_libc = ctypes.CDLL(None, use_errno=True)


class SyscallInfo(ctypes.Structure):
    """`struct ptrace_syscall_info`, as far as it is needed."""

    _fields_ = [
        ("op", ctypes.c_uint8),
        ("arch", ctypes.c_uint32),
        ("instruction", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
    ]


def _ptrace(request: int, thread: int, address: int = 0, data: object = None) -> None:
    if isinstance(data, int):
        data = ctypes.c_void_p(data)
    done = _libc.ptrace(ctypes.c_long(request), thread, ctypes.c_void_p(address), data)
    if done < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Frozen:
    """A thread that stands still, first where it is about to wait for something new."""

    def __init__(self, thread: int) -> None:
        self.thread = thread
        try:
            _ptrace(SEIZE, thread, data=TRACE_SYSCALL_GOOD)
        except PermissionError:
            pytest.skip("not run: threads of other processes may not be traced here")
        _ptrace(INTERRUPT, thread)
        self._wait()
        # The wait that it was in has ended by this.
        while self._next_call().number not in WAITS[platform.machine()]:
            pass

    def go_on_to_open(self, name: str) -> None:
        """Lets it run until it is about to open a file of this name."""
        while True:
            call = self._next_call()
            if call.number == OPENAT[platform.machine()]:
                with open(f"/proc/{self.thread}/mem", "rb", buffering=0) as memory:
                    memory.seek(call.arguments[1])
                    if memory.read(PATH_BYTES).partition(b"\0")[0] == name.encode():
                        return

    def _next_call(self) -> SyscallInfo:
        info = SyscallInfo()
        while True:
            _ptrace(SYSCALL, self.thread)
            self._wait()
            _ptrace(SYSCALL_INFO, self.thread, ctypes.sizeof(info), ctypes.byref(info))
            if info.op == ENTRY:
                return info

    def _wait(self) -> None:
        _, status = os.waitpid(self.thread, ANY_THREAD)
        assert os.WIFSTOPPED(status), status

    def let_go(self) -> None:
        """Lets it run on by itself."""
        _ptrace(DETACH, self.thread)


@contextlib.contextmanager
def frozen(process: int, name: str) -> Iterator[Frozen]:
    """The thread of this name, which stands still from here on and runs freely behind it."""
    if platform.machine() not in OPENAT:
        pytest.skip(f"not run: the numbers of calls are not known for {platform.machine()}")
    threads = Path(f"/proc/{process}/task").iterdir()
    (thread,) = (one for one in threads if (one / "comm").read_text().strip().startswith(name))
    held = Frozen(int(thread.name))
    try:
        yield held
    finally:
        held.let_go()


def wait_woken(process: int, times: int) -> None:
    """Waits until others, which go on, have woken the thread that stands still so often."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while _wakes(process) < times:
        assert time.monotonic() < deadline, "nobody was woken"
        time.sleep(0.001)


def _wakes(process: int) -> int:
    """The most wake-ups that wait in one of its event descriptors."""
    counts = [0]
    for entry in Path(f"/proc/{process}/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            for line in entry.read_text().splitlines():
                if line.startswith("eventfd-count:"):
                    counts.append(int(line.split()[1], 16))
    return max(counts)
