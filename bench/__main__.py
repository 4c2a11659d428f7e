"""Command line of the benchmark: makes the file system, runs the rounds, prints the report."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import Any

from bench import network, report, web
from bench.bare import Bare
from bench.image import Place, place
from bench.processes import ChildError
from bench.rows import LOCAL_MEASUREMENTS, QUICK, Bench, Measurement, Row, Sizes, table
from bench.side import Side
from bench.unspool_side import UnspoolSide
from bench.uwsgi_side import UwsgiSide

ROOT = Path(__file__).resolve().parent.parent

MEASUREMENTS = {
    **LOCAL_MEASUREMENTS,
    "remote": Measurement(network.remote, ("unspool", "uWSGI")),
    "relay": Measurement(network.relay, ("unspool",)),
    "web": Measurement(web.web, ("unspool", "uWSGI")),
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each row (default 5)")
    parser.add_argument(
        "--only", action="append", choices=MEASUREMENTS, help="measure this only; repeatable"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: a smoke test")
    parser.add_argument("--directory", type=Path, help="measure here and make no image")
    parser.add_argument("--json", type=Path, default=ROOT / "dist" / "bench.json")
    parser.add_argument("--unspool", type=Path, default=ROOT / ".venv", help="its environment")
    parser.add_argument("--uwsgi", type=Path, default=ROOT / ".venv-uwsgi", help="its environment")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _terminated(signum: int, _frame: FrameType | None) -> None:
    # Unwinds through every `with`: children are stopped, the image is unmounted.
    sys.exit(128 + signum)


def _sides(options: argparse.Namespace) -> tuple[dict[str, Side], list[str]]:
    """The sides that can be measured, and why the others can not."""
    sides: dict[str, Side] = {}
    problems: list[str] = []
    for side in (UnspoolSide(options.unspool), UwsgiSide(options.uwsgi)):
        reason = side.missing()
        if reason is None:
            sides[side.name] = side
        else:
            problems.append(f"{side.name} is not run: {reason}")
    return sides, problems


def _measure(
    bench: Bench, sides: dict[str, Side], options: argparse.Namespace, rows: dict[str, Row]
) -> list[str]:
    """Fills the rows; returns what went wrong."""
    problems: list[str] = []
    available: dict[str, Side | Bare] = {**sides, "bare": bench.bare}
    for key in options.only or MEASUREMENTS:
        measurement = MEASUREMENTS[key]
        names = [name for name in measurement.sides if name in available]
        for number in range(1 if measurement.is_single else options.rounds):
            # Each in turn goes first.
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                found: list[str] = []

                def record(row: str, value: float, name: str = name) -> None:
                    rows[row].values.setdefault(name, []).append(value)
                    found.append(f"{row} {value:,.1f}")  # noqa: B023 (called at once)

                try:
                    measurement.run(bench, available[name], record)
                except (ChildError, OSError, RuntimeError, subprocess.SubprocessError) as error:
                    problems.append(f"{key}, {name}, round {number + 1}: {error}")
                    found.append("FAILED")
                _say(f"{key} {number + 1}: {name}: {', '.join(found)}")
    return problems


def _facts(bench: Bench, sides: dict[str, Side], where: Place) -> dict[str, Any]:
    machine = report.Machine.this()
    return {
        "machine": machine._asdict(),
        "file_system": where.description,
        "versions": [side.version() for side in sides.values()],
        "bare": f"{bench.bare.description}; the bytes of a task as {bench.sample_of} writes it, "
        f"{bench.sample.stat().st_size} bytes",
        "load_before": os.getloadavg(),
    }


def _run(options: argparse.Namespace) -> int:
    began = time.monotonic()
    sides, problems = _sides(options)
    if not sides:
        _say("\n".join(problems))
        return 1
    sizes = QUICK if options.quick else Sizes()
    rows = {
        **table(sizes), **network.rows(sizes.remote, sizes.durable_threads, sizes.burst),
        **web.rows(sizes.web_seconds),
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="unspool-bench-")))
        _say("making the file system ...")
        where = stack.enter_context(place(ROOT / ".cache" / "bench", options.directory))
        bench = Bench(where, scratch, sizes, Bare(scratch))
        client = sides.get(UnspoolSide.name)
        bench.client = client if isinstance(client, UnspoolSide) else None
        bench.take_sample(next(iter(sides.values())))
        facts = _facts(bench, sides, where)
        problems += _measure(bench, sides, options, rows)
    facts["load_after"] = os.getloadavg()
    facts["problems"] = problems
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(report.document(rows, facts))
    _print(rows, facts, options.json, time.monotonic() - began)
    return 1 if problems else 0


def _print(rows: dict[str, Row], facts: dict[str, Any], kept: Path, seconds: float) -> None:
    machine = facts["machine"]
    print(f"\nmachine:      {machine['cpu']}, {machine['cores']} cores, {machine['kernel']}")
    print(f"file system:  {facts['file_system']}")
    print(f"measured:     {'; '.join(facts['versions'])}")
    print(f"bare calls:   {facts['bare']}")
    loads = " before, ".join(
        f"{load[0]:.1f}" for load in (facts["load_before"], facts["load_after"])
    )
    print(f"load average: {loads} after; medians [least..most] of the rounds\n")
    print(report.table({key: row for key, row in rows.items() if row.values}))
    for problem in facts["problems"]:
        print(f"\nPROBLEM: {problem}")
    print(f"\n{seconds:.0f} s; all figures in {kept}")


def main() -> int:
    options = _arguments()
    signal.signal(signal.SIGTERM, _terminated)
    signal.signal(signal.SIGHUP, _terminated)
    try:
        return _run(options)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
