"""Where tasks leave what they did: a table, as sites have it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from typing import IO

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "done.sqlite")


def _connect() -> contextlib.closing[sqlite3.Connection]:
    connection = sqlite3.connect(PATH)
    connection.execute("CREATE TABLE IF NOT EXISTS done (text)")
    return contextlib.closing(connection)


def add(text: str) -> None:
    """Called by tasks."""
    with _connect() as connection, connection:
        connection.execute("INSERT INTO done VALUES (?)", (text,))


def texts() -> list[str]:
    """Called by pages."""
    with _connect() as connection:
        return [text for (text,) in connection.execute("SELECT text FROM done")]


def digest(stream: IO[bytes]) -> str:
    """Says what is in an upload."""
    found, size = hashlib.sha256(), 0
    while part := stream.read(10_000):
        found.update(part)
        size += len(part)
    return f"{size} {found.hexdigest()}"
