"""The loop of a worker: takes work from the daemon and calls handlers.

Owns the life of one worker process after its fork. The socket, the spool's files and the format of
tasks are the native ``Worker``'s business.
"""

from __future__ import annotations

import os
import random
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from unspool import (
    _errors,
    _limits,
    _lines,
    _native,
    _output,
    _process,
    _signals,
    _sources,
    _titles,
)
from unspool._errors import SoftTimeLimitExceeded, UnknownFunction

NO_HANDLER = (
    "the application has set no handler: assign one to `uwsgi.spooler` or use the decorators of "
    "`uwsgidecorators` in a module that is imported (`spooler-import`)"
)


def run(setup: dict[str, Any], request: dict[str, Any], descriptors: list[int]) -> None:
    """Runs a worker until the daemon lets it go.

    ``descriptors`` are the worker's socket and, where it runs tasks, the slots file, the spool
    directory and the memory in which the last that it prints is kept.
    """
    # A session of its own, so that it is ended together with what it starts.
    os.setsid()
    _limits.apply(setup, request["worker"])
    tasks = request["role"] == "spool"
    slots, tails, spool = -1, -1, None
    if tasks:
        slots, directory, tails = descriptors[1:4]
        os.fchdir(directory)
        os.close(directory)
        spool = os.getcwd()
        _lines.work_for(os.fsencode(spool))
        _limits.keep_last_words(tails, request["row"])
        _output.watch_logging()
    _titles.show(f"unspool worker {request['worker']} ({request['role']})")
    _process.become_worker(request["role"], request["worker"], request["row"])
    channel = _native.Worker(descriptors[0], slots, tails, request["row"], setup, spool)
    if tasks:
        _limits.tell_tasks()
    _signals.become_worker(channel)
    random.seed()
    import uwsgi

    call_hook(uwsgi, "post_fork_hook")
    channel.ready()
    _loop(channel, uwsgi)
    if not tasks:
        # As in uWSGI, which calls it in the workers that handle signals and not in spoolers.
        call_hook(uwsgi, "atexit")


def call_hook(uwsgi: Any, name: str) -> None:
    """Calls what the application assigned to this name of `uwsgi`; what it raises is logged."""
    hook = getattr(uwsgi, name, None)
    if hook is not None:
        try:
            hook()
        except Exception:
            traceback.print_exc()


def _loop(channel: _native.Worker, uwsgi: Any) -> None:
    receive = channel.receive
    pid = os.getpid()
    while True:
        work = receive()
        if work is None:
            return
        if isinstance(work, int):
            report = _run_signal(channel, work)
        else:
            try:
                report = _run_task(channel, uwsgi, work)
            except SoftTimeLimitExceeded:
                # Raised the moment that the task ended with an error of its own.
                report = partial(channel.time_out, _errors.told())
        flush()
        if os.getpid() != pid:
            # The handler forked, and this is its child, which came back from it: the task is the
            # parent's.
            os._exit(0)
        report()
        _sources.tell()


def _run_task(channel: _native.Worker, uwsgi: Any, task: dict[Any, Any]) -> Callable[[], None]:
    """Calls the handler of a task. Returns what reports its outcome."""
    handler = getattr(uwsgi, "spooler", None)
    _lines.begin(task)
    if handler is None:
        _lines.no_function()
        return partial(channel.not_registered, NO_HANDLER)
    try:
        result = handler(task)
        _native.handler_returned()
    except UnknownFunction as error:
        return partial(channel.not_registered, _errors.encodable(str(error)))
    except SoftTimeLimitExceeded:
        return partial(channel.time_out, _errors.told())
    # SystemExit and KeyboardInterrupt too: a task must not end the worker of the others.
    except BaseException:
        _native.handler_returned()
        return partial(channel.fail, _errors.told())
    if isinstance(result, int) and -(2**63) <= result < 2**63:
        if _lines.of_tasks():
            # What the task printed comes before the line of its end.
            flush()
            _lines.end(result)
        return partial(channel.finish, result)
    try:
        shown = _errors.encodable(f"{result!r:.100}")
    except Exception:
        shown = f"a {type(result).__name__}"
    return partial(
        channel.fail,
        f"the handler returned {shown}, which is no int: return uwsgi.SPOOL_OK (-2), "
        f"SPOOL_RETRY (-1) or SPOOL_IGNORE (0){_whose(handler)}",
    )


def _whose(handler: Any) -> str:
    """Which function `uwsgi.spooler` is: of several libraries the last one that assigned it."""
    try:
        module = getattr(handler, "__module__", None)
        name = getattr(handler, "__qualname__", type(handler).__qualname__)
        if module != "uwsgidecorators":
            return _errors.encodable(f"; `uwsgi.spooler` is {module}.{name:.100}")
    except Exception:
        # An object may answer anything.
        pass
    return ""


def _run_signal(channel: _native.Worker, signal: int) -> Callable[[], None]:
    """Calls the handler of a signal. Returns what reports its outcome."""
    try:
        _signals.dispatch(signal)
    except BaseException:
        return partial(channel.fail, _errors.told())
    return channel.tick_done


def flush() -> None:
    """Shows what the task printed now, not when some later task fills the buffer."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            # Closed or replaced by the task.
            pass
