"""A client of the stats server: connects, reads to the end, and checks the form of what came."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path
from typing import Any, TypeAlias

SECONDS_MAX = 20.0

# A path, `@name` or `host:port`.
Address: TypeAlias = "str | Path"


def connect(address: Address) -> socket.socket:
    """A connection, with a bound on every wait."""
    text = str(address)
    if ":" in text:
        host, _, port = text.rpartition(":")
        return socket.create_connection((host, int(port)), SECONDS_MAX)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # One that does not block is refused while all places in the queue are taken: wait for one.
    bound = struct.pack("@ll", int(SECONDS_MAX), 0)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bound)
    client.connect("\0" + text[1:] if text.startswith("@") else text)
    client.settimeout(SECONDS_MAX)
    return client


def read_all(client: socket.socket) -> bytes:
    """Everything until the peer closes."""
    parts = []
    while part := client.recv(65536):
        parts.append(part)
    return b"".join(parts)


def ask(address: Address, request: bytes = b"") -> bytes:
    """One connection: the request, if there is one, and the whole answer."""
    with connect(address) as client:
        if request:
            client.sendall(request)
        return read_all(client)


def statistics(address: Address) -> dict[str, Any]:
    """The document. Tools of other languages read its numbers as whole ones: they have to be."""

    def refuse(text: str) -> float:
        raise AssertionError(f"{text} is no whole number")

    answer = json.loads(ask(address), parse_float=refuse, parse_constant=refuse)
    assert isinstance(answer, dict)
    return answer
