"""A mule's connection to the daemon: signals that are raised in it, and the word to leave.

Owns the wait for them, and calls the handlers of signals. Any thread of the mule may wait: the one
that reads a packet tells the others.
"""

from __future__ import annotations

import os
import select
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterable

from unspool import _mule_row, _native, _requests, _signals
from unspool._worker import flush


class _State(threading.local):
    # A handler of this thread runs: one that waits for messages runs no other ones.
    handling = False


class _Shared:
    channel: _native.Worker | None = None
    pid = 0
    # Readable for ever once it is time to leave, and while signals wait here.
    left = -1
    raised = -1
    # Raised here, and not handled yet.
    signals: deque[int]


_state = _State()
_shared = _Shared()


def become(channel: _native.Worker) -> None:
    """Says how the daemon reaches this mule."""
    _shared.channel = channel
    _shared.pid = os.getpid()
    _shared.left = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    _shared.raised = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
    _shared.signals = deque()


def is_here() -> bool:
    """Whether this process is a mule, and not one that a mule has forked."""
    if _shared.pid != os.getpid():
        # What the daemon tells the mule is not for it, and what it does is not the mule's doing.
        _mule_row.leave()
        return False
    return True


class Wait:
    """A wait for signals, for the word to leave and for whatever else is given."""

    def __init__(self, descriptors: Iterable[int], signals: bool) -> None:
        self._own = is_here()
        self._signals = signals and self._own
        self._poll = select.poll()
        for descriptor in descriptors:
            self._poll.register(descriptor, select.POLLIN)
        if self._own:
            assert _shared.channel is not None
            self._poll.register(_shared.channel.fileno(), select.POLLIN)
            self._poll.register(_shared.left, select.POLLIN)
        if self._signals:
            self._poll.register(_shared.raised, select.POLLIN)

    def ready(self, wait_ms: float | None) -> set[int] | None:
        """What can be read after at most so long; None when it is time to leave."""
        found = {descriptor for descriptor, _ in self._poll.poll(wait_ms)}
        if self._own:
            assert _shared.channel is not None
            if _shared.channel.fileno() in found:
                _take_packets(_shared.channel)
            if _shared.channel.leaving:
                return None
        return found


def _take_packets(channel: _native.Worker) -> None:
    before = channel.leaving
    while (number := channel.look()) is not None:
        _shared.signals.append(number)
        os.eventfd_write(_shared.raised, 1)
    if channel.leaving and not before:
        os.eventfd_write(_shared.left, 1)


def _next_signal() -> int | None:
    try:
        os.eventfd_read(_shared.raised)
    except BlockingIOError:
        return None
    return _shared.signals.popleft()


def run_signals() -> None:
    """Calls the handlers of the signals that were raised here."""
    while is_here() and not _state.handling and (number := _next_signal()) is not None:
        _state.handling = True
        try:
            error = _run(number)
        finally:
            _state.handling = False
        _mule_row.say(_mule_row.WAITS)
        if error is None and not _signals.has_handler(number):
            os.write(2, f"unspool: signal {number} has no handler in this mule\n".encode())


def wait_signal(wanted: int | None) -> int:
    """Waits until this signal is raised here, or any, and its handler has run; handlers of others
    run meanwhile. SystemExit when it is time to leave."""
    wait = Wait((), signals=True)
    # For those that have no handler at all: whoever waits gets them.
    _requests.send("wait", signal=wanted)
    _mule_row.say(_mule_row.WAITS)
    wait_ms: float | None = 0
    while wait.ready(wait_ms) is not None:
        number = _next_signal()
        if number is None:
            wait_ms = None
            continue
        _run(number)
        if wanted in (None, number):
            # Its program does now what it waited for.
            _mule_row.say(_mule_row.SIGNAL)
            return number
        _mule_row.say(_mule_row.WAITS)
    _mule_row.say(_mule_row.BETWEEN)
    # Told to leave: whoever has to tidy up hears of it, and the hooks at exit run.
    raise SystemExit(0)


def _run(number: int) -> str | None:
    """Calls the handler of a signal, if it has one, and tells the daemon; returns what it raised.

    What ends the mule, ends it.
    """
    assert _shared.channel is not None
    _mule_row.begin(number)
    started = time.monotonic_ns()
    error = None
    if _signals.has_handler(number):
        try:
            _signals.dispatch(number)
        except Exception:
            error = traceback.format_exc()
        flush()
    if not is_here():
        # The handler forked, and this is its child, which came back from it.
        os._exit(0)
    _shared.channel.tick_over(number, time.monotonic_ns() - started, error)
    _mule_row.end(number)
    return error
