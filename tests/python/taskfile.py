"""A reader of task files for tests, written from uWSGI's format and independent of unspool's own.

```text
0      modifier1, 17
1..3   length of the pairs, u16 little endian
3      modifier2
4..    pairs: u16 key length, key, u16 value length, value
..     body
```
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MARK = b"unspool"


@dataclass(frozen=True)
class TaskFile:
    """What a file holds; the pair that unspool adds is apart."""

    modifier1: int
    modifier2: int
    pairs: list[tuple[bytes, bytes]]
    body: bytes
    mark: bytes | None

    @property
    def as_uwsgi(self) -> bytes:
        """The bytes that uWSGI would have written for the same message."""
        block = b"".join(_sized(key) + _sized(value) for key, value in self.pairs)
        header = bytes([self.modifier1]) + len(block).to_bytes(2, "little")
        return header + bytes([self.modifier2]) + block + self.body


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "little") + data


def read(path: Path | bytes | str) -> TaskFile:
    """Parses a file; AssertionError if it is not whole."""
    data = Path(path.decode() if isinstance(path, bytes) else path).read_bytes()
    end = 4 + int.from_bytes(data[1:3], "little")
    assert len(data) >= end
    pairs: list[tuple[bytes, bytes]] = []
    at = 4
    while at < end:
        key, at = _take(data, at, end)
        value, at = _take(data, at, end)
        assert key
        pairs.append((key, value))
    mark = None
    if pairs and pairs[0][0] == MARK:
        mark = pairs.pop(0)[1]
    return TaskFile(data[0], data[3], pairs, data[end:], mark)


def _take(data: bytes, at: int, end: int) -> tuple[bytes, int]:
    start = at + 2
    stop = start + int.from_bytes(data[at:start], "little")
    assert start <= end and stop <= end
    return data[start:stop], stop
