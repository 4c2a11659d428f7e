"""Submits what the test asks for: inside the real uWSGI, or in a plain Python by unspool.

The calls are read from the file INTEROP_CALLS (pickled: function, arguments, keyword arguments);
the paths of the written files are reported.
"""

from __future__ import annotations

import os
import pickle
import signal
from typing import Any

import uwsgi
from reporting import pause, report


def submit(function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Calls a function of `uwsgi`, or the `.spool` of a task in `interop_tasks`."""
    if hasattr(uwsgi, function):
        path: bytes = getattr(uwsgi, function)(*args, **kwargs)
        return path
    import interop_tasks

    task_path: bytes = getattr(interop_tasks, function).spool(*args, **kwargs)
    return task_path


def main() -> None:
    """Waits at a gate if there is one, then makes every call."""
    if "INTEROP_GATE" in os.environ:
        pause(os.environ["INTEROP_GATE"])
    with open(os.environ["INTEROP_CALLS"], "rb") as file:
        calls = pickle.load(file)
    paths: list[bytes] = []
    error = ""
    try:
        for function, args, kwargs in calls:
            paths.append(submit(function, args, kwargs))
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"
    report("wrote", by=os.environ["INTEROP_WRITER"], paths=paths, error=error)


main()
if "INTEROP_EXIT" in os.environ:
    # In uWSGI's master, which is there only for this.
    os._exit(0)
while os.environ["INTEROP_WRITER"] == "uwsgi":
    # A mule that ended would be started again and would submit everything twice.
    signal.pause()
