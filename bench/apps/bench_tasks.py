"""The tasks of the benchmark, loaded unchanged by uWSGI's spooler and by unspool's worker.

Nothing is written per task: `noop` counts in the worker and reports once, when the goal is
reached, so what is measured is the queue and not the benchmark.
"""

from __future__ import annotations

import os
import socket
import time

from uwsgidecorators import spool

GOAL = int(os.environ.get("BENCH_GOAL", "1"))
REPORTS = os.environ["BENCH_REPORTS"]
ECHO = os.environ["BENCH_ECHO"]

_first = 0
_count = 0
# Opened in the process that uses it, since an application may be imported before a fork.
_sender: socket.socket | None = None


def _send(address: str, text: str) -> None:
    global _sender
    if _sender is None:
        _sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    _sender.sendto(text.encode(), address)


@spool
def noop(arguments: dict[str, str]) -> None:
    """Does nothing; the first run and the one that reaches the goal are timed."""
    global _first, _count
    if _count == 0:
        _first = time.monotonic_ns()
    _count += 1
    if _count == GOAL:
        _send(REPORTS, f"{_first} {time.monotonic_ns()} {os.getpid()}")


@spool
def echo(arguments: dict[str, str]) -> None:
    """Tells the submitter when it started: CLOCK_MONOTONIC is the same in every process."""
    started = time.monotonic_ns()
    _send(ECHO, str(started))
