"""The loop of a worker: takes work from the daemon and calls handlers.

Owns the life of one worker process after its fork. The socket, the spool's files and the format of
tasks are the native ``Worker``'s business.
"""

from __future__ import annotations

import os
import random
import sys
import traceback
from typing import Any

from unspool import _native, _process, _signals
from unspool._errors import UnknownFunction


def run(setup: dict[str, Any], request: dict[str, Any], descriptors: list[int]) -> None:
    """Runs a worker until the daemon lets it go.

    ``descriptors`` are the worker's socket and, where it runs tasks, the slots file and the spool
    directory.
    """
    # A session of its own, so that it is ended together with what it starts.
    os.setsid()
    tasks = request["role"] == "spool"
    slots = descriptors[1] if tasks else -1
    if tasks:
        os.fchdir(descriptors[2])
        os.close(descriptors[2])
    _process.become_worker(request["role"], request["worker"])
    channel = _native.Worker(
        descriptors[0], slots, request["row"], setup["frequency"], setup["spooler_chdir"]
    )
    random.seed()
    import uwsgi

    _call_post_fork_hook(uwsgi)
    channel.ready()
    _loop(channel, uwsgi)


def _call_post_fork_hook(uwsgi: Any) -> None:
    hook = getattr(uwsgi, "post_fork_hook", None)
    if hook is not None:
        try:
            hook()
        except Exception:
            traceback.print_exc()


def _loop(channel: _native.Worker, uwsgi: Any) -> None:
    receive = channel.receive
    while True:
        work = receive()
        if work is None:
            return
        if isinstance(work, int):
            _run_signal(channel, work)
        else:
            _run_task(channel, uwsgi, work)
        _flush()


def _run_task(channel: _native.Worker, uwsgi: Any, task: dict[Any, Any]) -> None:
    handler = getattr(uwsgi, "spooler", None)
    if handler is None:
        channel.not_registered(
            "the application has set no handler: assign one to `uwsgi.spooler` or use the "
            "decorators of `uwsgidecorators` in a module that is imported (`spooler-import`)"
        )
        return
    try:
        result = handler(task)
    except UnknownFunction as error:
        channel.not_registered(str(error))
        return
    # SystemExit and KeyboardInterrupt too: a task must not end the worker of the others.
    except BaseException:
        channel.fail(traceback.format_exc())
        return
    if isinstance(result, int) and -(2**63) <= result < 2**63:
        channel.finish(result)
    else:
        channel.fail(
            f"the handler returned {result!r:.100}, which is no int: return uwsgi.SPOOL_OK (-2), "
            "SPOOL_RETRY (-1) or SPOOL_IGNORE (0)"
        )


def _run_signal(channel: _native.Worker, signal: int) -> None:
    try:
        _signals.dispatch(signal)
    except BaseException:
        channel.fail(traceback.format_exc())
    else:
        channel.tick_done()


def _flush() -> None:
    """Shows what the task printed now, not when some later task fills the buffer."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            # Closed or replaced by the task.
            pass
