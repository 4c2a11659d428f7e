"""The source files that this process has read, each as it was when it was read.

Owns what `py-autoreload` tells the daemon, which watches the files. A file's state is taken before
Python reads it, so that a save between that moment and the watching is not missed.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from importlib.machinery import SourceFileLoader
from typing import Any

from unspool import _requests

SOURCES_MAX = 20_000

_read: dict[str, dict[str, Any]] = {}
_told = 0
_ignored: frozenset[str] = frozenset()


def record(ignored: Iterable[str]) -> None:
    """Notes every source file from now on, but those of these modules."""
    global _ignored
    _ignored = frozenset(ignored)
    original = SourceFileLoader.path_stats

    def path_stats(self: SourceFileLoader, path: str) -> Any:
        # importlib asks for this before it reads the file or its bytecode.
        _note(self.name, path)
        return original(self, path)

    SourceFileLoader.path_stats = path_stats  # type: ignore[method-assign]


def _note(module: str, path: str) -> None:
    if module in _ignored or len(_read) >= SOURCES_MAX:
        return
    path = os.path.abspath(path)
    if path in _read:
        return
    try:
        stat = os.stat(path)
        path.encode()
    except (OSError, UnicodeEncodeError):
        return
    _read[path] = {"path": path, "mtime_ns": stat.st_mtime_ns, "bytes": stat.st_size}


def note_modules() -> None:
    """Notes the files of modules that were loaded in another way: before, or from no source."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str):
            _note(name, file.removesuffix("c") if file.endswith(".pyc") else file)


def tell() -> None:
    """Tells the daemon what a worker has read since its fork or the last time."""
    if len(_read) == _told:
        return
    for part in _requests.parts(news()):
        # A reload less is no reason for a task to fail.
        with contextlib.suppress(RuntimeError):
            _requests.send("sources", sources=part)


def news() -> list[dict[str, Any]]:
    """What was read since this was asked last."""
    global _told
    fresh = list(_read.values())[_told:]
    _told = len(_read)
    return fresh
