"""The module `uwsgi` of uWSGI 2.0.31, in every process that has a spool configured.

In any other process `import uwsgi` raises ModuleNotFoundError, since packages take that for "not
under uWSGI". Inside a real uWSGI its own built-in module is there first and this file never runs.
What is not real here yet is left out, so that `hasattr` tells the truth: docs/reference/
uwsgi-module.md has every name and what it means in each kind of process.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from unspool import (
    _control,
    _harakiri,
    _inform,
    _mules,
    _network,
    _process,
    _request,
    _rpc,
    _signals,
)
from unspool._native import parsefile as parsefile

if not _process.is_configured():
    raise ModuleNotFoundError(f"No module named 'uwsgi': {_process.UNCONFIGURED}", name="uwsgi")

SPOOL_OK = -2
SPOOL_RETRY = -1
SPOOL_IGNORE = 0

version = b"2.0.31"
version_info = (2, 0, 31, 0, b"")
hostname = os.fsencode(os.uname().nodename)
has_threads = 1
unbit = None
loop = None
applications: Any = None
sockets: list[int] = []
started_on = _process.started_on()
is_a_reload = _process.is_a_reload()
magic_table = _inform.magic_table()
opt = _process.options

# Set by the application; absent until then.
spooler: Callable[[dict[Any, Any]], Any]
mule_msg_hook: Callable[[bytes], Any]
post_fork_hook: Callable[[], Any]
atexit: Callable[[], Any]
# Absent in a daemon without a spool.
spoolers: tuple[bytes, ...]
# Absent unless the option is given.
mode: bytes
pidfile: bytes
queue_size: int
# What the configuration says; unspool starts no web workers.
numproc: int
cores: int
buffer_size: int

register_signal = _signals.register_signal
signal_registered = _signals.signal_registered
signal = _signals.signal
signal_wait = _signals.signal_wait
signal_received = _signals.signal_received
add_timer = _signals.add_timer
add_rb_timer = _signals.add_rb_timer
add_ms_timer = _signals.add_ms_timer
add_cron = _signals.add_cron
add_file_monitor = _signals.add_file_monitor

mule_id = _mules.mule_id
mule_msg = _mules.mule_msg
mule_get_msg = _mules.mule_get_msg
farm_msg = _mules.farm_msg
farm_get_msg = _mules.farm_get_msg
in_farm = _mules.in_farm

set_user_harakiri = _harakiri.set_user_harakiri
reload = _control.reload
stop = _control.stop
register_rpc = _rpc.register_rpc
rpc = _rpc.rpc
call = _rpc.call
rpc_list = _rpc.rpc_list
send_message = _network.send_message

set_logvar = _request.set_logvar
get_logvar = _request.get_logvar
log_this_request = _request.log_this_request
disconnect = _request.disconnect
accepting = _request.accepting
cl = _request.cl
request_id = _request.request_id
suspend = _request.suspend

alarm = _inform.alarm
log = _inform.log
logsize = _inform.logsize
mem = _inform.mem
micros = _inform.micros
setprocname = _inform.setprocname
extract = _inform.extract
workers = _inform.workers
total_requests = _request.total_requests
listen_queue = _inform.listen_queue
ready = _inform.ready

if TYPE_CHECKING or _process.spoolers():
    from unspool._cache import cache_clear as cache_clear
    from unspool._cache import cache_dec as cache_dec
    from unspool._cache import cache_del as cache_del
    from unspool._cache import cache_div as cache_div
    from unspool._cache import cache_exists as cache_exists
    from unspool._cache import cache_get as cache_get
    from unspool._cache import cache_inc as cache_inc
    from unspool._cache import cache_keys as cache_keys
    from unspool._cache import cache_mul as cache_mul
    from unspool._cache import cache_num as cache_num
    from unspool._cache import cache_set as cache_set
    from unspool._cache import cache_update as cache_update
    from unspool._control import set_spooler_frequency as set_spooler_frequency
    from unspool._inform import spooler_pid as spooler_pid
    from unspool._inform import spooler_pids as spooler_pids
    from unspool._locks import is_locked as is_locked
    from unspool._locks import lock as lock
    from unspool._locks import unlock as unlock
    from unspool._metrics import metric_dec as metric_dec
    from unspool._metrics import metric_div as metric_div
    from unspool._metrics import metric_get as metric_get
    from unspool._metrics import metric_inc as metric_inc
    from unspool._metrics import metric_mul as metric_mul
    from unspool._metrics import metric_set as metric_set
    from unspool._metrics import metric_set_max as metric_set_max
    from unspool._metrics import metric_set_min as metric_set_min
    from unspool._native import spool as spool
    from unspool._native import spooler_get_task as spooler_get_task
    from unspool._native import spooler_jobs as spooler_jobs

    send_to_spooler = spool

if TYPE_CHECKING or _process.own_queue():
    from unspool._queue import queue_get as queue_get
    from unspool._queue import queue_last as queue_last
    from unspool._queue import queue_pop as queue_pop
    from unspool._queue import queue_pull as queue_pull
    from unspool._queue import queue_pull_slot as queue_pull_slot
    from unspool._queue import queue_push as queue_push
    from unspool._queue import queue_set as queue_set
    from unspool._queue import queue_slot as queue_slot


if not TYPE_CHECKING:
    # Else every name would pass for one that is there.
    def __getattr__(name: str) -> Any:
        """`queue_*` of the daemon, where this process is configured by nothing but its spool, and
        those of a configuration that came after the import.
        """
        missing = f"module 'uwsgi' has no attribute {name!r}"
        if name.startswith("queue_"):
            from unspool import _queue

            try:
                found = _queue.attribute(name)
            except (RuntimeError, ValueError, OSError) as error:
                raise AttributeError(f"{missing}: {error}", name=name) from error
            if found is not None:
                return found
        raise AttributeError(missing, name=name)


def masterpid() -> int:
    """The daemon's process; in a producer without one this process, so that it is never 0."""
    return _process.live_daemon_pid() or os.getpid()


def worker_id() -> int:
    """The number of a web worker, or of a worker that runs signal handlers, from 1; 0 in a spooler
    and in a producer.

    In a handler whose target is a worker it is the number of that worker.
    """
    if _process.role() is _process.Role.WEB_WORKER:
        return _process.number()
    if _process.role() is _process.Role.SIGNAL_WORKER and not _signals.acts_as_spooler():
        return _signals.acts_as_worker() or _process.number()
    return 0


def i_am_the_spooler() -> bool | None:
    """True where tasks run and in handlers of signals whose target is a spooler, else None."""
    spooler = _process.role() is _process.Role.SPOOL_WORKER or _signals.acts_as_spooler()
    return True if spooler else None


def _refresh() -> None:
    """Follows a configuration that came after the import."""
    names = globals()
    for name in ("spoolers", "mode", "pidfile", "queue_size"):
        names.pop(name, None)
    if _process.spoolers():
        names["spoolers"] = _process.names()
    for name in ("mode", "pidfile"):
        value = opt.get(name)
        if isinstance(value, bytes):
            names[name] = value
    queue = _process.own_queue()
    if queue is not None:
        names["queue_size"] = queue.slots
    names["numproc"] = opt.web_workers()
    names["cores"] = opt.number("threads", "async", default=1) or 1
    names["buffer_size"] = min(opt.number("buffer-size", default=4096), 65_535)


_refresh()
