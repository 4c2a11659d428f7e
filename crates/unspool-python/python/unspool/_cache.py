"""`uwsgi.cache_*`: keys and values of all processes that share the first spool.

Owns what a cache is; where it lies is `_shared`'s business. Values are bytes, an expiry is seconds
from now, 0 is never, and numbers are 64 bits, little-endian, with uWSGI's wrap-around.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from unspool import _process, _shared
from unspool._settings import Cache

if TYPE_CHECKING:
    import sqlite3

NUMBER_BYTES = 8
HALF = 2**63


def cache_get(key: str | bytes, cache: str = "", /) -> bytes | None:
    """The value, or None."""
    wanted = _bytes(key)
    found = _find(cache)
    row = None if found is None else _row(found, wanted)
    return None if row is None else bytes(row[0])


def cache_exists(key: str | bytes, cache: str = "", /) -> bool | None:
    """True, or None as in uWSGI."""
    wanted = _bytes(key)
    found = _find(cache)
    return True if found is not None and _row(found, wanted) is not None else None


def cache_set(
    key: str | bytes, value: str | bytes, expires: int = 0, cache: str = "", /
) -> bool | None:
    """Puts a new value. None if the key is there already, or there is no room."""
    return _put(key, value, expires, cache, replace=False)


def cache_update(
    key: str | bytes, value: str | bytes, expires: int = 0, cache: str = "", /
) -> bool | None:
    """Puts a value. None if there is no room for it."""
    return _put(key, value, expires, cache, replace=True)


def cache_del(key: str | bytes, cache: str = "", /) -> bool | None:
    """True if the key was there, else None."""
    wanted = _bytes(key)
    found = _find(cache)
    if found is None:
        return None
    sql = "DELETE FROM cache WHERE cache = ? AND key = ? AND (expires = 0 OR expires > ?)"
    deleted = _shared.store(found.kept).run(sql, (found.name, wanted, time.time()))
    return True if deleted else None


def cache_clear(cache: str = "", /) -> bool | None:
    """Removes every key. None if there is no such cache."""
    found = _find(cache)
    if found is None:
        return None
    _shared.store(found.kept).run("DELETE FROM cache WHERE cache = ?", (found.name,))
    return True


def cache_keys(cache: str = "", /) -> list[bytes]:
    """All keys."""
    found = _find(cache)
    if found is None:
        raise ValueError("no local uWSGI cache available")
    sql = "SELECT key FROM cache WHERE cache = ? AND (expires = 0 OR expires > ?)"
    return [bytes(row[0]) for row in _shared.store(found.kept).all(sql, (found.name, time.time()))]


def cache_num(key: str | bytes, cache: str = "", /) -> int:
    """The value as a number, 0 if it is none."""
    wanted = _bytes(key)
    found = _find(cache)
    row = None if found is None else _row(found, wanted)
    if row is None or len(row[0]) != NUMBER_BYTES:
        return 0
    return int.from_bytes(row[0], "little", signed=True)


def cache_inc(
    key: str | bytes, amount: int = 1, expires: int = 0, cache: str = "", /
) -> bool | None:
    """Adds to a number."""
    return _calculate(key, amount, expires, cache, operator.add)


def cache_dec(
    key: str | bytes, amount: int = 1, expires: int = 0, cache: str = "", /
) -> bool | None:
    """Subtracts from a number."""
    return _calculate(key, amount, expires, cache, operator.sub)


def cache_mul(
    key: str | bytes, amount: int = 2, expires: int = 0, cache: str = "", /
) -> bool | None:
    """Multiplies a number."""
    return _calculate(key, amount, expires, cache, operator.mul)


def cache_div(
    key: str | bytes, amount: int = 2, expires: int = 0, cache: str = "", /
) -> bool | None:
    """Divides a number, towards zero; by zero gives 0, as in uWSGI."""
    return _calculate(
        key, amount, expires, cache, lambda number, by: divide(number, by) if by else 0
    )


def divide(number: int, by: int) -> int:
    """A quotient as C has it."""
    quotient = abs(number) // abs(by)
    return quotient if (number < 0) == (by < 0) else -quotient


def wrap(number: int) -> int:
    """What 64 bits hold of a number."""
    return (number + HALF) % (2 * HALF) - HALF


def whole(value: Any) -> int:
    """An argument that C has as a long."""
    number = operator.index(value)
    if not -HALF <= number < HALF:
        raise OverflowError("Python int too large to convert to C long")
    return number


def as_bytes(value: object) -> bytes:
    """Text in UTF-8, or the bytes themselves."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise TypeError(f"a bytes-like object is required, not {type(value).__name__!r}")


_bytes = as_bytes


def _find(name: object) -> Cache | None:
    if not isinstance(name, str):
        raise TypeError(f"the name of a cache is a str, not {type(name).__name__}")
    if "@" in name:
        raise ValueError(
            f"the cache {name!r} is one of another host, and there is no access to those: name a "
            "cache of this configuration (`cache2`)"
        )
    caches = _process.shared_settings().caches
    if not name:
        return next(iter(caches.values()), None)
    return caches.get(name)


def _row(cache: Cache, key: bytes) -> Any:
    """The value of a key that has not expired."""
    store = _shared.store(cache.kept)
    sql = "SELECT value, expires FROM cache WHERE cache = ? AND key = ?"
    row = store.one(sql, (cache.name, key))
    if row is None or (row[1] and row[1] <= time.time()):
        return None
    if cache.purge:
        used = "UPDATE cache SET used = ? WHERE cache = ? AND key = ?"
        store.run(used, (time.monotonic_ns(), cache.name, key))
    return row


def _put(
    key: str | bytes, value: str | bytes, expires: int, name: str, *, replace: bool
) -> bool | None:
    wanted, content, seconds = _bytes(key), _bytes(value), whole(expires)
    cache = _find(name)
    if cache is None or not wanted or not content:
        return None
    if len(wanted) > cache.key_bytes or len(content) > cache.value_bytes:
        return None
    until = _until(cache, seconds)

    def work(db: sqlite3.Connection) -> bool | None:
        old = _old(db, cache, wanted)
        if old is not None and not replace:
            return None
        return _write(db, cache, wanted, content, until, new=old is None)

    return _shared.store(cache.kept).change(work)


def _calculate(
    key: str | bytes, amount: int, expires: int, name: str, operation: Callable[[int, int], int]
) -> bool | None:
    wanted, by, seconds = _bytes(key), whole(amount), whole(expires)
    cache = _find(name)
    if cache is None or not wanted or len(wanted) > cache.key_bytes:
        return None
    if cache.value_bytes < NUMBER_BYTES:
        return None
    until = _until(cache, seconds)

    def work(db: sqlite3.Connection) -> bool | None:
        old = _old(db, cache, wanted)
        number = cache.initial
        if old is not None:
            number = int.from_bytes(old[:NUMBER_BYTES].ljust(8, b"\0"), "little", signed=True)
        content = wrap(operation(number, by)).to_bytes(NUMBER_BYTES, "little", signed=True)
        return _write(db, cache, wanted, content, until, new=old is None)

    return _shared.store(cache.kept).change(work)


def _until(cache: Cache, seconds: int) -> float:
    return time.time() + seconds if seconds > 0 and cache.expire else 0.0


def _old(db: sqlite3.Connection, cache: Cache, key: bytes) -> bytes | None:
    """What a key has; one that has expired is removed."""
    sql = "SELECT value, expires FROM cache WHERE cache = ? AND key = ?"
    row = db.execute(sql, (cache.name, key)).fetchone()
    if row is None:
        return None
    if row[1] and row[1] <= time.time():
        db.execute("DELETE FROM cache WHERE cache = ? AND key = ?", (cache.name, key))
        return None
    return bytes(row[0])


def _write(
    db: sqlite3.Connection, cache: Cache, key: bytes, content: bytes, until: float, *, new: bool
) -> bool | None:
    if not _has_room(db, cache, key, content, new):
        _remove_expired(db, cache)
        while not _has_room(db, cache, key, content, new):
            if not _evict(db, cache, key):
                return None
    db.execute(
        "INSERT INTO cache VALUES (?, ?, ?, ?, ?) ON CONFLICT (cache, key) DO UPDATE "
        "SET value = excluded.value, expires = excluded.expires, used = excluded.used",
        (cache.name, key, content, until, time.monotonic_ns()),
    )
    return True


def _has_room(db: sqlite3.Connection, cache: Cache, key: bytes, content: bytes, new: bool) -> bool:
    if new:
        sql = "SELECT items FROM cache_items WHERE cache = ?"
        row = db.execute(sql, (cache.name,)).fetchone()
        if row is not None and row[0] >= cache.items:
            return False
    if not cache.blocks:
        return True
    size = cache.block_bytes
    sql = (
        "SELECT coalesce(sum((length(value) + ? - 1) / ?), 0) FROM cache "
        "WHERE cache = ? AND key <> ?"
    )
    (used,) = db.execute(sql, (size, size, cache.name, key)).fetchone()
    return bool(used + -(-len(content) // size) <= cache.blocks)


def _remove_expired(db: sqlite3.Connection, cache: Cache) -> None:
    sql = "DELETE FROM cache WHERE cache = ? AND expires > 0 AND expires <= ?"
    db.execute(sql, (cache.name, time.time()))


def _evict(db: sqlite3.Connection, cache: Cache, key: bytes) -> bool:
    """Makes room in a full cache, if it is one that does so. Whether it did."""
    others = "FROM cache WHERE cache = ? AND key <> ?"
    if cache.purge:
        oldest = f"SELECT rowid {others} ORDER BY used LIMIT 1"
        sql = f"DELETE FROM cache WHERE rowid = ({oldest})"
    elif cache.clear:
        sql = f"DELETE {others}"
    else:
        return False
    return db.execute(sql, (cache.name, key)).rowcount > 0
