"""A call of a task function as the pairs of its task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unspool._native import SpoolError

# Keys of a task that are no arguments of its function.
RESERVED = ("message_dict", "spooler", "priority", "at", "body")


def add(message: dict[Any, Any], key: str, value: Any) -> None:
    if key == "message_dict" and isinstance(value, Mapping):
        message.update(value)
    else:
        message[key] = value


class Message(dict[bytes, bytes]):
    """What is submitted, and beside it what is no pair of the task: the module of its function, and
    what the task asks for itself."""

    unspool_module = b""
    unspool_options: Mapping[str, int | str] = {}


def encoded(message: dict[Any, Any]) -> Message:
    """Bytes alone: what a real uWSGI takes."""
    taken = Message()
    for key, value in message.items():
        if value is None and key in RESERVED:
            continue
        if isinstance(value, str):
            value = value.encode()
        elif isinstance(value, (int, float)):
            value = str(value).encode()
        elif not isinstance(value, bytes):
            value = _bytes(key, value)
        taken[key.encode() if isinstance(key, str) else key] = value
    return taken


def _bytes(key: Any, value: Any) -> bytes:
    try:
        return bytes(memoryview(value))
    except TypeError:
        raise SpoolError(
            f"the value of {key!r} is a {type(value).__name__}: a task holds bytes, str, int, "
            "float and bool; convert it, or decorate the function with pass_arguments=True"
        ) from None
