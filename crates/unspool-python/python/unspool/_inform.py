"""Small questions of `uwsgi` about this process: memory, time, names."""

from __future__ import annotations

import grp
import operator
import os
import pwd
import time
from collections.abc import Callable

from unspool import _process

NAME_BYTES_MAX = 15


def log(message: str, /) -> bool:
    """Writes a line to the log."""
    os.write(2, _text(message).encode("utf-8", "backslashreplace") + b"\n")
    return True


def alarm(name: str, message: str | bytes, /) -> None:
    """Writes the message to the log, under the name of the alarm: nothing else is raised yet."""
    text = message.decode("utf-8", "backslashreplace") if isinstance(message, bytes) else message
    log(f"alarm {_text(name)}: {_text(text)}")


def logsize() -> int:
    """0: the log goes to standard error."""
    return 0


def mem() -> tuple[int, int]:
    """Resident and virtual memory of this process, in bytes."""
    with open("/proc/self/statm", "rb") as file:
        pages = file.read().split()
    page = os.sysconf("SC_PAGE_SIZE")
    return int(pages[1]) * page, int(pages[0]) * page


def micros() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def setprocname(name: str, /) -> None:
    """Names this process: what `ps -o comm` and `top` show of it."""
    with open("/proc/self/comm", "wb", buffering=0) as file:
        file.write(os.fsencode(_text(name))[:NAME_BYTES_MAX])


def extract(path: str, /) -> bytes:
    """What a file holds."""
    with open(_text(path), "rb") as file:
        return file.read()


def workers() -> tuple[dict[str, object], ...]:
    """Nothing: there are no web workers."""
    return ()


def listen_queue(socket: int = 0, /) -> int:
    """ValueError, as in a uWSGI without a socket of this number: there are none."""
    raise ValueError(f"unable to find socket {operator.index(socket)}")


def ready() -> bool:
    """True: whoever can ask was started."""
    return True


def spooler_pids() -> list[int]:
    """What runs the tasks: this process if it does, else the daemon, else nothing."""
    if _process.role() is _process.Role.SPOOL_WORKER:
        return [os.getpid()]
    daemon = _process.live_daemon_pid()
    return [daemon] if daemon else []


def spooler_pid() -> int:
    """The first of `spooler_pids`, 0 if there is none."""
    pids = spooler_pids()
    return pids[0] if pids else 0


def magic_table() -> dict[bytes, bytes]:
    """uWSGI's magic variables that have a value outside of a configuration file."""
    uid, gid = os.getuid(), os.getgid()
    micro = micros()
    values = {
        "%": "%",
        "(": "%(",
        "[": "\x1b",
        "V": "2.0.31",
        "h": os.uname().nodename,
        "k": str(len(os.sched_getaffinity(0))),
        "v": os.getcwd(),
        "u": str(uid),
        "U": _name(lambda: pwd.getpwuid(uid).pw_name, uid),
        "g": str(gid),
        "G": _name(lambda: grp.getgrgid(gid).gr_name, gid),
        "t": str(micro // 1_000_000),
        "T": str(micro),
    }
    # A machine may have no name.
    return {os.fsencode(name): os.fsencode(value) for name, value in values.items() if value}


def _name(look_up: Callable[[], str], number: int) -> str:
    try:
        return look_up()
    except KeyError:
        return str(number)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a str is wanted, not {type(value).__name__}")
    if "\0" in value:
        raise ValueError("embedded null character")
    return value
