"""`uwsgi.metric_*`: the numbers that the option `metric` names, for all processes of the spool.

Owns the numbers of the application. uWSGI's own (`worker.1.requests` and so on) count what its web
workers do, and are unknown here as they are in an instance without any.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING

from unspool import _process, _shared
from unspool._cache import divide, whole, wrap

if TYPE_CHECKING:
    import sqlite3


def metric_get(name: str, /) -> int:
    """The number, 0 if there is no such metric."""
    _check(name)
    settings = _process.shared_settings()
    name = settings.aliases.get(name, name)
    if name not in settings.metrics:
        return 0
    row = _shared.VOLATILE.one("SELECT value FROM metric WHERE name = ?", (name,))
    return settings.metrics[name] if row is None else int(row[0])


def metric_set(name: str, value: int = 1, /) -> bool | None:
    """Sets the number. None if there is no such metric."""
    return _change(name, value, lambda _, given: given)


def metric_inc(name: str, amount: int = 1, /) -> bool | None:
    """Adds."""
    return _change(name, amount, operator.add)


def metric_dec(name: str, amount: int = 1, /) -> bool | None:
    """Subtracts."""
    return _change(name, amount, operator.sub)


def metric_mul(name: str, amount: int = 1, /) -> bool | None:
    """Multiplies."""
    return _change(name, amount, operator.mul)


def metric_div(name: str, amount: int = 1, /) -> bool | None:
    """Divides, towards zero. None if it is by zero."""
    _check(name)
    if whole(amount) == 0:
        return None
    return _change(name, amount, divide)


def metric_set_max(name: str, value: int = 1, /) -> bool | None:
    """Sets the number unless it is larger."""
    return _change(name, value, max)


def metric_set_min(name: str, value: int = 1, /) -> bool | None:
    """Sets the number unless it is smaller."""
    return _change(name, value, min)


def _change(name: str, given: int, operation: Callable[[int, int], int]) -> bool | None:
    _check(name)
    number = whole(given)
    metrics = _process.shared_settings().metrics
    if name not in metrics:
        return None

    def work(db: sqlite3.Connection) -> bool:
        row = db.execute("SELECT value FROM metric WHERE name = ?", (name,)).fetchone()
        old = metrics[name] if row is None else int(row[0])
        new = wrap(operation(old, number))
        db.execute("INSERT OR REPLACE INTO metric VALUES (?, ?)", (name, new))
        return True

    return _shared.VOLATILE.change(work)


def _check(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"the name of a metric is a str, not {type(name).__name__}")
