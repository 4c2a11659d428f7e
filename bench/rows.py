"""What is measured: one function for each measurement, and the rows that it fills."""

from __future__ import annotations

import contextlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bench import procfs
from bench.bare import Bare
from bench.image import Place, sync
from bench.side import Job, Session, Side, task_files, wait_empty
from bench.unspool_side import UnspoolSide

DELAY_SECONDS = 86_400
EMPTY_SECONDS_MAX = 60.0


class Sizes(NamedTuple):
    """How much of everything."""

    burst: int = 20_000
    latency: int = 1_000
    delayed: int = 100_000
    delayed_latency: int = 20
    durable_seconds: float = 2.0
    durable_threads: int = 16
    settle_seconds: float = 2.0
    cpu_seconds: float = 10.0
    pause_seconds: float = 0.005
    remote: int = 5_000
    web_seconds: float = 5.0


QUICK = Sizes(
    burst=2_000,
    latency=100,
    delayed=5_000,
    delayed_latency=5,
    durable_seconds=0.5,
    settle_seconds=1.0,
    cpu_seconds=3.0,
    remote=500,
    web_seconds=1.0,
)


class Check(NamedTuple):
    """A figure of the report: the ratio of two series, or one series itself."""

    series: str
    base: str | None = None
    # As in "at least 1.2"; without one the figure is only printed.
    relation: str = ""
    target: float = 0.0


@dataclass
class Row:
    """One line of the table: a value per round for each series."""

    title: str
    unit: str
    checks: list[Check]
    values: dict[str, list[float]] = field(default_factory=dict)


class Bench:
    """Everything that a measurement needs."""

    def __init__(self, place: Place, scratch: Path, sizes: Sizes, bare: Bare) -> None:
        self.place = place
        self.scratch = scratch
        self.sizes = sizes
        self.bare = bare
        # Whose Python submits over the network, whoever listens.
        self.client: UnspoolSide | None = None
        self.sample = scratch / "none"
        self.sample_of = ""

    @contextlib.contextmanager
    def spool(self) -> Iterator[Path]:
        """A fresh directory; when it has gone again everything is written back."""
        directory = Path(tempfile.mkdtemp(prefix="spool-", dir=self.place.path))
        try:
            sync(self.place.path)
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            sync(self.place.path)

    @contextlib.contextmanager
    def session(self, spool: Path, goal: int) -> Iterator[Session]:
        with tempfile.TemporaryDirectory(prefix="unspool-bench-") as scratch:
            session = Session(Path(scratch), spool, goal)
            try:
                yield session
            finally:
                session.close()

    def take_sample(self, side: Side) -> None:
        """Keeps one task as this side writes it: its bytes are what the bare calls write."""
        with self.spool() as spool, self.session(spool, 1) as session:
            side.submit(session, burst(1))
            file = next(task_files(spool))
            self.sample = self.scratch / file.name
            self.sample.write_bytes(file.read_bytes())
            self.sample_of = side.name


Record = Callable[[str, float], None]


def burst(count: int, delay_seconds: int = 0) -> Job:
    return Job("burst", {"count": count, "delay_seconds": delay_seconds})


def submit(bench: Bench, side: Side | Bare, record: Record) -> None:
    count = bench.sizes.burst
    with bench.spool() as spool, bench.session(spool, 1) as session:
        if isinstance(side, Bare):
            rate = side.plain(spool, bench.sample, count).per_second
        else:
            rate = rate_of(side.submit(session, burst(count)))
        left = sum(1 for _ in task_files(spool))
        if left != count:
            raise RuntimeError(f"{count} tasks were submitted and {left} are there")
    record("submit", rate)


def rate_of(result: dict[str, Any]) -> float:
    count: int = result["count"]
    nanoseconds: int = result["ended"] - result["started"]
    return count * 1e9 / nanoseconds


def drain(bench: Bench, side: Side | Bare, record: Record) -> None:
    assert not isinstance(side, Bare)
    count = bench.sizes.burst
    with bench.spool() as spool:
        with bench.session(spool, 1) as session:
            side.submit(session, burst(count))
        sync(bench.place.path)
        with bench.session(spool, count) as session, side.serve(session, 1):
            first, last = session.wait_goal()
            emptied = wait_empty(spool, EMPTY_SECONDS_MAX)
    record("drain", (count - 1) * 1e9 / (last - first))
    record("drain_empty", count * 1e9 / (emptied - first))


def both(bench: Bench, side: Side | Bare, record: Record) -> None:
    assert not isinstance(side, Bare)
    count = bench.sizes.burst
    job = Job("both", {"count": count})
    with (
        bench.spool() as spool,
        bench.session(spool, count) as session,
        side.serve_and_submit(session, job),
    ):
        started = session.wait_submitted()["started"]
        _first, last = session.wait_goal()
    record("both", count * 1e9 / (last - started))


def latency(bench: Bench, side: Side | Bare, record: Record) -> None:
    assert not isinstance(side, Bare)
    with bench.spool() as spool:
        rows = _latencies(bench, side, spool, bench.sizes.latency)
    called, returned = rows
    record("latency_p50", statistics.median(called))
    record("latency_p99", _p99(called))
    record("latency_returned_p50", statistics.median(returned))
    record("latency_returned_p99", _p99(returned))


def _latencies(
    bench: Bench, side: Side, spool: Path, count: int
) -> tuple[list[float], list[float]]:
    """Microseconds to the start of the task: from the call, and from its return."""
    job = Job("latency", {"count": count, "pause_seconds": bench.sizes.pause_seconds})
    with bench.session(spool, 1) as session, side.serve_and_submit(session, job):
        rows = session.wait_submitted()["rows"]
    # The first one also waits for the daemon to be up.
    rows = rows[1:]
    called = [(echoed - call) / 1e3 for call, _returned, echoed in rows]
    returned = [(echoed - published) / 1e3 for _call, published, echoed in rows]
    return called, returned


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[98]


def durable(bench: Bench, side: Side | Bare, record: Record) -> None:
    seconds = bench.sizes.durable_seconds
    for row, threads in (("durable_1", 1), ("durable_n", bench.sizes.durable_threads)):
        with bench.spool() as spool, bench.session(spool, 1) as session:
            if isinstance(side, Bare):
                rate = side.durable(spool, bench.sample, threads, seconds).per_second
            else:
                assert isinstance(side, UnspoolSide)
                job = Job("durable", {"threads": threads, "seconds": seconds})
                rate = rate_of(side.with_durability("group").submit(session, job))
        record(row, rate)


def delayed(bench: Bench, side: Side | Bare, record: Record) -> None:
    assert not isinstance(side, Bare)
    sizes = bench.sizes
    with bench.spool() as spool:
        with bench.session(spool, 1) as session:
            side.submit(session, burst(sizes.delayed, DELAY_SECONDS))
        # One that is due: when it has run, the start and the first scan are over.
        with bench.session(spool, 1) as session:
            side.submit(session, burst(1))
        sync(bench.place.path)
        with bench.session(spool, 1) as session, side.serve(session, 1) as daemon:
            session.wait_goal()
            time.sleep(sizes.settle_seconds)
            share, precise = _cpu_share(daemon.pid, sizes.cpu_seconds)
        record("cpu", share)
        record("cpu_precise", precise)
        called, _returned = _latencies(bench, side, spool, sizes.delayed_latency)
        record("latency_delayed_p50", statistics.median(called))


def _cpu_share(pid: int, seconds: float) -> tuple[float, float]:
    """Percent of one core, by clock ticks and by the scheduler's nanoseconds."""
    family = procfs.tree(pid)
    before, began = procfs.cpu(family), time.monotonic()
    time.sleep(seconds)
    after, elapsed = procfs.cpu(family), time.monotonic() - began
    if {member for member in family if procfs.is_alive(member)} != set(procfs.tree(pid)):
        raise RuntimeError("processes came or went while their CPU time was measured")
    ticks = (after.ticks - before.ticks) / procfs.TICKS_PER_SECOND
    precise = (after.nanoseconds - before.nanoseconds) / 1e9
    return 100 * ticks / elapsed, 100 * precise / elapsed


def memory(bench: Bench, side: Side | Bare, record: Record) -> None:
    assert not isinstance(side, Bare)
    with bench.spool() as spool:
        with bench.session(spool, 1) as session:
            side.submit(session, burst(1))
        with bench.session(spool, 1) as session, side.serve(session, 1) as daemon:
            session.wait_goal()
            wait_empty(spool, EMPTY_SECONDS_MAX)
            record("memory", procfs.resident_bytes(daemon.pid) / 1e6)
            family = procfs.tree(daemon.pid)
            record("memory_all", sum(procfs.proportional_bytes(it.pid) for it in family) / 1e6)


class Measurement(NamedTuple):
    """A function that measures one side once, and who takes part."""

    run: Callable[[Bench, Side | Bare, Record], None]
    sides: tuple[str, ...]
    # Slow ones that hardly vary are done once, whatever --rounds says.
    is_single: bool = False


LOCAL_MEASUREMENTS = {
    "submit": Measurement(submit, ("unspool", "bare", "uWSGI")),
    "drain": Measurement(drain, ("unspool", "uWSGI")),
    "both": Measurement(both, ("unspool", "uWSGI")),
    "latency": Measurement(latency, ("unspool", "uWSGI")),
    "durable": Measurement(durable, ("unspool", "bare")),
    "delayed": Measurement(delayed, ("unspool", "uWSGI"), is_single=True),
    "memory": Measurement(memory, ("unspool", "uWSGI"), is_single=True),
}


def table(sizes: Sizes) -> dict[str, Row]:
    """The rows, empty, in the order of the report."""
    ratio = Check("unspool", "uWSGI")
    per_second, micros = "/s", "us"
    threads = sizes.durable_threads
    delayed_title = f"{sizes.delayed:,} delayed tasks waiting"
    return {
        "submit": Row(
            f"submitted, no fsync, 1 process, {sizes.burst:,} tasks",
            per_second,
            [Check("unspool", "bare", ">=", 0.85), ratio],
        ),
        "drain": Row(
            f"drained by 1 worker, backlog of {sizes.burst:,}",
            per_second,
            [Check("unspool", "uWSGI", ">=", 1.2)],
        ),
        "drain_empty": Row("  the same until the directory is empty", per_second, [ratio]),
        "both": Row(
            f"both at once, {sizes.burst:,} tasks",
            per_second,
            [Check("unspool", "uWSGI", ">=", 1.2)],
        ),
        "latency_p50": Row(
            f"call to start, idle, p50 of {sizes.latency:,}",
            micros,
            [Check("unspool", "uWSGI", "<=", 1.0)],
        ),
        "latency_p99": Row(
            "call to start, idle, p99", micros, [Check("unspool", "uWSGI", "<", 1.0)]
        ),
        "latency_returned_p50": Row("return to start, idle, p50", micros, [ratio]),
        "latency_returned_p99": Row("return to start, idle, p99", micros, [ratio]),
        "durable_1": Row("durable, 1 thread", per_second, [Check("unspool", "bare")]),
        "durable_n": Row(f"durable, {threads} threads", per_second, [Check("unspool", "bare")]),
        "cpu": Row(f"CPU, {delayed_title}", "% of a core", [Check("unspool", None, "<=", 0.1)]),
        "cpu_precise": Row("  the same by the scheduler's count", "% of a core", []),
        "latency_delayed_p50": Row(f"call to start, p50, {delayed_title}", micros, [ratio]),
        "memory": Row("daemon's resident memory, idle", "MB", [Check("unspool", None, "<", 15.0)]),
        "memory_all": Row("  all its processes, shared pages divided", "MB", [ratio]),
    }
