"""Messages to mules and farms, and their receipt in a mule.

Owns this process's ends of the queues of messages. The queues are datagram sockets that the daemon
made: every process of the daemon has them, and a message waits in the kernel until a mule takes it,
whichever processes are replaced meanwhile. Signals are the business of ``_mule_channel``, what a
mule does besides of ``_mule``.
"""

from __future__ import annotations

import errno
import mmap
import operator
import os
import socket
import threading
import time
from typing import Any

from unspool import _mule_channel, _mule_row, _native, _requests

# A longer message is refused: a handler that needs more is a task.
MESSAGE_BYTES_MAX = 1 << 20
# From a process beside the daemon, in one packet to it.
BESIDE_BYTES_MAX = 120_000
OUTSIDE = "you can receive {} messages only in a mule !!!"


class _State:
    """The queues: that for any mule, then one for each mule, then one for each farm."""

    def __init__(self) -> None:
        self.programs: list[str | None] = []
        self.farms: dict[str, list[int]] = {}
        self.sends: list[socket.socket] = []
        self.gets: list[socket.socket] = []

    board: mmap.mmap | None = None
    # In a mule, and in what it forks, its number.
    number = 0
    turn = 0


class _Buffer(threading.local):
    data = bytearray()


_state = _State()
_buffer = _Buffer()


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
    _state.board = mmap.mmap(board, len(_state.programs) * _mule_row.NUMBERS * 8)
    os.close(board)
    _state.sends = [socket.socket(fileno=end) for end in ends[0::2]]
    _state.gets = [socket.socket(fileno=end) for end in ends[1::2]]


def become(number: int, channel: _native.Worker) -> None:
    """Makes this process the mule of this number."""
    assert _state.board is not None
    _state.number = number
    _mule_channel.become(channel)
    _mule_row.become(_state.board, number)


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
    From a process beside the daemon, ValueError too if no daemon runs the first spool.
    """
    data = _data(message)
    farm = _name(where) if isinstance(where, (str, bytes)) else None
    mule = 0 if isinstance(where, (str, bytes)) else where
    if not isinstance(mule, int):
        raise ValueError(f"invalid mule: {where!r}")
    if not _requests.is_child():
        return _send_from_beside("mule_msg", data, mule, farm)
    if not count():
        raise ValueError("no mule configured")
    if farm is not None:
        if farm not in _state.farms:
            raise ValueError(f"unknown farm: {farm}")
        return _send("mule_msg", data, _farm_queue(farm), f"farm {farm}")
    if not 0 <= mule <= count():
        _log(f"mule_msg: there is no mule {mule}; a message of {len(data)} bytes was not sent")
        return False
    return _send("mule_msg", data, mule, _shown(mule))


def farm_msg(name: str | bytes, message: str | bytes, /) -> None:
    """Sends a message to one mule of a farm; what fails is a line in the log.

    From a process beside the daemon, ValueError too if no daemon runs the first spool.
    """
    farm, data = _name(name), _data(message)
    if not _requests.is_child():
        _send_from_beside("farm_msg", data, 0, farm)
    elif farm not in _state.farms:
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
    wait = _mule_channel.Wait((_state.gets[queue].fileno() for queue in queues), signals)
    _mule_row.say(_mule_row.WAITS)
    wait_ms: float | None = 0
    while True:
        ready = wait.ready(wait_ms)
        if ready is None:
            _mule_row.say(_mule_row.BETWEEN)
            return None
        if signals:
            _mule_channel.run_signals()
        message = _take_message(queues, ready)
        if message is not None:
            _mule_row.say(_mule_row.MESSAGE, len(message))
            return message
        wait_ms = None
        if deadline is not None:
            wait_ms = (deadline - time.monotonic()) * 1000
            if wait_ms <= 0:
                _mule_row.say(_mule_row.BETWEEN)
                return b""


def _take_message(queues: list[int], ready: set[int]) -> bytes | None:
    """A message of one of the queues, which take turns, so that none starves the others."""
    _state.turn += 1
    for step in range(len(queues)):
        queue = _state.gets[queues[(_state.turn + step) % len(queues)]]
        if queue.fileno() in ready:
            if not _buffer.data:
                _buffer.data = bytearray(MESSAGE_BYTES_MAX)
            try:
                size = queue.recv_into(_buffer.data, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                # Another mule was faster.
                continue
            return bytes(memoryview(_buffer.data)[:size])
    return None


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


def _send_from_beside(call: str, data: bytes, mule: int, farm: str | None) -> bool:
    if len(data) > BESIDE_BYTES_MAX:
        why: str | None = f"is longer than {BESIDE_BYTES_MAX} bytes"
    else:
        try:
            why = _requests.send_message(data, mule, farm)
        except RuntimeError as error:
            # uWSGI's error where there is no mule or farm.
            raise ValueError(str(error)) from error
    if why is not None:
        to = f"farm {farm}" if farm is not None else _shown(mule)
        _log(f"{call}: a message of {len(data)} bytes to {to} was not sent: {why}")
    return why is None


def _shown(mule: int) -> str:
    return f"mule {mule}" if mule else "any mule"


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
