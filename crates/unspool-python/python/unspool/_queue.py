"""`uwsgi.queue_*`: a ring of slots that all processes of the first spool share.

Owns the ring: `queue_push` writes at one end, `queue_pull` takes the oldest, `queue_pop` the
newest. A full ring loses its oldest value. Where it lies is `_shared`'s business.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from unspool import _process, _shared
from unspool._cache import as_bytes, whole
from unspool._settings import Queue

if TYPE_CHECKING:
    import sqlite3

PUSH = "queue_push"
PULL = "queue_pull"


def queue_push(value: str | bytes, /) -> bool | None:
    """Puts a value behind the newest. None if it is empty or too long."""
    content = as_bytes(value)
    queue = _queue()
    if not 0 < len(content) <= queue.value_bytes:
        return None

    def work(db: sqlite3.Connection) -> bool:
        slot = _position(db, PUSH)
        if _value(db, slot) is not None and _position(db, PULL) == slot:
            _move(db, PULL, (slot + 1) % queue.slots)
        _write(db, slot, content)
        _move(db, PUSH, (slot + 1) % queue.slots)
        return True

    return _store(queue).change(work)


def queue_pull() -> bytes | None:
    """Takes the oldest value."""
    queue = _queue()

    def work(db: sqlite3.Connection) -> bytes | None:
        slot = _position(db, PULL)
        value = _take(db, slot)
        if value is not None:
            _move(db, PULL, (slot + 1) % queue.slots)
        return value

    return _store(queue).change(work)


def queue_pop() -> bytes | None:
    """Takes the newest value."""
    queue = _queue()

    def work(db: sqlite3.Connection) -> bytes | None:
        slot = (_position(db, PUSH) - 1) % queue.slots
        value = _take(db, slot)
        if value is not None:
            _move(db, PUSH, slot)
        return value

    return _store(queue).change(work)


def queue_get(slot: int, /) -> bytes | None:
    """The value in a slot, which stays there."""
    wanted = whole(slot)
    queue = _queue()
    if not 0 <= wanted < queue.slots:
        return None
    row = _store(queue).one("SELECT value FROM queue WHERE slot = ?", (wanted,))
    return None if row is None else bytes(row[0])


def queue_set(slot: int, value: str | bytes, /) -> bool | None:
    """Puts a value into a slot. None if there is no such slot, or it is empty or too long."""
    wanted, content = whole(slot), as_bytes(value)
    queue = _queue()
    if not 0 <= wanted < queue.slots or not 0 < len(content) <= queue.value_bytes:
        return None
    _store(queue).change(lambda db: _write(db, wanted, content))
    return True


def queue_last(count: int = 0, /) -> bytes | list[bytes | None] | None:
    """The newest value, or so many of them in a list, the newest first."""
    number = operator.index(count)
    if number < 0:
        raise ValueError(f"queue_last() gives the last values, and {number} is no number of them")
    queue = _queue()

    def work(db: sqlite3.Connection) -> list[bytes | None]:
        newest = _position(db, PUSH) - 1
        wanted = min(number or 1, queue.slots)
        return [_value(db, (newest - back) % queue.slots) for back in range(wanted)]

    values = _store(queue).change(work)
    return values if number else values[0]


def queue_slot() -> int:
    """The slot of the next push."""
    return _store(_queue()).change(lambda db: _position(db, PUSH))


def queue_pull_slot() -> int:
    """The slot of the next pull."""
    return _store(_queue()).change(lambda db: _position(db, PULL))


_ATTRIBUTES = {
    function.__name__: function
    for function in (
        queue_get,
        queue_last,
        queue_pop,
        queue_pull,
        queue_pull_slot,
        queue_push,
        queue_set,
        queue_slot,
    )
}


def attribute(name: str) -> Any:
    """What the module `uwsgi` has under this name while there is a queue; None without one."""
    if name != "queue_size" and name not in _ATTRIBUTES:
        return None
    queue = _process.shared_settings().queue
    if queue is None:
        return None
    return queue.slots if name == "queue_size" else _ATTRIBUTES[name]


def _queue() -> Queue:
    queue = _process.shared_settings().queue
    if queue is None:
        raise ValueError("there is no queue in this configuration: set `queue = SLOTS`")
    return queue


def _store(queue: Queue) -> _shared.Store:
    return _shared.store(queue.kept)


def _position(db: sqlite3.Connection, name: str) -> int:
    row = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    # The ring may have had more slots.
    return 0 if row is None else int(row[0]) % _queue().slots


def _move(db: sqlite3.Connection, name: str, slot: int) -> None:
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, slot))


def _value(db: sqlite3.Connection, slot: int) -> bytes | None:
    row = db.execute("SELECT value FROM queue WHERE slot = ?", (slot,)).fetchone()
    return None if row is None else bytes(row[0])


def _take(db: sqlite3.Connection, slot: int) -> bytes | None:
    value = _value(db, slot)
    if value is not None:
        db.execute("DELETE FROM queue WHERE slot = ?", (slot,))
    return value


def _write(db: sqlite3.Connection, slot: int, content: bytes) -> None:
    db.execute("INSERT OR REPLACE INTO queue VALUES (?, ?)", (slot, content))
