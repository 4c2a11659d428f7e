"""uWSGI's log lines about tasks, as the processes write them that run or submit those.

Nothing is written unless the daemon was told `spooler-log-format = uwsgi`. What the daemon itself
says in that form is in `crates/unspool-supervisor/src/uwsgi_lines.rs`.
"""

from __future__ import annotations

import os
import time
from typing import Any

from unspool import _native

NO_FUNCTION = "unable to find the spooler function, have you loaded it into the spooler process ?"


class _State:
    wanted = False
    # Those of each task.
    tasks = False
    date: str | None = None
    # The spool that this process works for.
    spool = b""
    # The running task, and when it began.
    task = b""
    began = 0.0


_state = _State()


def configure(settings: dict[str, Any]) -> None:
    """Takes over what the daemon says."""
    _state.wanted = settings["uwsgi"]
    _state.tasks = _state.wanted and not settings["quiet"]
    _state.date = settings["date"]
    _native.report_submissions(written if _state.tasks else None)


def work_for(spool: bytes) -> None:
    """Names the spool whose tasks this process runs."""
    _state.spool = spool


def of_tasks() -> bool:
    """Whether each task has its lines."""
    return _state.tasks


def begin(task: dict[Any, Any]) -> None:
    """A task begins."""
    if _state.tasks:
        _state.task = task["spooler_task_name"]
        _state.began = time.time()
        name = (_state.spool, os.getpid(), _state.task)
        _say(b"[spooler %s pid: %d] managing request %s ..." % name)


def end(result: int) -> None:
    """The task's handler returned this."""
    if result == 0:
        no_function()
    elif result == -2:
        # As uWSGI counts: the difference of two whole seconds.
        seconds = int(time.time()) - int(_state.began)
        values = (_state.spool, os.getpid(), _state.task, seconds)
        _say(b"[spooler %s pid: %d] done with task %s after %d seconds" % values)


def no_function() -> None:
    """Nobody takes the task."""
    if _state.wanted:
        _say(NO_FUNCTION.encode())


def written(size: int, path: bytes) -> None:
    """A task was submitted."""
    _say(b"[spooler] written %d bytes to file %s" % (size, path))


def _say(line: bytes) -> None:
    if _state.date is not None:
        line = b"%s - %s" % (os.fsencode(time.strftime(_state.date)), line)
    try:
        # One call, so that lines of several processes do not mix.
        os.write(2, line + b"\n")
    except OSError:
        # A log that nobody takes is no reason to fail a task.
        pass
