"""The module `uwsgi` of uWSGI 2.0.31, in every process that has a spool configured.

In any other process `import uwsgi` raises ModuleNotFoundError, since packages take that for "not
under uWSGI". Inside a real uWSGI its own built-in module is there first and this file never runs.
What is not real here yet is left out, so that `hasattr` tells the truth.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from unspool import _process, _signals
from unspool._native import parsefile as parsefile

if not _process.is_configured():
    raise ModuleNotFoundError(f"No module named 'uwsgi': {_process.UNCONFIGURED}", name="uwsgi")

SPOOL_OK = -2
SPOOL_RETRY = -1
SPOOL_IGNORE = 0

version = b"2.0.31"
version_info = (2, 0, 31, 0, b"")
hostname = os.fsencode(os.uname().nodename)
numproc = 0
has_threads = 1
opt = _process.options

# Set by the application; absent until then.
spooler: Callable[[dict[Any, Any]], Any]
post_fork_hook: Callable[[], Any]
# Absent in a daemon without a spool.
spoolers: tuple[bytes, ...]

register_signal = _signals.register_signal
signal_registered = _signals.signal_registered
signal = _signals.signal
add_timer = _signals.add_timer
add_rb_timer = _signals.add_rb_timer
add_ms_timer = _signals.add_ms_timer
add_cron = _signals.add_cron

if TYPE_CHECKING or _process.spoolers():
    from unspool._locks import is_locked as is_locked
    from unspool._locks import lock as lock
    from unspool._locks import unlock as unlock
    from unspool._native import spool as spool
    from unspool._native import spooler_get_task as spooler_get_task
    from unspool._native import spooler_jobs as spooler_jobs

    send_to_spooler = spool


def masterpid() -> int:
    """The daemon's process; in a producer this process, so that it is never 0."""
    return _process.daemon_pid() or os.getpid()


def worker_id() -> int:
    """The number of a worker that runs signal handlers; 0 in a spooler and in a producer."""
    if _process.role() is _process.Role.SIGNAL_WORKER:
        return _process.worker_id()
    return 0


def mule_id() -> int:
    """0: there are no mules."""
    return 0


def i_am_the_spooler() -> bool | None:
    """True in a process that runs tasks, else None."""
    return True if _process.role() is _process.Role.SPOOL_WORKER else None


def log(message: str, /) -> bool:
    """Writes a line to the log."""
    os.write(2, message.encode("utf-8", "backslashreplace") + b"\n")
    return True


def _refresh() -> None:
    if _process.spoolers():
        globals()["spoolers"] = _process.spoolers()


_refresh()
