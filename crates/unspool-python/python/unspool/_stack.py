"""Has a worker show the stacks of its threads to `unspool stack`.

There are two ways. Asked by the first signal, the interpreter writes them, of all threads, as soon
as the main thread comes to it: meanwhile no thread runs. A main thread that is deep in C code does
not come. Then each thread is sent the second signal, whose handler is faulthandler's, in C, and
writes the stack of the thread that it interrupts. A handler that read the stacks of other threads
while they run would soon crash.

Who asks, and how, is ``unspool-sys``'s business.
"""

from __future__ import annotations

import _thread
import contextlib
import faulthandler
import os
import signal
import sys

from unspool import _native


def be_asked() -> None:
    """From here on this process, and all that it forks, can be asked.

    Where the system has no files in memory, the worker only cannot be asked.
    """
    with contextlib.suppress(OSError):
        ask, ask_thread, file = _native.stack_channel()

        def show(number: int, frame: object) -> None:
            # What goes wrong here must not go wrong in the task.
            with contextlib.suppress(Exception):
                _show(file)

        signal.signal(ask, show)
        faulthandler.register(ask_thread, file=file, all_threads=False, chain=False)


def _show(file: int) -> None:
    # The task may have closed it, and another file have its number.
    if not os.readlink(f"/proc/self/fd/{file}").startswith("/memfd:unspool-stack"):
        return
    os.write(file, b"unspool-stack begins\n" + b"".join(map(_named, _threads())))
    faulthandler.dump_traceback(file=file, all_threads=True)
    os.write(file, b"unspool-stack ends\n")


def _threads() -> list[object]:
    # `threading.enumerate` takes a lock, which the interrupted code may have.
    enumerate_threads = getattr(sys.modules.get("threading"), "_enumerate", list)
    return list(enumerate_threads())


def _named(thread: object) -> bytes:
    ident, native = getattr(thread, "ident", None), getattr(thread, "native_id", None)
    if ident == _thread.get_ident():
        # That of a thread that has forked is its parent's in some versions of Python.
        native = _thread.get_native_id()
    if ident is None or native is None:
        return b""
    name = str(getattr(thread, "name", "")).encode("unicode_escape").decode()
    return f"thread {ident:#x} {native} {name}\n".encode()
