"""What a process asks of the daemon: to raise a signal, add a timer, reload, stop.

Owns the way there. Processes of the daemon have a socket that all of them inherit, and get no
answer; a producer talks to the control socket of the daemon that runs its first spool. The
packets are specified in ``docs/design/worker-protocol.md``.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator
from typing import Any

from unspool import _native, _process

# The daemon reads at once, unless the machine stands still.
SEND_SECONDS_MAX = 5.0
# A packet has at most 128 KiB.
PART_BYTES = 64 * 1024

_socket: socket.socket | None = None


def connect(descriptor: int) -> None:
    """Takes over the zygote's end of the socket, which all its children have too."""
    global _socket
    _socket = socket.socket(fileno=descriptor)
    _socket.settimeout(SEND_SECONDS_MAX)


def send(kind: str, **fields: object) -> None:
    """Asks for something. RuntimeError says why it cannot be had."""
    request = {"type": kind, "worker": _process.worker_number(), **fields}
    packet = json.dumps(request).encode()
    if _socket is None:
        _ask(kind, packet)
        return
    try:
        _socket.send(packet)
    except OSError as error:
        raise RuntimeError(f"unable to ask the daemon for `{kind}`: {error}") from error


def is_child() -> bool:
    """Whether this process belongs to a daemon, and has its sockets."""
    return _socket is not None


def send_message(data: bytes, mule: int, farm: str | None) -> str | None:
    """Sends a message to mules, from a process beside the daemon. Returns why it was refused."""
    request = {"type": "message", "mule": mule, "farm": farm}
    return _ask("message", json.dumps(request).encode() + b"\0" + data)


def parts(items: Iterable[Any]) -> Iterator[list[Any]]:
    """A list of any length in pieces that fit in a packet each."""
    part: list[Any] = []
    room = PART_BYTES
    for item in items:
        size = len(json.dumps(item)) + 2
        if part and size > room:
            yield part
            part, room = [], PART_BYTES
        part.append(item)
        room -= size
    if part:
        yield part


def _ask(kind: str, packet: bytes) -> str | None:
    spoolers = _process.spoolers()
    if not spoolers:
        raise RuntimeError(f"unable to ask for `{kind}`: {_process.UNCONFIGURED}")
    try:
        answer = _native.ask_daemon(spoolers[0], packet)
    except OSError as error:
        raise RuntimeError(
            f"unable to ask the daemon of {os.fsdecode(spoolers[0])} for `{kind}`: {error}"
        ) from error
    if answer is None:
        raise RuntimeError(
            f"unable to ask for `{kind}`: no daemon runs the spool {os.fsdecode(spoolers[0])}; "
            "start one with `unspool run`"
        )
    reply = json.loads(answer)
    if reply["type"] == "failed":
        raise RuntimeError(f"the daemon refuses `{kind}`: {reply['error']}")
    return str(reply["error"]) if reply["type"] == "refused" else None
