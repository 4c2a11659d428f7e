"""What the application registered and nothing here carries out yet.

Packages and modules must be importable as under uWSGI, so that registering is no error; but nothing
may be lost without a word: the daemon names it once in its log, and a worker says it at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from unspool import _process

RECORDED_MAX = 1000

_recorded: list[str] = []


def record(decorator: str, function: Callable[..., Any], needs: str) -> None:
    """Notes a registration, written as in the source, and what it would need."""
    name = getattr(function, "__qualname__", repr(function))
    text = f"@{decorator} {getattr(function, '__module__', '?')}.{name} (needs {needs})"
    if _process.is_worker():
        os.write(2, f"unspool: registered and not carried out yet: {text}\n".encode())
    elif len(_recorded) < RECORDED_MAX:
        _recorded.append(text)


def remarks() -> list[str]:
    """What a user should hear about it, in at most one sentence."""
    if not _recorded:
        return []
    return [f"registered and not carried out yet by unspool: {', '.join(_recorded)}"]
