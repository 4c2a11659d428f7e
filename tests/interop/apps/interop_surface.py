"""Evaluates expressions on `uwsgi`, in the process that runs tasks or while this is imported, and
reports what came out.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import time
from collections.abc import Callable
from typing import Any

import uwsgi
from reporting import report

AT_IMPORT = "INTEROP_AT_IMPORT" in os.environ


def evaluate(expression: str, names: dict[str, Any]) -> tuple[str, Any]:
    """The type and the value, or the exception's type behind a `!` and its text."""
    try:
        value = eval(expression, names)
    except Exception as error:
        # A subclass of unspool's own is as good as what it is derived from.
        known = next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
        return f"!{known.__name__}", str(error)
    return type(value).__name__, value if isinstance(value, SIMPLE) else repr(value)


SIMPLE = (bool, int, float, str, bytes, list, tuple, dict, type(None))


def answer() -> None:
    """Evaluates all and reports."""
    with open(os.environ["INTEROP_ROWS"], "rb") as file:
        expressions = pickle.load(file)
    names = {"uwsgi": uwsgi, "os": os, "time": time}
    report("rows", outcomes=[evaluate(expression, names) for expression in expressions])


def handle(_: dict[Any, Any]) -> int:
    """The only task."""
    if AT_IMPORT:
        report("started")
    else:
        answer()
    return int(uwsgi.SPOOL_OK)


def fail() -> None:
    """An RPC function that raises."""
    raise LookupError


RPC: dict[str, Callable[..., object]] = {
    "echo": lambda *arguments: b"|".join(arguments),
    "one": lambda argument: argument,
    "text": lambda: "text",
    "number": lambda: 5,
    "nothing": lambda: None,
    "empty": lambda: b"",
    "large": lambda: b"x" * 100_000,
    "fail": fail,
}
# In uWSGI only the process that imports for all can do so.
with contextlib.suppress(ValueError):
    for name, function in RPC.items():
        uwsgi.register_rpc(name, function)
    uwsgi.register_rpc("counted", RPC["echo"], 2)
    uwsgi.register_rpc("twice", lambda: b"first")
    uwsgi.register_rpc("twice", lambda: b"second")

uwsgi.spooler = handle
if AT_IMPORT:
    answer()
