"""Cancelling a task: asking for it, and what is raised in the task."""

from __future__ import annotations

import os
from typing import Literal

from unspool import _native, _process

Became = Literal["removed", "stopping", "stopped", "killed", "gone", "dead", "corrupt"]

# How long a task that is told to end has for that.
GRACE_SECONDS = 10.0


class TaskCancelled(BaseException):
    """Raised in a task that somebody cancels while it runs.

    It derives from BaseException, as `asyncio.CancelledError` does, so that `except Exception` lets
    it pass. A task may catch it to clean up; however it ends then, it is deleted and does not run
    again. It is raised once, between two instructions of the interpreter, in the middle of a wait
    too, but not inside of C code that does not look. After the grace the worker is killed.
    """


def cancel(
    task: bytes | str | os.PathLike[str], *, wait: bool = True, grace: float = GRACE_SECONDS
) -> Became:
    """Cancels a task and returns what became of it.

    `task` is the path that `spool` returned, the name of its file, or its id: 32 hexadecimal
    digits, or at least the first four of them. A path may lie in any spool; names and ids are
    looked for in the spools that this process is configured for.

    - "removed": it was pending, and is deleted. This needs no daemon.
    - "stopped": it was running, `TaskCancelled` was raised in it, it ended within `grace` seconds
      (at most a day), and is deleted.
    - "killed": it did not end within `grace`. Its worker was killed with all that it started, and
      the task is deleted.
    - "stopping": with `wait=False`, of one that runs: it is told to end, and the rest follows.
    - "gone": there is no such task, or no more: it has finished, perhaps just now.
    - "dead" or "corrupt": it is not pending and stays in that folder of the spool.

    Once this returns "removed", "stopped" or "killed", a power cut does not bring the task back. It
    waits for `grace` and a few seconds at most, and Ctrl-C and other signals are heard meanwhile.

    Raises CancelError, a RuntimeError, if the task is not cancelled: a real uWSGI runs it, it
    belongs to somebody else, its daemon does not answer. Raises ValueError if `task` names no task,
    or several.
    """
    named = os.fsencode(task)
    if not _process.is_configured() and b"/" not in named:
        raise ValueError(_process.UNCONFIGURED)
    return _native.cancel(named, float(grace), bool(wait))
