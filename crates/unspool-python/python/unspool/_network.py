"""Packets to other machines: `uwsgi.send_message`, as uWSGI had it up to 1.4."""

from __future__ import annotations

import marshal
import os
from collections.abc import Iterator
from typing import Any

from unspool import _native

# uWSGI's own `socket-timeout`, where it says nothing else.
TIMEOUT_S = 4.0


def send_message(
    destination: str | bytes | int,
    modifier1: int = 0,
    modifier2: int = 0,
    message: Any = None,
    /,
    timeout: float = TIMEOUT_S,
    fd: int = -1,
    content_length: int = 0,
    **pairs: Any,
) -> Iterator[bytes] | None:
    """Sends a uwsgi packet; returns an iterator over the reply, or None if there is no connection.

    `destination` is an address ("HOST:PORT", the path of a socket, "@NAME", "tls:HOST:PORT") or the
    number of a socket that is connected. The packet has the two modifiers and the message: of a
    dictionary, and of keyword arguments, it has the pairs; bytes go as they are, and anything else
    as `marshal` writes it. `content_length` bytes of the file `fd` follow.

    `timeout` is in seconds, for each wait: iterating raises TimeoutError when nothing comes in
    time.

    A spooler answers modifier 17 with four bytes, of which the last one is 1 if the task is stored:

        reply = uwsgi.send_message("127.0.0.1:10001", 17, 0, {"x": "1"}, timeout=5)
    """
    if message is None:
        block: Any = pairs
    elif isinstance(message, dict):
        block = {**message, **pairs}
    elif pairs:
        raise TypeError(
            "keyword arguments are pairs of a packet, and this message is no dictionary"
        )
    elif isinstance(message, (bytes, bytearray, memoryview)):
        block = bytes(message)
    else:
        block = marshal.dumps(message)
    both = (_byte("modifier1", modifier1), _byte("modifier2", modifier2))
    # Those that the other side closes.
    body = None if fd < 0 or content_length <= 0 else (os.dup(fd), content_length)
    to = os.dup(destination) if isinstance(destination, int) else os.fsdecode(destination)
    return _native.send_message(to, both, block, float(timeout), body)


def _byte(name: str, value: int) -> int:
    if not 0 <= value <= 255:
        raise ValueError(f"{name} is {value}: it is one byte, from 0 to 255")
    return value
