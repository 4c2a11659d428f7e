"""The store behind caches, queues and metrics: an SQLite file that all processes of a spool share.

Owns the connection of this process, its schema and who uses the store. There are two: one is gone
when the machine starts anew and is written without flushes, the other one (`store=`) stays. The
first daemon that starts while no living process uses the store empties the former, so that it ends
with those that filled it, as uWSGI's memory does. No connection is carried over a fork: it is
closed before and opened at its next use. Nothing is opened before the first use, and every wait for
another process has a bound.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from unspool import _native, _process
from unspool._errors import SharedStoreError
from unspool._settings import Settings, read

if TYPE_CHECKING:
    import sqlite3

Result = TypeVar("Result")

BUSY_SECONDS_MAX = 5.0
# How often a process looks whether its file is still the one with that name.
LOOK_SECONDS = 1.0
SCHEMA_VERSION = 1

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE users (pid INTEGER, started INTEGER, PRIMARY KEY (pid, started)) WITHOUT ROWID;
CREATE TABLE cache (
    cache TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
    expires REAL NOT NULL, used INTEGER NOT NULL
);
CREATE UNIQUE INDEX cache_key ON cache (cache, key);
CREATE INDEX cache_expires ON cache (cache, expires) WHERE expires > 0;
CREATE TABLE cache_items (cache TEXT PRIMARY KEY, items INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER cache_more AFTER INSERT ON cache BEGIN
    INSERT INTO cache_items VALUES (new.cache, 1)
    ON CONFLICT (cache) DO UPDATE SET items = items + 1;
END;
CREATE TRIGGER cache_less AFTER DELETE ON cache BEGIN
    UPDATE cache_items SET items = items - 1 WHERE cache = old.cache;
END;
CREATE TABLE queue (slot INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE metric (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
CONTENT = ("cache", "queue", "metric", "meta")


class Store:
    """One of the two files, as this process sees it. Safe for threads."""

    def __init__(self, kept: bool) -> None:
        self._kept = kept
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._path = b""
        self._inode = 0
        self._looked = 0.0

    def one(self, sql: str, parameters: tuple[Any, ...] = ()) -> Any:
        """The first row of a statement, which is a transaction of its own."""
        with self._open() as connection:
            return connection.execute(sql, parameters).fetchone()

    def all(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        """All rows of a statement."""
        with self._open() as connection:
            return connection.execute(sql, parameters).fetchall()

    def run(self, sql: str, parameters: tuple[Any, ...] = ()) -> int:
        """How many rows a statement changed, which is a transaction of its own."""
        with self._open() as connection:
            return connection.execute(sql, parameters).rowcount

    def change(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """What `work` returns: all that it does on the connection is one transaction."""
        with self._open() as connection:
            return _transaction(connection, work)

    def join(self) -> None:
        """Opens the store, and empties it if it is a dead daemon's."""
        with self._open():
            pass

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        import sqlite3

        with self._lock:
            try:
                if self._connection is None or not self._is_in_place():
                    self._connect()
                assert self._connection is not None
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                raise SharedStoreError(os.fsdecode(self._path), str(error)) from error

    def _is_in_place(self) -> bool:
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return True
        self._looked = now
        try:
            return os.stat(self._path).st_ino == self._inode
        except FileNotFoundError:
            return False

    def _connect(self) -> None:
        import sqlite3

        self.close()
        self._path = _native.shared_store(self._kept)
        connection = sqlite3.connect(
            os.fsdecode(self._path),
            timeout=BUSY_SECONDS_MAX,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=64,
        )
        try:
            # Where the file system has no shared memory, SQLite stays with a journal by itself.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'NORMAL' if self._kept else 'OFF'}")
            _transaction(connection, _make_schema)
            if not self._kept:
                _transaction(connection, _join)
            self._inode = os.stat(self._path).st_ino
        except BaseException:
            connection.close()
            raise
        self._looked = time.monotonic()
        self._connection = connection

    def close(self) -> None:
        """Closes the connection; the next use opens another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def before_fork(self) -> None:
        """Waits for other threads and closes the connection.

        SQLite keeps what it has locked in memory, which a child inherits, and not in the kernel's
        eyes: a child could not even open a connection of its own beside an inherited one.
        """
        self._lock.acquire()
        try:
            self.close()
        except Exception:
            self._connection = None

    def after_fork_in_parent(self) -> None:
        """Lets other threads go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """The lock was taken by a thread of the parent."""
        self._lock = threading.RLock()


VOLATILE = Store(kept=False)
KEPT = Store(kept=True)


def store(kept: bool) -> Store:
    """The store that outlives a start of the machine, or the one that does not."""
    return KEPT if kept else VOLATILE


def join() -> None:
    """Opens and closes the store, so that a daemon is among the users before its children are."""
    VOLATILE.join()
    VOLATILE.close()


for _store in (VOLATILE, KEPT):
    os.register_at_fork(
        before=_store.before_fork,
        after_in_parent=_store.after_fork_in_parent,
        after_in_child=_store.after_fork_in_child,
    )


def _transaction(
    connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], Result]
) -> Result:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _make_schema(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == SCHEMA_VERSION:
        return
    if version:
        raise OSError(f"it has format {version} and this unspool knows {SCHEMA_VERSION}")
    # Not by `executescript`, which would end the transaction.
    statement = ""
    for line in SCHEMA.splitlines(keepends=True):
        statement += line
        if line.rstrip().endswith(";") and ("TRIGGER" not in statement or line.startswith("END")):
            connection.execute(statement)
            statement = ""
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _join(connection: sqlite3.Connection) -> None:
    """Notes this process's daemon, or this process, among the users."""
    users = set(connection.execute("SELECT pid, started FROM users").fetchall())
    me = _process.daemon_pid() or os.getpid()
    user = (me, _process.started_ticks(me))
    if user in users:
        return
    living = {(pid, started) for pid, started in users if _process.started_ticks(pid) == started}
    connection.executemany("DELETE FROM users WHERE pid = ? AND started = ?", users - living)
    if _process.daemon_pid() and not living:
        for table in CONTENT:
            connection.execute(f"DELETE FROM {table}")
    connection.execute("INSERT INTO users VALUES (?, ?)", user)
    if _process.daemon_pid():
        options = [
            (name, None if value is None else os.fsdecode(value))
            for name, value in _process.shared_options()
        ]
        connection.execute(
            "INSERT OR REPLACE INTO meta VALUES ('options', ?)", (json.dumps(options),)
        )


_settings = Settings()
_settings_until = 0.0


def settings_of_daemon() -> Settings:
    """The settings of the daemon that used the store last."""
    global _settings, _settings_until
    now = time.monotonic()
    if now >= _settings_until:
        row = VOLATILE.one("SELECT value FROM meta WHERE name = 'options'")
        options = json.loads(row[0]) if row else []
        _settings = read(
            (name, None if value is None else os.fsencode(value)) for name, value in options
        )
        _settings_until = now + LOOK_SECONDS
    return _settings
