"""What this process is and which spools it knows.

Owns the role of the process (nothing yet, producer, zygote, worker) and the settings that the
module `uwsgi` shows. A process finds its spools by, in order: what the daemon told its workers,
`configure`, the environment variables UNSPOOL_SPOOL and UNSPOOL_CONFIG. Starts no thread, opens no
file, and asks for the process id whenever it is needed, so that it is right after a fork.
"""

from __future__ import annotations

import enum
import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

from unspool import _native
from unspool._options import Options
from unspool._settings import Queue, Settings, read

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]

UNCONFIGURED = (
    "no spool is configured in this process: call unspool.configure(spooler='DIR') or "
    "unspool.configure(config='app.ini') first, or set the environment variable UNSPOOL_SPOOL=DIR "
    "or UNSPOOL_CONFIG=app.ini, or run the code under `unspool run`"
)

# What libraries look for before they believe that threads and forks work here. They do.
ALWAYS_ON = ("master", "enable-threads", "py-call-uwsgi-fork-hooks")

# Options that say that there are mules.
MULES = ("mule", "mules", "farm")

# How often a producer looks whether a daemon runs its spool.
LIVE_DAEMON_SECONDS = 1.0


class Role(enum.Enum):
    """What a process is for."""

    UNCONFIGURED = "unconfigured"
    PRODUCER = "producer"
    ZYGOTE = "zygote"
    SPOOL_WORKER = "spool"
    SIGNAL_WORKER = "signal"
    MULE = "mule"
    WEB_WORKER = "web"


class Security(TypedDict):
    """Whose tasks run, and who may use the spools."""

    keys: str | bytes | os.PathLike[str] | os.PathLike[bytes] | None
    unsigned_uids: list[int]
    mode: int | None
    group: int | None
    strict: bool
    network_pickle: bool


class Bounds(TypedDict):
    """How much a spool may hold; 0 is no bound. Sizes as in an ini file."""

    max_pending: int
    max_pending_bytes: str
    min_free: str


class Network(TypedDict):
    """How tasks are submitted to other machines: paths of files."""

    keys: str | None
    ca: str | None
    certificate: str | None
    certificate_key: str | None


class Found(TypedDict):
    """What a configuration says about submitting."""

    spoolers: list[bytes]
    # Of those that are outboxes `relay:ADDRESS` and the path.
    relays: list[tuple[bytes, bytes]]
    opt: list[tuple[str, bytes | None]]
    shared: list[tuple[str, bytes | None]]
    durability: str
    frequency: float
    security: Security
    bounds: Bounds
    network: Network


class _State:
    role = Role.UNCONFIGURED
    worker_id = 0
    number = 0
    worker_pid = 0
    foreground = False
    daemon_pid = 0
    is_a_reload = False
    spoolers: tuple[bytes, ...] = ()
    # As the application sees them.
    names: tuple[bytes, ...] = ()
    frequency = 30.0
    shared: Sequence[tuple[str, bytes | None]] = ()
    shared_settings = Settings()
    # What was given alone, which stays whatever names spools afterwards.
    network: Network | None = None
    # A daemon that was looked for: the answer, and until when it holds.
    live_daemon = 0
    live_daemon_until = 0.0


_state = _State()

# One object for the life of the process: `from uwsgi import opt` keeps it.
options = Options()


def is_configured() -> bool:
    """Whether this process knows a spool or belongs to a daemon; looks at the environment.

    Raises ConfigError if the environment names a configuration that cannot be used.
    """
    if _state.role is Role.UNCONFIGURED:
        try:
            found = _native.environment_config()
        except _native.ConfigError as error:
            # Else a file that nobody named on a command line is said to stand there.
            raise _native.ConfigError(f"UNSPOOL_CONFIG: {error}") from error
        if found is not None:
            _become_producer(found, "UNSPOOL_CONFIG")
    return _state.role is not Role.UNCONFIGURED


def configure(
    spooler: AnyPath | Sequence[AnyPath] | None = None,
    config: str | os.PathLike[str] | None = None,
    *,
    durability: str | None = None,
    keys: AnyPath | None = None,
    max_pending: int | None = None,
    max_pending_bytes: int | str | None = None,
    min_free: int | str | None = None,
    network_keys: AnyPath | None = None,
    network_ca: AnyPath | None = None,
    network_certificate: AnyPath | None = None,
    network_certificate_key: AnyPath | None = None,
) -> None:
    """Names the spool directory (or several, the default one first), or the ini file that does.

    Opens no spool: a directory that is missing is created, mode 0700, with the first task. Calling
    it again replaces what was configured. In a worker of a daemon it does nothing: there the
    daemon's configuration holds.

    `durability` ("none", "file" or "group") is the default for this process. `keys` is a file of
    keys, which is read now: the first one signs this process's tasks (docs/howto/signing.md).

    `max_pending` tasks, `max_pending_bytes` and `min_free` are the options `spooler-max-pending`
    and so on: a task that would pass one of them is refused with SpoolFullError. Sizes are bytes,
    or text as in an ini file: "200M", for `min_free` also a share of the disk, "5%". 0 is no bound.

    `network_keys`, `network_ca` and so on are the options `network-keys` and so on, for tasks that
    go to spoolers of other machines (docs/howto/network.md). They are files, which are read now. A
    process that has no spool of its own gives these alone.
    """
    network = _network(network_keys, network_ca, network_certificate, network_certificate_key)
    alone = network is not None and spooler is None and config is None
    if not alone and (spooler is None) == (config is None):
        raise _native.ConfigError(
            "unspool.configure() takes either the spool directory, spooler='DIR', or the ini file, "
            "config='app.ini'"
        )
    if _state.role not in (Role.UNCONFIGURED, Role.PRODUCER):
        return
    if alone and network is not None:
        _native.configure_network(network, True)
        _state.network = network
        return
    _state.network = None
    if config is not None:
        source = os.fspath(config)
        found = _native.load_config(source)
    else:
        source = "unspool.configure(spooler=[])"
        paths = [spooler] if isinstance(spooler, (str, bytes, os.PathLike)) else spooler or []
        found = _named(paths)
    if durability is not None:
        found["durability"] = durability
    if keys is not None:
        found["security"]["keys"] = os.path.abspath(os.fsdecode(keys))
    if max_pending is not None:
        found["bounds"]["max_pending"] = max_pending
    if max_pending_bytes is not None:
        found["bounds"]["max_pending_bytes"] = str(max_pending_bytes)
    if min_free is not None:
        found["bounds"]["min_free"] = str(min_free)
    if network is not None:
        found["network"] = network
    _become_producer(found, source)
    if network is not None:
        _native.configure_network(network, True)


def _network(
    keys: AnyPath | None,
    ca: AnyPath | None,
    certificate: AnyPath | None,
    certificate_key: AnyPath | None,
) -> Network | None:
    def path(given: AnyPath | None) -> str | None:
        return None if given is None else os.path.abspath(os.fsdecode(given))

    found: Network = {
        "keys": path(keys),
        "ca": path(ca),
        "certificate": path(certificate),
        "certificate_key": path(certificate_key),
    }
    return found if any(found.values()) else None


def _named(paths: Iterable[AnyPath]) -> Found:
    spoolers = [os.path.abspath(os.fsencode(path)) for path in paths]
    return {
        "spoolers": spoolers,
        "relays": [],
        "opt": [("spooler", path) for path in spoolers],
        "shared": [],
        "durability": "group",
        "frequency": 30.0,
        "security": {
            "keys": None,
            "unsigned_uids": [],
            "mode": None,
            "group": None,
            "strict": False,
            "network_pickle": False,
        },
        "bounds": {"max_pending": 0, "max_pending_bytes": "0", "min_free": "0"},
        "network": {"keys": None, "ca": None, "certificate": None, "certificate_key": None},
    }


def configure_daemon_child(setup: dict[str, Any]) -> None:
    """Takes over what the daemon says; called once, before anything is imported."""
    _state.role = Role.ZYGOTE
    _state.daemon_pid = setup["daemon_pid"]
    _state.is_a_reload = setup["is_a_reload"]
    _apply(
        {
            "spoolers": [os.fsencode(path) for path in setup["spoolers"]],
            "relays": [(os.fsencode(name), os.fsencode(path)) for name, path in setup["relays"]],
            "opt": _encoded(setup["opt"]),
            "shared": _encoded(setup.get("shared", ())),
            "durability": setup["durability"],
            "frequency": setup["frequency"],
            "security": setup["security"],
            "bounds": setup["bounds"],
            "network": setup["network"],
        }
    )
    _join_store()


def _join_store() -> None:
    if not _state.spoolers or not _state.shared_settings:
        return
    from unspool import _errors, _shared

    try:
        _shared.join()
    except _errors.SharedStoreError as error:
        # Whoever uses it hears of it; tasks need none.
        os.write(2, f"{error}\n".encode())


def _encoded(options: Iterable[tuple[str, str | None]]) -> list[tuple[str, bytes | None]]:
    return [(name, None if value is None else os.fsencode(value)) for name, value in options]


def announce(role: str, number: int) -> None:
    """Says what a process that still imports the application will be."""
    _state.role = Role(role)
    _state.number = number


def become_worker(role: str, worker_id: int, number: int) -> None:
    """Says what the forked child is for: "spool", "signal", "mule" or "web".

    The daemon knows it by `worker_id`, the application by `number`.
    """
    _state.role = Role(role)
    _state.worker_id = worker_id
    _state.number = number
    _state.worker_pid = os.getpid()


def become_foreground() -> None:
    """Says that this process does what a worker does, for one command and without a daemon."""
    become_worker("spool", 0, 1)
    _state.foreground = True


def is_served() -> bool:
    """Whether this is a worker whose daemon takes in what it registers while it runs."""
    return is_worker() and not _state.foreground


def _become_producer(found: Found, source: str) -> None:
    if not found["spoolers"]:
        raise _native.ConfigError(
            f"{source} names no spool directory: in an ini file, add a line `spooler = DIR` to the "
            "section [uwsgi]"
        )
    _apply(found)
    _state.role = Role.PRODUCER
    # Packages that find mules in the options prefer them to the spool, which needs no daemon and
    # loses nothing.
    for name in MULES:
        options.pop(name, None)


def _apply(found: Found) -> None:
    try:
        _state.shared_settings = read(found["shared"])
    except ValueError as error:
        raise _native.ConfigError(str(error)) from None
    _state.shared = found["shared"]
    _state.live_daemon_until = 0.0
    _native.configure(
        found["spoolers"],
        found["relays"],
        found["durability"],
        found["security"],
        found["bounds"],
    )
    _native.configure_network(_state.network or found["network"], False)
    _state.spoolers = tuple(os.path.realpath(path) for path in found["spoolers"])
    relays = {path: name for name, path in found["relays"]}
    named = zip(found["spoolers"], _state.spoolers, strict=True)
    _state.names = tuple(relays.get(path, real) for path, real in named)
    _state.frequency = found["frequency"]
    options.clear()
    options.update({name: True if value is None else value for name, value in found["opt"]})
    for name in ALWAYS_ON:
        options.setdefault(name, b"true")
    refresh = getattr(sys.modules.get("uwsgi"), "_refresh", None)
    if refresh is not None:
        refresh()


def role() -> Role:
    """What this process is for."""
    return _state.role


def spoolers() -> tuple[bytes, ...]:
    """The canonical paths of all configured spools, the default one first."""
    return _state.spoolers


def names() -> tuple[bytes, ...]:
    """The same for the application: of an outbox `relay:ADDRESS` instead."""
    return _state.names


def daemon_pid() -> int:
    """The daemon that this process belongs to, 0 if there is none."""
    return _state.daemon_pid


def is_a_reload() -> bool:
    """Whether the daemon had imported the application before."""
    return _state.is_a_reload


def live_daemon_pid() -> int:
    """The daemon that this process belongs to, else one that runs the first spool now, else 0."""
    if _state.daemon_pid or not _state.spoolers:
        return _state.daemon_pid
    now = time.monotonic()
    if now >= _state.live_daemon_until:
        _state.live_daemon = _native.live_daemon(_state.spoolers[0])
        _state.live_daemon_until = now + LIVE_DAEMON_SECONDS
    return _state.live_daemon


def shared_options() -> Sequence[tuple[str, bytes | None]]:
    """The options of caches, queues, metrics and locks, as they were given."""
    return _state.shared


def shared_settings() -> Settings:
    """What caches, queues, metrics and locks there are.

    A process that is configured by nothing but the name of the spool has those of its daemon.
    """
    if _state.shared_settings or not _state.spoolers:
        return _state.shared_settings
    from unspool import _shared

    return _shared.settings_of_daemon()


def own_queue() -> Queue | None:
    """The queue of this process's own configuration: without one `uwsgi` has no such functions."""
    return _state.shared_settings.queue if _state.spoolers else None


def started_ticks(pid: int) -> int:
    """When a process was started, in clock ticks since the machine was; 0 if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name, in parentheses, may have blanks.
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def started_on() -> int:
    """When the daemon was started, or in a producer this process, in seconds since 1970."""
    since_boot = started_ticks(_state.daemon_pid or os.getpid()) / os.sysconf("SC_CLK_TCK")
    return int(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot)


def is_worker() -> bool:
    """Whether the daemon gives work to this process, or to the one that it was forked from."""
    return _state.worker_pid != 0


def worker_number() -> int:
    """The number by which the daemon knows this very process, 0 if it knows it by none."""
    return _state.worker_id if _state.worker_pid == os.getpid() else 0


def number() -> int:
    """The number that the application knows this worker or mule by: from 1 for each of the two,
    and given again when its process has ended.
    """
    return _state.number


def frequency() -> float:
    """Seconds between retries."""
    return _state.frequency
