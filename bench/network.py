"""What is measured over the network: submissions to a spooler that listens, and relayed tasks.

Both systems listen on loopback TCP and on a Unix socket, and nothing runs the tasks. They are
submitted by one client, a plain Python beside the daemon: by packets of the uwsgi protocol, one on
each connection, the same lines to both; and by `uwsgi.spool(..., spooler=ADDRESS)` of unspool.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from bench.bare import Bare
from bench.processes import Child, free_port, running
from bench.rows import Bench, Check, Record, Row, burst, rate_of
from bench.side import START_SECONDS_MAX, Job, Session, Side, task_files
from bench.unspool_side import UnspoolSide
from bench.uwsgi_side import UwsgiSide

RELAY_SECONDS_MAX = 300.0
FAR_SECONDS = 86_400
# Bytes of an id in the log of those that were received.
SEEN_BYTES = 24


def _free_address() -> str:
    return f"127.0.0.1:{free_port()}"


@contextlib.contextmanager
def _listening(
    side: Side, session: Session, addresses: list[str], durability: str
) -> Iterator[Child]:
    """A daemon that takes tasks of the network and runs none."""
    sockets = [f"--socket={address}" for address in addresses]
    if isinstance(side, UnspoolSide):
        command = [
            str(side.binary),
            "run",
            f"--spooler-external={session.spool}",
            f"--spooler-durability={durability}",
            *sockets,
        ]
        ready = "ready"
    else:
        assert isinstance(side, UwsgiSide)
        # Two workers, so that one answers while the other one writes.
        command = side.command(
            f"--spooler-external={session.spool}", "--processes=2", "--listen=100", *sockets
        )
        ready = "spawned uWSGI worker 2"
    with running(command, session.environment, session.log) as child:
        child.wait_for_log(ready, START_SECONDS_MAX)
        yield session.watch(child)


def _client(bench: Bench) -> UnspoolSide:
    if bench.client is None:
        raise RuntimeError("unspool, whose Python is the client, is missing")
    return bench.client


def _submitted(
    bench: Bench, side: Side, where: str, function: str, threads: int, durability: str
) -> float:
    """Submissions a second."""
    count = bench.sizes.remote
    with bench.spool() as spool, bench.session(spool, 1) as session:
        address = str(session.scratch / "socket") if where == "unix" else _free_address()
        job = Job("remote", {
            "count": count, "address": address, "function": function, "threads": threads,
        })  # fmt: skip
        with _listening(side, session, [address], durability):
            with bench.session(spool, 1) as submitting:
                rate = rate_of(_client(bench).submit(submitting, job))
            left = sum(1 for _ in task_files(spool))
            if left != count:
                raise RuntimeError(f"{count} tasks were submitted and {left} are there")
    return rate


def remote(bench: Bench, side: Side | Bare, record: Record) -> None:
    """Over TCP and a Unix socket, by packets and by calls, from one thread and from several."""
    assert not isinstance(side, Bare)
    threads = bench.sizes.durable_threads
    for where in ("tcp", "unix"):
        rate = _submitted(bench, side, where, "packet", 1, "none")
        record(f"remote_{where}", rate)
        record(f"remote_{where}_n", _submitted(bench, side, where, "packet", threads, "none"))
        if isinstance(side, UnspoolSide):
            rate = _submitted(bench, side, where, "packet", threads, "group")
            record(f"remote_{where}_group", rate)
    record("remote_call", _submitted(bench, side, "tcp", "call", 1, "group"))
    record("remote_call_n", _submitted(bench, side, "tcp", "call", threads, "group"))


def relay(bench: Bench, side: Side | Bare, record: Record) -> None:
    """From an outbox that is full to the spool of a receiver, both durable."""
    assert isinstance(side, UnspoolSide)
    count = bench.sizes.burst
    with bench.spool() as top:
        (spool := top / "receiver").mkdir()
        address = _free_address()
        outbox = top / "out" / address.replace(":", "=3A")
        outbox.mkdir(parents=True, mode=0o700)
        with bench.session(outbox, 1) as session:
            side.submit(session, burst(count, FAR_SECONDS))
        with bench.session(spool, 1) as receiving, bench.session(outbox, 1) as sending:
            command = [
                str(side.binary), "run", f"--spooler=relay:{address}",
                f"--network-outbox={top / 'out'}",
            ]  # fmt: skip
            with (
                _listening(side, receiving, [address], "group"),
                running(command, sending.environment, sending.log) as sender,
            ):
                sending.watch(sender)
                rate = _received(spool, count)
        if (left := sum(1 for _ in task_files(spool))) != count:
            raise RuntimeError(f"{count} tasks were relayed and {left} are there")
    record("relay", rate)


def _received(spool: Path, count: int) -> float:
    """Tasks a second, from the first that are there to the last."""
    deadline = time.monotonic() + RELAY_SECONDS_MAX
    seen = spool / ".unspool" / "seen"
    began: tuple[int, int] | None = None
    while True:
        received = sum(path.stat().st_size for path in seen.glob("[0-9]*")) // SEEN_BYTES
        now = time.monotonic_ns()
        if began is None and received:
            began = (now, received)
        if began is not None and received >= count:
            return (count - began[1]) * 1e9 / (now - began[0])
        if time.monotonic() > deadline:
            raise RuntimeError(f"{received} of {count} tasks were received in time")
        time.sleep(0.002)


def rows(remote: int, threads: int, backlog: int) -> dict[str, Row]:
    """The rows, empty."""
    ratio = Check("unspool", "uWSGI")
    found: dict[str, Row] = {}
    for key, where in (("tcp", "loopback TCP"), ("unix", "a Unix socket")):
        title = f"packets over {where}, no fsync"
        found[f"remote_{key}"] = Row(f"{title}, 1 thread, {remote:,} tasks", "/s", [ratio])
        found[f"remote_{key}_n"] = Row(f"  {threads} threads", "/s", [ratio])
        durable = f"  {threads} threads, the answer is durable"
        found[f"remote_{key}_group"] = Row(durable, "/s", [])
    call = "spool(spooler=HOST:PORT), unspool's answer is durable"
    found["remote_call"] = Row(f"{call}, 1 thread", "/s", [ratio])
    found["remote_call_n"] = Row(f"  {threads} threads", "/s", [ratio])
    found["relay"] = Row(f"relayed from an outbox of {backlog:,}, durable", "/s", [])
    return found
