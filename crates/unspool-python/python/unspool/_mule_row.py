"""The row in which a mule tells the daemon what it does, so that none is ended in the middle.

Owns the row alone. Threads of a mule share it: it shows the one that must not be disturbed. The
daemon reads it at any moment, also after the mule's death; ``docs/design/supervision.md`` says what
for.
"""

from __future__ import annotations

import mmap
import threading
import time
from typing import Any

# What is done, since when (monotonic, ns), of a message its length or of a handler its signal; the
# last four numbers have a bit for each signal whose handler runs.
NUMBERS = 8
_SIGNAL_BITS = 4
# A mule that has never waited says nothing.
# `SIGNAL`: it does what it waited for a signal for, and nobody knows when it is done.
_NOTHING, MESSAGE, SIGNAL, WAITS, BETWEEN, HANDLER = range(6)
# The one that counts most first.
_RANKS = (MESSAGE, HANDLER, SIGNAL, WAITS, BETWEEN)


class _State:
    # Numbers that are stored whole: the daemon may read at any moment.
    row: Any = None
    threads: dict[int, tuple[int, int, int]]


_state = _State()


def become(board: mmap.mmap, number: int) -> None:
    """Takes the row of the mule of this number, which the daemon has filled with zeros."""
    first = (number - 1) * NUMBERS
    _state.row = memoryview(board).cast("Q")[first : first + NUMBERS]
    _state.threads = {}


def leave() -> None:
    """For a child of the mule: what it does is not said."""
    _state.row = None


def say(what: int, size: int = 0) -> None:
    """Says what this thread does."""
    row = _state.row
    if row is None:
        return
    threads = _state.threads
    own = threading.get_ident()
    threads[own] = (what, time.monotonic_ns(), size)
    if len(threads) > 1:
        there = {own, *(thread.ident for thread in threading.enumerate())}
        for ended in [ident for ident in list(threads) if ident not in there]:
            threads.pop(ended, None)
    shown, since, size = min(threads.copy().values(), key=lambda t: (_RANKS.index(t[0]), t[1]))
    if (row[0], row[1], row[2]) != (shown, since, size):
        row[0] = _NOTHING
        row[1] = since
        row[2] = size
        row[0] = shown


def begin(signal: int) -> None:
    """The handler of a signal is called: it is not called again, whatever becomes of this mule."""
    say(HANDLER, signal)
    if _state.row is not None:
        _state.row[_SIGNAL_BITS + signal // 64] |= 1 << signal % 64


def end(signal: int) -> None:
    """It has returned, and the daemon knows."""
    if _state.row is not None:
        _state.row[_SIGNAL_BITS + signal // 64] &= ~(1 << signal % 64)
