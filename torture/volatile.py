"""A disk with a volatile cache: what is written is kept in memory until it is flushed.

Serves an image to QEMU by the NBD protocol (fixed newstyle, simple replies) at a Unix socket. At a
loss of power each sector that was written since the last flush has any of the contents that it had
since then: a disk may write what it holds in any order, and is cut off at any time.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
from pathlib import Path

from harness import HarnessError

SECTOR = 512
_GREETING = b"NBDMAGIC" + b"IHAVEOPT"
_OPTION_REPLY = 0x3E889045565A9
_REQUEST = 0x25609513
_REPLY = 0x67446698
# Options of the client, replies to them, commands.
_EXPORT_NAME, _ABORT, _GO = 1, 2, 7
_ACK, _INFO, _UNSUPPORTED = 1, 3, (1 << 31) + 1
_READ, _WRITE, _DISCONNECT, _FLUSH = 0, 1, 2, 3
# Has flags, flushes, writes through on request.
_FLAGS = 1 | 4 | 8
_WRITE_THROUGH = 1
_OPTION_BYTES_MAX = 1 << 16
_REQUEST_BYTES_MAX = 1 << 25
_END_SECONDS_MAX = 30.0


class Disk:
    """An image that is served until `close`."""

    def __init__(self, image: Path, path: Path) -> None:
        self.path = path
        self._bytes = image.stat().st_size
        self._image = os.open(image, os.O_RDWR)
        # What a sector held one after another since the last flush.
        self._volatile: dict[int, list[bytes]] = {}
        self.flushes = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(path))
        self._listener.listen(1)
        self._thread: threading.Thread | None = None

    def serve(self) -> None:
        """Serves one machine, until it is gone."""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def lose_power(self, choose: random.Random) -> int:
        """Once the machine is gone: the number of sectors whose last content is lost."""
        self._join()
        # From a disk that had written nearly all to one that had written nearly nothing.
        kept = choose.random()
        lost = 0
        for sector, contents in self._volatile.items():
            if choose.random() < kept:
                data = contents[-1] if choose.random() < kept else choose.choice(contents)
                os.pwrite(self._image, data, sector * SECTOR)
                lost += data is not contents[-1]
            else:
                lost += 1
        self._volatile.clear()
        return lost

    def close(self) -> None:
        """Writes what it holds; the machine must be gone."""
        self._listener.close()
        self._join()
        self._write_back()
        os.close(self._image)

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join(_END_SECONDS_MAX)
            if self._thread.is_alive():
                raise HarnessError("the disk is still used by a machine that is gone")
            self._thread = None

    def _serve(self) -> None:
        with contextlib.suppress(OSError, EOFError), self._listener.accept()[0] as peer:
            if self._negotiate(peer):
                while self._answer(peer):
                    pass

    def _negotiate(self, peer: socket.socket) -> bool:
        peer.sendall(_GREETING + struct.pack(">H", 3))
        _receive(peer, 4)
        while True:
            _, option, length = struct.unpack(">QII", _receive(peer, 16))
            if length > _OPTION_BYTES_MAX:
                return False
            _receive(peer, length)

            def reply(kind: int, data: bytes = b"", option: int = option) -> None:
                head = struct.pack(">QIII", _OPTION_REPLY, option, kind, len(data))
                peer.sendall(head + data)

            if option == _GO:
                reply(_INFO, struct.pack(">HQH", 0, self._bytes, _FLAGS))
                reply(_ACK)
                return True
            if option == _EXPORT_NAME:
                peer.sendall(struct.pack(">QH", self._bytes, _FLAGS))
                return True
            if option == _ABORT:
                return False
            reply(_UNSUPPORTED)

    def _answer(self, peer: socket.socket) -> bool:
        head = _receive(peer, 28)
        magic, flags, command, handle, offset, length = struct.unpack(">IHHQQI", head)
        if magic != _REQUEST or length > _REQUEST_BYTES_MAX or command == _DISCONNECT:
            return False
        error, data = 0, b""
        if command == _READ:
            data = self._read(offset, length)
        elif command == _WRITE:
            self._write(offset, _receive(peer, length))
            if flags & _WRITE_THROUGH:
                for sector in range(offset // SECTOR, (offset + length) // SECTOR):
                    os.pwrite(self._image, self._volatile.pop(sector)[-1], sector * SECTOR)
        elif command == _FLUSH:
            self._write_back()
            self.flushes += 1
        else:
            error = 22
        peer.sendall(struct.pack(">IIQ", _REPLY, error, handle) + data)
        return True

    def _read(self, offset: int, length: int) -> bytes:
        data = bytearray(os.pread(self._image, length, offset))
        first = offset // SECTOR
        for number in range(length // SECTOR):
            contents = self._volatile.get(first + number)
            if contents:
                data[number * SECTOR : (number + 1) * SECTOR] = contents[-1]
        return bytes(data)

    def _write(self, offset: int, data: bytes) -> None:
        first = offset // SECTOR
        for number in range(len(data) // SECTOR):
            content = data[number * SECTOR : (number + 1) * SECTOR]
            self._volatile.setdefault(first + number, []).append(content)

    def _write_back(self) -> None:
        for sector, contents in self._volatile.items():
            os.pwrite(self._image, contents[-1], sector * SECTOR)
        self._volatile.clear()


def _receive(peer: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = peer.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
