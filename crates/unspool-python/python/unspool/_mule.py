"""The life of a mule: runs its program, or calls `uwsgi.mule_msg_hook` with each message.

Owns one process after its fork. Messages and signals are ``_mules``' business.
"""

from __future__ import annotations

import importlib
import os
import random
import signal
import sys
import time
import traceback
from operator import attrgetter
from types import FrameType, ModuleType
from typing import Any

from unspool import (
    _errors,
    _hooks,
    _limits,
    _mules,
    _native,
    _own_import,
    _process,
    _steps,
    _titles,
)
from unspool._worker import flush

_NO_HOOK = (
    "unspool: a message to a mule is dropped, since nothing handles it: assign a function to "
    "`uwsgi.mule_msg_hook`\n"
)

# How long the threads of a killed daemon may take to end, all together.
DEATH_SECONDS_MAX = 1.0


class _State:
    daemon_pid = 0
    # In a mule without a program, while it handles a message.
    handles_message = False


_state = _State()


def run(setup: dict[str, Any], request: dict[str, Any], descriptors: list[int]) -> None:
    """Runs a mule until the daemon lets it go, or its program ends."""
    # A group of its own, so that it is ended together with what it starts. Not a session: the
    # kernel shares the processors out among sessions (autogroups), and a busy worker would have as
    # much as all others of a session together.
    os.setpgid(0, 0)
    _own_import.import_application(setup, request)
    _limits.apply(setup, request["worker"])
    number = request["row"]
    _titles.show(f"unspool mule {number}")
    _process.become_worker(request["role"], request["worker"], number)
    channel = _native.Worker(descriptors[0], -1, -1, -1, 0, setup)
    _mules.become(number, channel)
    _state.daemon_pid = setup["daemon_pid"]
    signal.signal(signal.SIGTERM, _terminated)
    # A program may never look at its connection to the daemon.
    if not _native.end_with_daemon(_state.daemon_pid):
        return
    random.seed()
    import uwsgi

    _steps.take(setup, "as-mule")
    # Before the hook: with `@mule` and its kin the hook is the program, and does not return.
    channel.ready()
    try:
        _hooks.after_fork(uwsgi)
        program = _mules.program(number)
        if program is None:
            _handle_messages(uwsgi)
        else:
            _run_program(program)
    finally:
        _hooks.at_exit(uwsgi)
        flush()


def _terminated(number: int, frame: FrameType | None) -> None:
    """As uWSGI ends a mule: what was to run at its exit runs."""
    if _state.handles_message and _daemon_is_gone():
        # Nobody is left who could wait for longer; the message may be handled to its end.
        return
    sys.exit(0)


def _daemon_is_gone() -> bool:
    """Whether the daemon is dead, or dies within a moment.

    The kernel signals its death with the end of one of its threads, before the last one has ended.
    """
    deadline = time.monotonic() + DEATH_SECONDS_MAX
    while os.getppid() == _state.daemon_pid:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def _handle_messages(uwsgi: Any) -> None:
    pid = os.getpid()
    told = False
    while (message := _mules.next_message()) is not None:
        hook = getattr(uwsgi, "mule_msg_hook", None)
        if hook is not None:
            _state.handles_message = True
            try:
                hook(message)
            except Exception:
                traceback.print_exc()
            finally:
                _state.handles_message = False
        elif not told:
            os.write(2, _NO_HOOK.encode())
            told = True
        flush()
        if os.getpid() != pid:
            # The handler forked, and this is its child, which came back from it.
            os._exit(0)


def _run_program(program: str) -> None:
    """Runs a file, or calls `package.module:callable`; the mule ends with it."""
    try:
        if program.endswith(".py"):
            _run_file(program)
        else:
            module, _, name = program.partition(":")
            attrgetter(name.strip())(importlib.import_module(module.strip()))()
    except Exception as error:
        traceback.print_exception(type(error), error, _errors.of_application(error.__traceback__))
        sys.exit(1)


def _run_file(path: str) -> None:
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        os.write(2, f"unspool: `mule = {path}`: cannot read it: {error.strerror}\n".encode())
        sys.exit(1)
    module = ModuleType("__main__")
    module.__file__ = path
    # What it pickles, and what it starts, looks for it there.
    sys.modules["__main__"] = module
    exec(compile(source, path, "exec"), module.__dict__)
