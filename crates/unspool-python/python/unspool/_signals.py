"""uwsgi signals, and the timers and crons that raise them.

Owns what the application registered while it was imported. In the zygote `snapshot` tells it to the
daemon, which arms the timers and has `dispatch` called in a worker; in a producer it is recorded
and nothing more, so that an application can be imported anywhere. In a worker nothing can be
registered any more: nobody would hear of it.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from unspool import _process

Handler = Callable[[int], object]

SIGNALS = 256
SCHEDULES_MAX = 1024
TARGET_BYTES_MAX = 63


class _Registered(NamedTuple):
    target: str
    handler: Handler


_handlers: dict[int, _Registered] = {}
_timers: list[dict[str, Any]] = []
_crons: list[dict[str, int]] = []
_send: Callable[[int], None] | None = None


def register_signal(number: int, target: str, handler: Handler) -> None:
    """Has `handler(number)` called whenever the signal is raised."""
    number = _signal(number)
    if not isinstance(target, str):
        raise TypeError(f"the target of a signal is a str, not {type(target).__name__}")
    if len(target.encode()) > TARGET_BYTES_MAX:
        raise ValueError(
            f"unable to register signal {number}: its target is longer than {TARGET_BYTES_MAX} "
            "bytes"
        )
    if not callable(handler):
        raise TypeError(f"the handler of signal {number} is not callable: {handler!r}")
    _check_import_time(f"unable to register signal {number}")
    if number in _handlers and _process.role() is _process.Role.ZYGOTE:
        other = _handlers[number].handler
        name = getattr(other, "__qualname__", repr(other))
        raise ValueError(
            f"unable to register signal {number}: it is registered for {name}; use another number"
        )
    _handlers[number] = _Registered(target, handler)


def signal_registered(number: int) -> bool | None:
    """True, or None as in uWSGI."""
    return True if _signal(number) in _handlers else None


def signal(number: int) -> None:
    """Raises a signal."""
    number = _signal(number)
    if _send is None:
        raise RuntimeError(
            f"unable to raise signal {number}: this process has no connection to a daemon"
        )
    _send(number)


def set_sender(send: Callable[[int], None]) -> None:
    """Says how `signal` reaches the daemon from this process; its children have no such way."""
    global _send
    _send = send


def _forget_sender() -> None:
    global _send
    _send = None


os.register_at_fork(after_in_child=_forget_sender)


def add_timer(number: int, seconds: float) -> None:
    """Raises the signal every so many seconds; 0 never does, as in uWSGI."""
    _add_timer(number, seconds, 0, "timer")


def add_ms_timer(number: int, milliseconds: float) -> None:
    """Raises the signal every so many milliseconds."""
    _add_timer(number, milliseconds / 1000, 0, "timer")


def add_rb_timer(number: int, seconds: float, iterations: int = 0) -> None:
    """Raises the signal every so many seconds, so many times; 0: for ever."""
    _add_timer(number, seconds, operator.index(iterations), "rbtimer")


def _add_timer(number: int, seconds: float, iterations: int, kind: str) -> None:
    number = _signal(number)
    if not isinstance(seconds, (int, float)):
        raise TypeError(f"the interval of a timer is a number, not {type(seconds).__name__}")
    if not 0 <= seconds <= 1e9 or iterations < 0:
        raise ValueError(
            f"unable to add timer of signal {number}: {seconds} s, {iterations} iterations; "
            "neither can be negative"
        )
    _check_import_time(f"unable to add timer of signal {number}")
    _check_room(_timers, "timer")
    if seconds:
        entry = {"signal": number, "seconds": seconds, "iterations": iterations, "kind": kind}
        _timers.append(entry)


_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))


def add_cron(number: int, minute: int, hour: int, day: int, month: int, weekday: int) -> bool:
    """Raises the signal in each minute that matches; -1 is any, -N every N."""
    number = _signal(number)
    cron = {"signal": number}
    for (name, low, high), given in zip(_FIELDS, (minute, hour, day, month, weekday), strict=True):
        value = operator.index(given)
        if value > high or 0 <= value < low or value < -high - 1:
            raise ValueError(
                f"unable to add cron of signal {number}: {name} is {value}; give {low} to {high}, "
                f"-1 for any or -N for every N"
            )
        cron[name] = value
    _check_import_time(f"unable to add cron of signal {number}")
    _check_room(_crons, "cron")
    _crons.append(cron)
    return True


def snapshot() -> dict[str, Any]:
    """All that is registered, in the words of the control protocol."""
    return {
        "signals": [
            {"signal": number, "target": registered.target}
            for number, registered in sorted(_handlers.items())
        ],
        "timers": [dict(timer) for timer in _timers],
        "crons": [dict(cron) for cron in _crons],
    }


def dispatch(number: int) -> None:
    """Calls the handler of a signal; KeyError if there is none."""
    _handlers[number].handler(number)


def _signal(number: int) -> int:
    number = operator.index(number)
    if not 0 <= number < SIGNALS:
        raise ValueError(f"{number} is no uwsgi signal: give 0 to {SIGNALS - 1}")
    return number


def _check_import_time(failed: str) -> None:
    if _process.role() in (_process.Role.SPOOL_WORKER, _process.Role.SIGNAL_WORKER):
        raise ValueError(
            f"{failed}: this process is a worker; register it while the application is imported"
        )


def _check_room(schedules: list[Any], what: str) -> None:
    if len(schedules) >= SCHEDULES_MAX:
        raise ValueError(f"unable to add {what}: there are {SCHEDULES_MAX} already")
