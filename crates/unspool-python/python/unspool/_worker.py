"""The loop of a worker: takes work from the daemon and calls handlers.

Owns the life of one worker process after its fork. The socket, the spool's files and the format of
tasks are the native ``Worker``'s business.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from unspool import (
    _errors,
    _hooks,
    _limits,
    _lines,
    _native,
    _output,
    _own_import,
    _process,
    _signals,
    _sources,
    _stack,
    _steps,
    _titles,
)
from unspool._cancel import TaskCancelled
from unspool._errors import SoftTimeLimitExceeded, UnknownFunction

NO_HANDLER = (
    "the application has set no handler: assign one to `uwsgi.spooler` or use the decorators of "
    "`uwsgidecorators` in a module that is imported (`spooler-import`)"
)


def run(setup: dict[str, Any], request: dict[str, Any], descriptors: list[int]) -> None:
    """Runs a worker until the daemon lets it go.

    ``descriptors`` are the worker's socket and, where it runs tasks, the slots, the spool
    directory, the memory in which the last that it prints is kept and, if the daemon has one, the
    file in which it notes what it runs.
    """
    # A group of its own, so that it is ended together with what it starts. Not a session: the
    # kernel shares the processors out among sessions (autogroups), and a busy worker would have as
    # much as all others of a session together.
    os.setpgid(0, 0)
    _own_import.import_application(setup, request)
    _limits.apply(setup, request["worker"])
    tasks = request["role"] == "spool"
    slots, tails, notes, spool = -1, -1, -1, None
    if tasks:
        slots, directory, tails, notes = [*descriptors[1:], -1][:4]
        os.fchdir(directory)
        os.close(directory)
        spool = os.getcwd()
        _lines.work_for(os.fsencode(spool))
        _limits.keep_last_words(tails, request["row"])
        _output.watch_logging()
    _titles.show(f"unspool worker {request['worker']} ({request['role']})")
    _process.become_worker(request["role"], request["worker"], request["row"])
    channel = _native.Worker(descriptors[0], slots, tails, notes, request["row"], setup, spool)
    if tasks:
        _limits.tell_tasks()
        _stack.be_asked()
    _signals.become_worker(channel)
    random.seed()
    import uwsgi

    if not tasks:
        # uWSGI's web workers, which these stand for, take them, and its spoolers do not.
        _steps.take(setup, "post-fork")
    _hooks.after_fork(uwsgi)
    channel.ready()
    _loop(channel, uwsgi, setup)
    if not tasks:
        # As in uWSGI, which calls it in the workers that handle signals and not in spoolers.
        _hooks.at_exit(uwsgi)


def _loop(channel: _native.Worker, uwsgi: Any, setup: dict[str, Any]) -> None:
    receive = channel.receive
    pid = os.getpid()
    while True:
        try:
            work = receive()
            if work is None:
                return
            if isinstance(work, int):
                report = _run_signal(channel, work, setup)
            else:
                report = _run_task(channel, uwsgi, work)
        except SoftTimeLimitExceeded:
            # Raised the moment that the task began, or ended with an error of its own.
            _native.handler_returned()
            report = partial(channel.time_out, _errors.told())
        except TaskCancelled:
            _native.handler_returned()
            report = channel.cancelled
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
        _native.handler_returned()
        return partial(channel.not_registered, _errors.encodable(str(error)))
    except SoftTimeLimitExceeded:
        _native.handler_returned()
        return partial(channel.time_out, _errors.told())
    except TaskCancelled:
        _native.handler_returned()
        return channel.cancelled
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


def _run_signal(channel: _native.Worker, signal: int, setup: dict[str, Any]) -> Callable[[], None]:
    """Calls the handler of a signal. Returns what reports its outcome."""
    limit_s = None
    option = "spooler-harakiri"
    if _signals.is_own(signal):
        # The daemon looks at tasks, and at handlers that all have, in workers for ticks.
        if _process.role() is _process.Role.SIGNAL_WORKER and not _signals.is_for_spoolers(signal):
            option = "harakiri"
        limit_s = setup["harakiri" if option == "spooler-harakiri" else "handler_harakiri"]
    try:
        with _limits.ended_after(limit_s, f"the handler of signal {signal}", option):
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
