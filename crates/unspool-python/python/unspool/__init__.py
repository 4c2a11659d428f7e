"""unspool: a durable task queue without a broker.

A task is a file in a directory. Submitting needs no daemon: name the directory with `configure`, or
with the environment variables UNSPOOL_SPOOL or UNSPOOL_CONFIG, and submit with `spool`, or with the
modules `uwsgi` and `uwsgidecorators`, which then look as they do inside uWSGI.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unspool import _policy, _process
from unspool._cancel import TaskCancelled, cancel
from unspool._errors import SharedStoreError, SoftTimeLimitExceeded, UnknownFunction
from unspool._native import (
    CancelError,
    ConfigError,
    NotDurableError,
    SpoolError,
    SpoolFullError,
    UnansweredError,
    __version__,
)
from unspool._native import submit as _submit
from unspool._process import configure

__all__ = [
    "CancelError",
    "ConfigError",
    "NotDurableError",
    "SharedStoreError",
    "SoftTimeLimitExceeded",
    "SpoolError",
    "SpoolFullError",
    "TaskCancelled",
    "UnansweredError",
    "UnknownFunction",
    "__version__",
    "cancel",
    "configure",
    "spool",
]


def spool(
    message: dict[Any, Any] | None = None,
    /,
    *,
    durability: str | None = None,
    options: Mapping[str, Any] | None = None,
    **pairs: Any,
) -> bytes:
    """Submits a task; returns the absolute path of its file. `cancel` takes it back, also once it
    runs.

    The task is a dictionary, or keyword arguments, or both. Values are bytes, or str, int, float
    and bool, which arrive as text. Four keys have a meaning: `at` (seconds since 1970, not before),
    `priority` (a folder of the spool), `spooler` (one of the configured directories; in a process
    that is configured by nothing, any absolute path) and `body` (the bytes after the pairs).

    `durability` is "none" (the task survives the death of this process), "file" or "group" (it
    survives a power cut; with "group" the file system may share flushes). The default is the
    configured one, else "group". `options` is what else the task asks for itself: `max_attempts`,
    `time_limit`, `expires` and the others that `uwsgidecorators.spool` lists.

    Raises SpoolError, a ValueError, if nothing was submitted: its subclass SpoolFullError if the
    spool takes no more for now. Raises its subclass NotDurableError if the task is there but may
    not survive a power cut, and its subclass UnansweredError if it was sent to another machine and
    no answer came, so that it may be there or not.
    """
    if not _process.is_configured() and not _names_spool({**(message or {}), **pairs}):
        raise SpoolError(_process.UNCONFIGURED)
    asked = dict(options or {})
    if durability is not None:
        asked["durability"] = durability
    return _submit(message, pairs, _policy.submitted(_policy.checked(asked)))


def _names_spool(pairs: dict[Any, Any]) -> bool:
    return any(pairs.get(key) for key in ("spooler", b"spooler"))
