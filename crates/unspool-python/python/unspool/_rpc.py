"""`uwsgi.rpc` and its kin: functions that are called by a name, in this process.

Owns the table of names. It is filled while the application is imported, and workers inherit it. No
other process is called: there are no listeners for that yet.
"""

from __future__ import annotations

import operator
import traceback
from collections.abc import Callable

from unspool import _process

FUNCTIONS_MAX = 4096

_functions: dict[bytes, Callable[..., object]] = {}


def register_rpc(name: str, function: Callable[..., object], arguments: int = 0, /) -> bool:
    """Lets the function be called by this name; a second one takes the place of the first."""
    if not isinstance(name, str):
        raise TypeError(f"the name of an RPC function is a str, not {type(name).__name__}")
    # uWSGI takes the number of arguments and does not look at it in Python.
    operator.index(arguments)
    if _process.is_worker():
        raise ValueError(
            f"unable to register rpc function {name}: this process is a worker; register it while "
            "the application is imported"
        )
    key = name.encode()
    if key not in _functions and len(_functions) >= FUNCTIONS_MAX:
        raise ValueError(f"unable to register rpc function: there are {FUNCTIONS_MAX} already")
    _functions[key] = function
    return True


def rpc(node: str | bytes | None, name: str | bytes, /, *arguments: str | bytes) -> bytes | None:
    """What a function returns, text as UTF-8; None if there is none, if it raises or gives nothing.

    `node` names another server in uWSGI: ValueError. None or empty: this process.
    """
    if node:
        raise ValueError(
            f"unable to call rpc function on {node!r}: unspool calls functions of its own process "
            "alone; give None as the server"
        )
    return call(name, *arguments)


def call(name: str | bytes, /, *arguments: str | bytes) -> bytes | None:
    """`rpc` in this process."""
    function = _functions.get(_bytes(name))
    given = [_bytes(argument) for argument in arguments]
    if function is None:
        return None
    try:
        result = function(*given)
        if isinstance(result, str):
            result = result.encode()
    except Exception:
        traceback.print_exc()
        return None
    return result if isinstance(result, bytes) and result else None


def rpc_list() -> tuple[bytes, ...]:
    """The names of all functions, in the order of their registration."""
    return tuple(_functions)


def _bytes(value: str | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise ValueError(
        "unable to call rpc function: names and arguments are bytes or str, not "
        f"{type(value).__name__}"
    )
