"""Messages to mules and farms, and their receipt in a mule.

Owns this process's ends of the queues of messages and, in a mule, the wait for messages and signals
and the row in which the mule tells the daemon what it does. The queues are datagram sockets that
the daemon made: every process of the daemon has them, and a message waits in the kernel until a
mule takes it, whichever processes are replaced meanwhile. What a mule does besides is in ``_mule``.
"""

from __future__ import annotations

import errno
import mmap
import operator
import os
import select
import socket
import time
import traceback
from collections import deque
from typing import Any

from unspool import _native, _process, _signals

# A longer message is refused: a handler that needs more is a task.
MESSAGE_BYTES_MAX = 1 << 20
OUTSIDE = "you can receive {} messages only in a mule !!!"

# What a row says: one of these, since when (monotonic, ns) and for a message its length.
_ELSE, _MESSAGE, _SIGNAL, _WAITS = range(4)
_ROW_NUMBERS = 8


class _State:
    """The queues: that for any mule, then one for each mule, then one for each farm."""

    def __init__(self) -> None:
        self.programs: list[str | None] = []
        self.farms: dict[str, list[int]] = {}
        self.sends: list[socket.socket] = []
        self.gets: list[socket.socket] = []
        # Signals that the daemon raised here and whose handlers have not run.
        self.signals: deque[int] = deque()
        self.buffer = bytearray()

    board: mmap.mmap | None = None
    # In a mule: its number, its connection to the daemon, its row.
    number = 0
    channel: _native.Worker | None = None
    row: Any = None
    handling = False
    turn = 0


_state = _State()


def descriptors_of(setup: dict[str, Any]) -> int:
    """How many descriptors follow the settings."""
    mules = len(setup["mules"])
    return 1 + 2 * (1 + mules + len(setup["farms"])) if mules else 0


def connect(setup: dict[str, Any], descriptors: list[int]) -> None:
    """Takes over the queues; called once, in the zygote."""
    _state.programs = setup["mules"]
    _state.farms = dict(setup["farms"])
    if not descriptors:
        return
    board, *ends = descriptors
    _state.board = mmap.mmap(board, len(_state.programs) * _ROW_NUMBERS * 8)
    os.close(board)
    _state.sends = [socket.socket(fileno=end) for end in ends[0::2]]
    _state.gets = [socket.socket(fileno=end) for end in ends[1::2]]


def become(number: int, channel: _native.Worker) -> None:
    """Makes this process the mule of this number."""
    assert _state.board is not None
    _state.number = number
    _state.channel = channel
    first = (number - 1) * _ROW_NUMBERS
    # Numbers that are stored whole: the daemon may read at any moment.
    _state.row = memoryview(_state.board).cast("Q")[first : first + _ROW_NUMBERS]
    _say(_ELSE)


def count() -> int:
    """How many mules this daemon has; 0 in a process without one."""
    return len(_state.programs)


def farms() -> dict[str, list[int]]:
    """The farms and the numbers of their mules."""
    return _state.farms


def program(number: int) -> str | None:
    """What the mule runs, or None: it handles messages."""
    return _state.programs[number - 1]


def mule_id() -> int:
    """The number of this mule, 0 in other processes."""
    return _state.number


def in_farm(name: str | bytes | None = None, /) -> bool | None:
    """True in a mule of this farm, or of any; else None."""
    if name is None:
        return any(_state.number in mules for mules in _state.farms.values()) or None
    return _state.number in _state.farms.get(_name(name), ()) or None


def mule_msg(message: str | bytes, where: int | str | bytes = 0, /) -> bool:
    """Sends a message to any mule, to that of this number, or to a farm by its name.

    False, and a line in the log, if the queue has no room or there is no such mule; it never waits.
    """
    data = _data(message)
    _check_configured()
    if isinstance(where, (str, bytes)):
        farm = _name(where)
        if farm not in _state.farms:
            raise ValueError(f"unknown farm: {farm}")
        return _send("mule_msg", data, _farm_queue(farm), f"farm {farm}")
    if not isinstance(where, int):
        raise ValueError(f"invalid mule: {where!r}")
    if not 0 <= where <= count():
        _log(f"mule_msg: there is no mule {where}; a message of {len(data)} bytes was not sent")
        return False
    return _send("mule_msg", data, where, f"mule {where}" if where else "any mule")


def farm_msg(name: str | bytes, message: str | bytes, /) -> None:
    """Sends a message to one mule of a farm; what fails is a line in the log."""
    farm, data = _name(name), _data(message)
    if farm not in _state.farms:
        _log(f"farm_msg: there is no farm {farm}; a message of {len(data)} bytes was not sent")
    else:
        _send("farm_msg", data, _farm_queue(farm), f"farm {farm}")


def mule_get_msg(
    signals: bool = True, farms: bool = True, buffer_size: int | None = None, timeout: float = -1
) -> bytes:
    """Waits for a message to this mule, to any, or to one of its farms.

    Handlers of signals run meanwhile, unless `signals` is false: then they wait. Empty after
    `timeout` seconds; -1 waits for ever. With a `buffer_size` a longer message is cut, which the
    log then says.
    """
    if not _state.number:
        raise ValueError(OUTSIDE.format("mule"))
    if buffer_size is not None:
        buffer_size = operator.index(buffer_size)
    queues = [_state.number, 0, *(_own_farms() if farms else ())]
    return _received(queues, signals, buffer_size, timeout)


def farm_get_msg() -> bytes:
    """Waits for a message to one of the farms of this mule."""
    if not _state.number:
        raise ValueError(OUTSIDE.format("farm"))
    return _received(_own_farms(), True, None, -1)


def next_message() -> bytes | None:
    """The next message of a mule that runs no program; None when it is time to end."""
    return _wait([_state.number, 0, *_own_farms()], True, None)


def _received(queues: list[int], signals: bool, size: int | None, timeout: float) -> bytes:
    deadline = None if timeout < 0 else time.monotonic() + timeout
    message = _wait(queues, signals, deadline)
    if message is None:
        # Told to leave: whoever has to tidy up hears of it, and the hooks at exit run.
        raise SystemExit(0)
    if size is not None and len(message) > size:
        _log(f"mule_get_msg: a message of {len(message)} bytes is cut to its buffer_size, {size}")
        return message[: max(size, 0)]
    return message


def _wait(queues: list[int], signals: bool, deadline: float | None) -> bytes | None:
    """A message, empty at the deadline; None when it is time to end."""
    channel = _state.channel
    assert channel is not None
    poll = select.poll()
    for descriptor in (channel.fileno(), *(_state.gets[queue].fileno() for queue in queues)):
        poll.register(descriptor, select.POLLIN)
    _say(_WAITS)
    wait_ms: float | None = 0
    while True:
        ready = {descriptor for descriptor, _ in poll.poll(wait_ms)}
        if channel.fileno() in ready:
            _take_packets(channel)
        if channel.leaving:
            _say(_ELSE)
            return None
        if signals:
            _run_signals(channel)
        message = _take_message(queues, ready)
        if message is not None:
            _say(_MESSAGE, len(message))
            return message
        wait_ms = None
        if deadline is not None:
            wait_ms = (deadline - time.monotonic()) * 1000
            if wait_ms <= 0:
                _say(_ELSE)
                return b""


def _take_packets(channel: _native.Worker) -> None:
    while (number := channel.look()) is not None:
        _state.signals.append(number)


def _run_signals(channel: _native.Worker) -> None:
    # A handler that waits for messages runs no handlers.
    while _state.signals and not _state.handling:
        number = _state.signals.popleft()
        _say(_SIGNAL)
        _state.handling = True
        started = time.monotonic_ns()
        error = None
        try:
            _signals.dispatch(number)
        except Exception:
            error = traceback.format_exc()
        finally:
            _state.handling = False
        channel.tick_over(number, time.monotonic_ns() - started, error)
        _say(_WAITS)


def _take_message(queues: list[int], ready: set[int]) -> bytes | None:
    """A message of one of the queues, which take turns, so that none starves the others."""
    _state.turn += 1
    for step in range(len(queues)):
        queue = _state.gets[queues[(_state.turn + step) % len(queues)]]
        if queue.fileno() in ready:
            if not _state.buffer:
                _state.buffer = bytearray(MESSAGE_BYTES_MAX)
            try:
                size = queue.recv_into(_state.buffer, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                # Another mule was faster.
                continue
            return bytes(memoryview(_state.buffer)[:size])
    return None


def _say(what: int, size: int = 0) -> None:
    if _state.row is not None:
        _state.row[0] = _ELSE
        _state.row[1] = time.monotonic_ns()
        _state.row[2] = size
        _state.row[0] = what


def _send(call: str, data: bytes, queue: int, to: str) -> bool:
    why = f"is longer than {MESSAGE_BYTES_MAX} bytes"
    if len(data) <= MESSAGE_BYTES_MAX:
        try:
            _state.sends[queue].send(data, socket.MSG_DONTWAIT)
            return True
        except BlockingIOError:
            size = _state.sends[queue].getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2
            why = f"finds its queue full ({size} bytes: `mule-msg-size`)"
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS, errno.ENOMEM):
                raise
            why = f"does not fit into its queue: {error.strerror}"
    _log(f"{call}: a message of {len(data)} bytes to {to} {why}; it was not sent")
    return False


def _check_configured() -> None:
    if count():
        return
    options = _process.options
    if _process.role() is _process.Role.PRODUCER and ("mule" in options or "mules" in options):
        raise RuntimeError(
            "mule_msg: mules are processes of the daemon, and this process is not one of its own; "
            "submit a task instead (`uwsgi.spool`, `@spool`)"
        )
    raise ValueError("no mule configured")


def _own_farms() -> list[int]:
    return [_farm_queue(name) for name, mules in _state.farms.items() if _state.number in mules]


def _farm_queue(farm: str) -> int:
    return 1 + count() + list(_state.farms).index(farm)


def _name(name: str | bytes) -> str:
    return os.fsdecode(name)


def _data(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else bytes(memoryview(message))


def _log(text: str) -> None:
    os.write(2, f"unspool: {text}\n".encode("utf-8", "backslashreplace"))
