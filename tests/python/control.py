"""Asks a daemon over the control socket of its spool, as the commands do."""

from __future__ import annotations

import json
import mmap
import os
import socket
from pathlib import Path
from typing import Any

SECONDS_MAX = 10.0
PACKET_BYTES_MAX = 128 * 1024


def control_socket(spool: Path) -> Path:
    """The socket of the only daemon of the spool."""
    (path,) = spool.glob(".unspool/daemons/*/control")
    return path


def request(spool: Path, packet: bytes) -> tuple[dict[str, Any], bytes, list[int]]:
    """The object that answers a packet, what stands behind it, and the descriptors beside it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(SECONDS_MAX)
        connection.connect(os.fspath(control_socket(spool)))
        connection.send(packet)
        answer, fds, _, _ = socket.recv_fds(connection, PACKET_BYTES_MAX, 1)
    text, _, data = answer.partition(b"\0")
    return json.loads(text), data, list(fds)


def ask(spool: Path, kind: str, data: bytes | None = None) -> Any:
    """The document that answers a question."""
    packet = json.dumps({"type": kind}).encode() + (b"" if data is None else b"\0" + data)
    reply, content, fds = request(spool, packet)
    assert reply["type"] == "document", reply
    for fd in fds:
        with mmap.mmap(fd, reply["bytes"], prot=mmap.PROT_READ) as mapped:
            content = mapped[:]
        os.close(fd)
    assert len(content) == reply["bytes"]
    return json.loads(content)
