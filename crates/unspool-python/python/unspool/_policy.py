"""What a task asks for itself: limits on its attempts and its time, and how durable it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from unspool._native import SpoolError

# A hundred years.
SECONDS_MAX = 3_155_760_000
DURABILITIES = ("none", "file", "group")

Options = dict[str, Any]


def checked(options: Mapping[str, Any]) -> Options:
    """The options that are given, None being none, once they are found good.

    Raises TypeError for an option that does not exist and for a value of another type, and
    ValueError for one that is out of range.
    """
    for name, value in options.items():
        check = _CHECKS.get(name)
        if check is None:
            raise TypeError(
                f"there is no task option {name!r}; task options are {', '.join(_CHECKS)}"
            )
        if value is not None:
            check(name, value)
    return {name: value for name, value in options.items() if value is not None}


def submitted(options: Options) -> dict[str, int | str]:
    """The options of a task that is submitted now: counts, milliseconds, and the time when it
    expires, in milliseconds since 1970."""
    found: dict[str, int | str] = {}
    for name, value in options.items():
        if name == "expires":
            at = value.timestamp() if isinstance(value, datetime) else time.time() + value
            found[name] = max(0, round(at * 1000))
        elif name in _SECONDS:
            found[name] = round(value * 1000)
        else:
            found[name] = value
    return found


def _count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a {type(value).__name__}: give a whole number, 0 for no limit")
    if not 0 <= value <= 255:
        raise ValueError(f"{name} is {value}: a task has 255 attempts at most; 0 is no limit")


def _seconds(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is a {type(value).__name__}: give seconds")
    if not 0 <= value <= SECONDS_MAX:
        raise ValueError(f"{name} is {value}: give seconds, from 0 to a hundred years")


def _expires(name: str, value: Any) -> None:
    if not isinstance(value, datetime):
        _seconds(name, value)


def _durability(name: str, value: Any) -> None:
    if value not in DURABILITIES:
        raise SpoolError(f"unknown {name} `{value}`: use `none`, `file` or `group`")


_SECONDS = ("retry_delay", "backoff_max", "soft_time_limit", "time_limit")
_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "max_attempts": _count,
    "max_deaths": _count,
    "max_retries": _count,
    "retry_delay": _seconds,
    "backoff_from": _count,
    "backoff_max": _seconds,
    "soft_time_limit": _seconds,
    "time_limit": _seconds,
    "expires": _expires,
    "durability": _durability,
}
