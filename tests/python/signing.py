"""Signed task files for tests, written from docs/design/spool-format.md and not by unspool."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass
from pathlib import Path

CRC = slice(98, 106)
DOMAIN = b"unspool task file 1"


@dataclass(frozen=True)
class Key:
    """A line of a file of keys."""

    name: str
    secret: bytes

    @property
    def line(self) -> str:
        """As it stands in the file."""
        return f"{self.name} {self.secret.hex()}\n"


def make_key(name: str) -> Key:
    """A new key."""
    return Key(name, os.urandom(32))


def write_keys(path: Path, *keys: Key, mode: int = 0o600) -> Path:
    """A file of keys, the first of which signs."""
    path.write_text("# keys\n" + "".join(key.line for key in keys))
    path.chmod(mode)
    return path


def ours(
    pairs: dict[bytes, bytes], body: bytes = b"", module: bytes = b"", key: Key | None = None
) -> bytes:
    """A whole task file of unspool's, signed if there is a key."""
    tail = b" module=" + module if module else b""
    if key is not None:
        tail += b" kid=" + key.name.encode() + b" mac=" + b"0" * 64
    block = b"".join(_sized(part) for pair in pairs.items() for part in pair)
    length = 4 + 11 + 100 + len(tail) + len(block) + len(body)
    fixed = b"unspool1[id=%032x len=%016x ext=%08x crc=%08x]1loopsnu" % (7 << 80, length, 0, 0)
    packed = _sized(b"unspool") + _sized(fixed + tail) + block
    whole = bytearray(b"\x11" + len(packed).to_bytes(2, "little") + b"\0" + packed + body)
    if key is not None:
        place = mac_of(whole)
        whole[place] = _mac(bytes(whole), place, key).hexdigest().encode()
    return resealed(whole)


def mac_of(file: bytes | bytearray) -> slice:
    """Where the digits of a MAC stand."""
    end = 15 + int.from_bytes(file[13:15], "little")
    return slice(end - 64, end)


def verifies(file: bytes, key: Key) -> bool:
    """Whether this key signed the file."""
    place = mac_of(file)
    named = file[: place.start].endswith(f" kid={key.name} mac=".encode())
    return named and file[place] == _mac(file, place, key).hexdigest().encode()


def resealed(file: bytes | bytearray) -> bytes:
    """The file with a right checksum, as anybody can make it."""
    crc = _crc32c(file[:3] + file[4 : CRC.start] + b"0" * 8 + file[CRC.stop :])
    return bytes(file[: CRC.start] + b"%08x" % crc + file[CRC.stop :])


def _mac(file: bytes, place: slice, key: Key) -> hmac.HMAC:
    mac = hmac.new(key.secret, digestmod=hashlib.sha256)
    parts = (file[:3], file[4 : CRC.start], file[CRC.stop : place.start], file[place.stop :])
    for part in (DOMAIN, key.name.encode(), *parts):
        mac.update(len(part).to_bytes(8, "little") + part)
    return mac


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "little") + data


def _crc32c(data: bytes | bytearray) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
