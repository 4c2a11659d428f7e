"""uwsgi signals, and the timers and crons that raise them.

Owns the handlers of this process. What is registered while the application is imported, `snapshot`
tells the daemon, which has `dispatch` called in a worker of its own or in a mule. What a worker
registers later it handles itself, between its tasks. In a producer it is recorded and nothing
more, so that an application can be imported anywhere.
"""

from __future__ import annotations

import contextlib
import mmap
import operator
import os
import re
import struct
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from unspool import _native, _process, _requests

Handler = Callable[[int], object]

SIGNALS = 256
# All of them and all signals fit into one packet of the zygote's.
SCHEDULES_MAX = 256
# Bytes of the name by which people know a handler.
HANDLER_NAME_MAX = 200
TARGET_BYTES_MAX = 63
PATH_BYTES_MAX = 4095


class _Registered(NamedTuple):
    target: str
    handler: Handler


class _RunTimeOwners:
    """Which process has registered each signal at run time: numbers that are taken for all.

    Shared by the processes of one zygote. The entry of one that has ended counts as free.
    """

    def __init__(self) -> None:
        self._pids = mmap.mmap(-1, 4 * SIGNALS)

    def owner(self, number: int) -> int:
        pid: int = struct.unpack_from("I", self._pids, 4 * number)[0]
        return pid if pid and os.path.exists(f"/proc/{pid}") else 0

    def take(self, number: int) -> None:
        struct.pack_into("I", self._pids, 4 * number, os.getpid())


_handlers: dict[int, _Registered] = {}
_timers: list[dict[str, Any]] = []
_crons: list[dict[str, int]] = []
_monitors: list[dict[str, Any]] = []
_owners: _RunTimeOwners | None = None


class _State:
    channel: _native.Worker | None = None
    # The signal whose wait in this process ended last.
    received = 0
    # The target of the handler that runs now.
    target: str | None = None


_state = _State()


def become_worker(channel: _native.Worker) -> None:
    """Says how signals reach this process."""
    _state.channel = channel


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
    if number in _handlers and _process.role() is not _process.Role.PRODUCER:
        _refuse_second(number, handler)
    if _process.is_served():
        _register_at_run_time(number)
    _handlers[number] = _Registered(target, handler)


def _refuse_second(number: int, handler: Handler) -> None:
    other = _handlers[number].handler
    if is_own(number):
        # A worker may change its mind about what only it handles.
        return
    name = getattr(other, "__qualname__", repr(other))
    raise ValueError(
        f"unable to register signal {number}: it is registered for {name}; use another number"
    )


def _register_at_run_time(number: int) -> None:
    if _process.role() is _process.Role.WEB_WORKER:
        raise ValueError(
            f"unable to register signal {number}: a web worker runs no handlers; register it while "
            "the application is imported"
        )
    if not _process.worker_number():
        raise ValueError(
            f"unable to register signal {number}: this process was forked by a worker, and the "
            "daemon does not know it; register it in the worker or while the application is "
            "imported"
        )
    owner = _owners.owner(number) if _owners is not None else 0
    if owner not in (0, os.getpid()):
        raise ValueError(
            f"unable to register signal {number}: process {owner} has registered it; use another "
            "number"
        )
    if _owners is not None:
        _owners.take(number)
    _requests.send("register", signal=number)


def signal_registered(number: int) -> bool | None:
    """True, or None as in uWSGI."""
    number = _signal(number)
    if number in _handlers or (_owners is not None and _owners.owner(number)):
        return True
    return None


def signal(number: int) -> None:
    """Raises a signal, from any process of the daemon or beside it."""
    _requests.send("signal", signal=_signal(number))


def signal_wait(number: int | None = None) -> bytes:
    """Waits until the signal, or any, is raised, and runs its handler if there is one.

    A mule hears those that are raised in it and those that have no handler; other workers hear all
    that are not for mules. `signal_received` tells which one it was.
    """
    wanted = None if number is None else _signal(number)
    if _process.role() is _process.Role.MULE and _process.worker_number():
        from unspool import _mule_channel

        _state.received = _mule_channel.wait_signal(wanted)
        return b""
    if _state.channel is None or not _process.worker_number():
        raise RuntimeError(
            "unable to wait for a signal: only a worker or a mule of the daemon receives any"
        )
    _requests.send("wait", signal=wanted)
    received = _state.channel.wait_signal()
    if received is None:
        raise SystemError("error waiting for signal: the daemon lets this process go")
    _state.received = received
    started_ns = time.monotonic_ns()
    error = None
    if received in _handlers:
        try:
            dispatch(received)
        except Exception:
            error = traceback.format_exc()
    _state.channel.signal_done(received, time.monotonic_ns() - started_ns, error)
    return b""


def signal_received() -> int:
    """The signal that `signal_wait` returned for last, 0 if it never did."""
    return _state.received


def add_timer(number: int, seconds: float) -> None:
    """Raises the signal every so many seconds; 0 never does, as in uWSGI."""
    _add_timer(number, seconds, 0)


def add_ms_timer(number: int, milliseconds: float) -> None:
    """Raises the signal every so many milliseconds."""
    _add_timer(number, milliseconds / 1000, 0)


def add_rb_timer(number: int, seconds: float, iterations: int = 0) -> None:
    """Raises the signal every so many seconds, so many times; 0: for ever."""
    _add_timer(number, seconds, operator.index(iterations))


def _add_timer(number: int, seconds: float, iterations: int) -> None:
    number = _signal(number)
    if not isinstance(seconds, (int, float)):
        raise TypeError(f"the interval of a timer is a number, not {type(seconds).__name__}")
    if not 0 <= seconds <= 1e9 or iterations < 0:
        raise ValueError(
            f"unable to add timer of signal {number}: {seconds} s, {iterations} iterations; "
            "neither can be negative"
        )
    _check_room(_timers, "timer")
    if not seconds:
        return
    entry = {"signal": number, "seconds": seconds, "iterations": iterations}
    if _process.is_served():
        _requests.send("timer", **entry)
    else:
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
    _check_room(_crons, "cron")
    if _process.is_served():
        _requests.send("cron", **cron)
    else:
        _crons.append(cron)
    return True


def add_file_monitor(number: int, path: str) -> None:
    """Raises the signal when the file changes, or anything in the directory.

    Created, removed, replaced, written, moved or with other attributes: each counts, and several at
    once raise one signal. It need not exist yet.
    """
    number = _signal(number)
    if not isinstance(path, str):
        raise TypeError(f"the path of a file monitor is a str, not {type(path).__name__}")
    failed = f"unable to add file monitor of signal {number}"
    _check_room(_monitors, "file monitor")
    path = os.path.abspath(path)
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{failed}: {path!r} is no UTF-8") from None
    if not 0 < length <= PATH_BYTES_MAX or "\0" in path:
        raise ValueError(f"{failed}: {path!r:.100} is no path of at most {PATH_BYTES_MAX} bytes")
    # What changes from here on counts, also before anybody watches.
    monitor = {"signal": number, "path": path, "state": _file_state(path)}
    if _process.is_served():
        _requests.send("monitor", **monitor)
    elif not any((m["signal"], m["path"]) == (number, path) for m in _monitors):
        _monitors.append(monitor)


def _file_state(path: str) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def monitors() -> list[dict[str, Any]]:
    """The registered file monitors, in the words of the control protocol."""
    return [dict(monitor) for monitor in _monitors]


def share_owners() -> None:
    """Prepares what the processes of this zygote share; called once, before its first fork."""
    global _owners
    _owners = _RunTimeOwners()


def snapshot() -> dict[str, Any]:
    """All that is registered, in the words of the control protocol."""
    return {
        "signals": [
            {
                "signal": number,
                "target": registered.target,
                "handler": _name_of(registered.handler),
            }
            for number, registered in sorted(_handlers.items())
        ],
        "timers": [dict(timer) for timer in _timers],
        "crons": [dict(cron) for cron in _crons],
    }


def _name_of(handler: Handler) -> str:
    """A function's module and name, by which people know it and `unspool schedule` finds it."""
    module = getattr(handler, "__module__", None)
    name = getattr(handler, "__qualname__", None) or type(handler).__qualname__
    return f"{module}.{name}"[:HANDLER_NAME_MAX] if module else name[:HANDLER_NAME_MAX]


def has_handler(number: int) -> bool:
    """Whether `dispatch` can call one here."""
    return number in _handlers


def dispatch(number: int) -> None:
    """Calls the handler of a signal; KeyError if there is none."""
    registered = _handlers[number]
    with _acting_for(registered.target):
        registered.handler(number)


@contextlib.contextmanager
def _acting_for(target: str) -> Iterator[None]:
    before, _state.target = _state.target, target
    try:
        yield
    finally:
        _state.target = before


def is_own(number: int) -> bool:
    """Whether this process has registered the handler at run time."""
    return _owners is not None and _owners.owner(number) == os.getpid()


def is_for_spoolers(number: int) -> bool:
    """Whether the target of the handler is a spooler."""
    return number in _handlers and _names_spooler(_handlers[number].target)


def acts_as_spooler() -> bool:
    """Whether the handler that runs now has a spooler as its target."""
    return _state.target is not None and _names_spooler(_state.target)


def _names_spooler(target: str) -> bool:
    return target == "spooler" or target.startswith("/")


def acts_as_worker() -> int:
    """The number of the worker that is the target of the handler that runs now, or 0."""
    found = re.fullmatch(r"worker([0-9]+)", _state.target or "")
    return int(found[1]) if found else 0


def _signal(number: int) -> int:
    number = operator.index(number)
    if not 0 <= number < SIGNALS:
        raise ValueError(f"{number} is no uwsgi signal: give 0 to {SIGNALS - 1}")
    return number


def _check_room(schedules: list[Any], what: str) -> None:
    if len(schedules) >= SCHEDULES_MAX:
        raise ValueError(f"unable to add {what}: there are {SCHEDULES_MAX} already")
