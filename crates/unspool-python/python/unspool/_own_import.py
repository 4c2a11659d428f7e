"""Workers that import the application themselves (`spooler-fork = never`, `lazy-apps`).

Their zygote imports nothing but what `shared-import` names, as uWSGI's master does then, so that it
has no thread, lock or connection of the application's that a fork would break. What the application
registers it learns from a child, which imports it, tells, and ends. Owns that child, the import
in a worker after its fork, and the end of a worker whose import has left threads.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import json
import os
import random
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from unspool import _hooks, _imports, _limits, _process, _requests, _sources, _steps, _titles

# The child of the zygote has told all it knows: what its import has left running may end by itself.
CHILD_SECONDS_MAX = 1.0
# What a worker that leaves gives to threads of its import, which seldom end by themselves.
THREADS_SECONDS_MAX = 1.0
# What a zygote that imports is ended with.
PASSED_ON = (signal.SIGTERM, _limits.TRACEBACK_SIGNAL)

Numbered = list[tuple[int, dict[str, Any]]]


class _State:
    # Those that the import of this worker has started.
    threads: tuple[threading.Thread, ...] = ()


_state = _State()


def divide(imports: list[dict[str, Any]]) -> tuple[Numbered, Numbered]:
    """The imports of the zygote and those of each worker, with their places among all."""
    numbered = list(enumerate(imports))
    shared = [(number, item) for number, item in numbered if item["kind"] == "shared-import"]
    return shared, [(number, item) for number, item in numbered if item["kind"] != "shared-import"]


def learn(tell: Callable[[socket.socket], None], packet_bytes: int) -> bytes | None:
    """Has a child import the application. Returns the packet that it sends last, None in the child.

    The zygote ends as the child does if that does not come so far.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        # A group: what kills the zygote and its descent finds it.
        os.setpgid(0, 0)
        ours.close()
        _titles.show("unspool import")
        tell(theirs)
        return None
    theirs.close()
    ended = os.pidfd_open(child)
    with _passing_on(child):
        packet = _receive(ours, ended, packet_bytes)
    if packet is not None:
        _wait(ended, CHILD_SECONDS_MAX)
    for kill in (os.killpg, os.kill):
        # It may have ended before it had a group. Until it is reaped, the number is its own.
        with contextlib.suppress(ProcessLookupError):
            kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(ended)
    ours.close()
    if packet is None:
        _end_like(status)
    return packet


@contextlib.contextmanager
def _passing_on(child: int) -> Iterator[None]:
    """Passes on what the daemon sends to end an import: the child shows what it does, and ends."""

    def pass_on(number: int, frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    faulthandler.unregister(_limits.TRACEBACK_SIGNAL)
    for number in PASSED_ON:
        signal.signal(number, pass_on)
    try:
        yield
    finally:
        for number in PASSED_ON:
            signal.signal(number, signal.SIG_DFL)
        _limits.show_tracebacks()


def _receive(channel: socket.socket, ended: int, packet_bytes: int) -> bytes | None:
    poll = select.poll()
    # What the import has forked holds the other end of the channel too.
    for descriptor in (channel.fileno(), ended):
        poll.register(descriptor, select.POLLIN)
    poll.poll()
    try:
        return channel.recv(packet_bytes, socket.MSG_DONTWAIT) or None
    except BlockingIOError:
        return None


def _wait(ended: int, seconds: float) -> None:
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.poll(seconds * 1000)


def _end_like(status: int) -> NoReturn:
    if status < 0:
        with contextlib.suppress(OSError):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def failed(packet: bytes) -> frozenset[int]:
    """The places of the imports that failed in the zygote's child."""
    return frozenset(json.loads(packet)["failed"])


def import_application(setup: dict[str, Any], request: dict[str, Any]) -> None:
    """Imports the application in a new worker or mule, if it is one that does so itself.

    An import that fails and did not fail when the application was first imported ends the worker:
    it would lack functions that others have.
    """
    if not setup["own_import"]:
        return
    # Before anything is started that belongs to it.
    _limits.mark(setup, request["worker"])
    _titles.show(f"unspool worker {request['worker']} (importing)")
    # The application's own random numbers must not be those of all others.
    random.seed()
    _process.announce(request["role"], request["row"])
    # That of a mule may be its program, and not return.
    _hooks.at_fork(call_now=request["role"] != "mule")
    failures = _imports.load_all(divide(setup["imports"])[1])
    _steps.take(setup, "post-app")
    if setup["chdir2"] is not None:
        os.chdir(setup["chdir2"])
    main = threading.main_thread()
    _state.threads = tuple(thread for thread in threading.enumerate() if thread is not main)
    if setup["autoreload"]:
        _sources.note_modules()
        _sources.tell()
    fresh = [failure for failure in failures if failure["number"] not in setup["failed"]]
    for failure in fresh:
        _requests.send("import_failed", **{**failure, "worker": request["worker"]})
    if fresh:
        sys.exit(1)


def leave() -> None:
    """Limits the end of this worker: Python waits for threads, and those of an import run on.

    Called while the exception is raised that ends the worker, if one does.
    """
    if any(thread.is_alive() and not thread.daemon for thread in _state.threads):
        error = sys.exc_info()[1]
        status = int(error is not None)
        if isinstance(error, SystemExit) and isinstance(error.code, (int, type(None))):
            status = error.code or 0
        timer = threading.Timer(THREADS_SECONDS_MAX, _end, (status,))
        timer.daemon = True
        timer.start()


def _end(status: int) -> NoReturn:
    try:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.flush()
    finally:
        os._exit(status)
