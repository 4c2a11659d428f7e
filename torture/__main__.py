"""Runs the long tests and says what they saw; status 1 if something was lost, left or crashed.

Each part is a module. Those that do something to a spool return rows of one table.
"""

from __future__ import annotations

import argparse
import random
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "python"))

from harness import HarnessError

from torture import (
    backlog,
    blackout,
    clock,
    cutoff,
    full,
    fuzz,
    inject,
    kill,
    limits,
    look,
    power,
    relay,
    table,
)
from torture.filesystems import NotRun
from torture.soak import Soak
from torture.table import Row


def say(text: str) -> None:
    """A line, at once."""
    print(text, flush=True)


def soak(options: argparse.Namespace) -> list[Row]:
    """Load, reloads and kills, then a count of what is left."""
    say(f"soak of {options.seconds:g} s, seed {options.seed}")
    row = Soak(options.seconds, options.seed, say).run()
    say("nothing lost, nothing left")
    return [row]


def fuzzing(options: argparse.Namespace) -> list[Row]:
    """The fuzz targets, so long each."""
    say(f"fuzzing of {options.fuzz_seconds:g} s a target")
    done = fuzz.run(options.fuzz_seconds, options.fuzz_target, say)
    say(f"no crash in {sum(figures.executions for figures in done)} executions")
    return []


def million(options: argparse.Namespace) -> list[Row]:
    """A start on a long backlog."""
    backlog.run(options.backlog, say)
    return []


def looking(options: argparse.Namespace) -> list[Row]:
    """Commands that look at a long backlog."""
    look.run(options.backlog, say)
    return []


def scaled(options: argparse.Namespace, count: int) -> int:
    """A count of a full run, as `--scale` has it."""
    scale: float = options.scale
    return max(1, round(count * scale))


PARTS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "soak": soak,
    "backlog": million,
    "look": looking,
    "fuzz": fuzzing,
    "kill": lambda options: kill.run(
        scaled(options, 200), scaled(options, 50_000), options.seed, say
    ),
    "relay": lambda options: relay.run(
        scaled(options, 10_000), scaled(options, 20), options.seed, say
    ),
    "power": lambda options: power.run(scaled(options, 25), options.seed, say),
    "blackout": lambda options: blackout.run(scaled(options, 10), options.seed, say),
    "clock": lambda options: clock.run(scaled(options, 16), options.seed, say),
    "full": lambda options: full.run(scaled(options, 10), say),
    "cutoff": lambda options: cutoff.run(scaled(options, 10), say),
    "limits": lambda options: limits.run(options.seed, say),
    "inject": lambda options: inject.run(say),
}


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument(
        "--part", action="append", choices=PARTS, help="only this one; may be repeated"
    )
    parser.add_argument("--seconds", type=float, default=600, help="how long to load the daemon")
    parser.add_argument("--seed", type=int, default=None, help="what a run before was called with")
    parser.add_argument("--backlog", type=int, default=backlog.TASKS, help="tasks that are pending")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="rounds and tasks of faults, 1 for all of them"
    )
    parser.add_argument("--fuzz-seconds", type=float, default=60, help="how long for each target")
    parser.add_argument(
        "--fuzz-target", action="append", default=[], metavar="NAME", help="only this target"
    )
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.SystemRandom().getrandbits(32)
    failed = []
    rows: list[Row] = []
    for name in options.part or PARTS:
        try:
            rows += PARTS[name](options)
        except NotRun as reason:
            say(f"{name}: {reason}")
        except (HarnessError, fuzz.FuzzError) as error:
            print(f"failed: {name}: {error}", file=sys.stderr)
            failed.append(name)
        except Exception:
            # The other parts run all the same, and the table is printed.
            traceback.print_exc()
            print(f"failed: {name}", file=sys.stderr)
            failed.append(name)
    if rows:
        say("\n".join([table.machine(), "", *table.lines(rows)]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
