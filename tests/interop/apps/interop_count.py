"""A task that records each of its runs in one file and is held at its process's first run."""

from __future__ import annotations

import os

import uwsgi
from reporting import pause, report

DAEMON = os.environ["INTEROP_DAEMON"]
LOG = os.path.join(os.environ["UNSPOOL_TEST_ROOT"], "runs.log")

# The processes that have been through the gate.
_passed: set[int] = set()


def handler(env: dict[str | bytes, bytes]) -> int:
    """Appends `ID DAEMON PID` with one write, which cannot mix with another process's."""
    number = env[b"id"].decode()
    log = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(log, f"{number} {DAEMON} {os.getpid()}\n".encode())
    finally:
        os.close(log)
    if os.getpid() not in _passed:
        _passed.add(os.getpid())
        report("gated", daemon=DAEMON)
        pause("start")
    report("done", id=number)
    return int(uwsgi.SPOOL_OK)


uwsgi.spooler = handler
