"""Makes what a test reads come late, to find tests that count on an order which nobody promises.

A daemon's log, its standard output and the reports of its tasks come to a test by ways of their
own. Which of two is first is luck, and nearly always the same luck. `UNSPOOL_TEST_LAG` delays one:

    UNSPOOL_TEST_LAG=log=0.3 .venv/bin/python -m pytest

Its ways are `log`, `output` and `reports`, each with seconds; `test` delays the test itself after
whatever it waited for. Several are separated by commas. No test may fail with any of them.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

WAYS = ("log", "output", "reports", "test")

Item = TypeVar("Item")


def _read(text: str) -> dict[str, float]:
    seconds = dict.fromkeys(WAYS, 0.0)
    for part in filter(None, text.split(",")):
        way, _, value = part.partition("=")
        if way not in seconds:
            raise ValueError(f"UNSPOOL_TEST_LAG: {way!r} is none of {', '.join(WAYS)}")
        seconds[way] = float(value)
    return seconds


LAG = _read(os.environ.get("UNSPOOL_TEST_LAG", ""))


def dawdle() -> None:
    """What a slow machine does to a test between the end of a wait and its next line."""
    if LAG["test"]:
        time.sleep(LAG["test"])


class Delivery(Generic[Item]):
    """Hands items on in their order, each so many seconds after it came; 0: at once."""

    def __init__(self, way: str, deliver: Callable[[Item], None]) -> None:
        self._lag = LAG[way]
        self._deliver = deliver
        self._queue: queue.SimpleQueue[tuple[float, Item] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"lag of {way}", daemon=True)
        if self._lag:
            self._thread.start()

    def put(self, item: Item) -> None:
        """Takes an item; one thread may call it."""
        if self._lag:
            self._queue.put((time.monotonic() + self._lag, item))
        else:
            self._deliver(item)

    def _run(self) -> None:
        while (entry := self._queue.get()) is not None:
            due, item = entry
            time.sleep(max(0.0, due - time.monotonic()))
            self._deliver(item)

    def close(self) -> None:
        """Returns when all items are handed on."""
        if self._lag:
            self._queue.put(None)
            self._thread.join()
