"""The submitting side of the benchmark: a mule of uWSGI, or a plain Python beside unspool.

Reads one job (JSON) from BENCH_JOB, does it, writes the result to BENCH_RESULT and says so on the
socket BENCH_REPORTS. The loops are the same lines for both systems.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

JOB = json.loads(os.environ["BENCH_JOB"])
REPLY_SECONDS_MAX = 60.0

if "BENCH_SPOOL" in os.environ:
    import unspool

    unspool.configure(spooler=os.environ["BENCH_SPOOL"], durability=os.environ["BENCH_DURABILITY"])

import uwsgi  # noqa: E402 (it is there once unspool is configured)

PAYLOAD = b"x" * 120


def message(function: bytes) -> dict[bytes, bytes]:
    """What every measured task holds: about 200 bytes in all."""
    return {b"ud_spool_func": function, b"ud_spool_ret": b"-2", b"n": b"0", b"data": PAYLOAD}


def burst(count: int, delay_seconds: int) -> dict[str, Any]:
    """Submits `count` tasks as fast as the calls return."""
    spool = uwsgi.spool
    task = message(b"noop")
    if delay_seconds:
        task[b"at"] = b"%d" % (int(time.time()) + delay_seconds)
    started = time.monotonic_ns()
    for number in range(count):
        task[b"n"] = b"%06d" % number
        spool(task)
    return {"started": started, "ended": time.monotonic_ns(), "count": count}


def latency(count: int, pause_seconds: float) -> dict[str, Any]:
    """One task at a time to an idle worker: when it was asked for, published, and started."""
    spool = uwsgi.spool
    task = message(b"echo")
    rows = []
    with EchoSocket() as echoes:
        for number in range(count):
            time.sleep(pause_seconds)
            task[b"n"] = b"%06d" % number
            called = time.monotonic_ns()
            spool(task)
            returned = time.monotonic_ns()
            rows.append((called, returned, echoes.receive()))
    return {"rows": rows}


def both(count: int) -> dict[str, Any]:
    """A burst to a daemon that is known to be up: one task has been there and back."""
    latency(1, 0.0)
    return burst(count, 0)


def packet(address: str, task: dict[bytes, bytes]) -> None:
    """One packet of the uwsgi protocol on a connection of its own."""
    block = b"".join(struct.pack("<H", len(text)) + text for pair in task.items() for text in pair)
    local = address.startswith("/")
    with socket.socket(socket.AF_UNIX if local else socket.AF_INET) as client:
        host, _, port = address.rpartition(":")
        client.connect(address if local else (host, int(port)))
        client.sendall(struct.pack("<BHB", 17, len(block), 0) + block)
        answer = client.recv(4, socket.MSG_WAITALL)
    if answer != b"\xff\0\0\1":
        raise RuntimeError(f"refused: {answer!r}")


def call(address: str, task: dict[bytes, bytes]) -> None:
    """As an application does it."""
    uwsgi.spool(task, spooler=address)


def remote(count: int, address: str, function: str, threads: int) -> dict[str, Any]:
    """Submits `count` tasks to a spooler that listens, from several threads."""
    submit = {"packet": packet, "call": call}[function]
    failures: list[str] = []

    def part(index: int) -> None:
        task = message(b"noop")
        try:
            for number in range(index, count, threads):
                task[b"n"] = b"%06d" % number
                submit(address, task)
        except Exception as error:
            failures.append(repr(error))

    running = [threading.Thread(target=part, args=(index,)) for index in range(threads)]
    started = time.monotonic_ns()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    ended = time.monotonic_ns()
    if failures:
        raise RuntimeError(failures[0])
    return {"started": started, "ended": ended, "count": count}


def durable(threads: int, seconds: float) -> dict[str, Any]:
    """Submits from several threads for a time; each call returns when its task is on disk."""
    counts = [0] * threads
    barrier = threading.Barrier(threads + 1)
    failures: list[str] = []

    def submit(index: int) -> None:
        spool = uwsgi.spool
        task = message(b"noop")
        barrier.wait()
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                task[b"n"] = b"%02d%04d" % (index, counts[index] % 10_000)
                spool(task)
                counts[index] += 1
        except Exception as error:
            failures.append(repr(error))

    running = [threading.Thread(target=submit, args=(index,)) for index in range(threads)]
    for thread in running:
        thread.start()
    barrier.wait()
    started = time.monotonic_ns()
    for thread in running:
        thread.join()
    if failures:
        raise RuntimeError(failures[0])
    return {"started": started, "ended": time.monotonic_ns(), "count": sum(counts)}


class EchoSocket:
    """Where the `echo` task sends the time of its start."""

    def __enter__(self) -> EchoSocket:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(os.environ["BENCH_ECHO"])
        self.socket.settimeout(REPLY_SECONDS_MAX)
        return self

    def receive(self) -> int:
        return int(self.socket.recv(64))

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        os.unlink(os.environ["BENCH_ECHO"])


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "burst": burst,
    "latency": latency,
    "both": both,
    "durable": durable,
    "remote": remote,
}


def main() -> None:
    name, arguments = JOB
    try:
        result = JOBS[name](**arguments)
    except Exception as error:
        result = {"error": f"{type(error).__name__}: {error}"}
    with open(os.environ["BENCH_RESULT"], "w") as file:
        json.dump(result, file)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"submitted", os.environ["BENCH_REPORTS"])


main()
if hasattr(uwsgi, "mule_id") and "BENCH_SPOOL" not in os.environ:
    # A mule that returns is started again by the master and would submit everything twice.
    while True:
        signal.pause()
sys.exit(0)
