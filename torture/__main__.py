"""Runs the long tests and says what they saw; status 1 if something was lost, left or crashed."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "python"))

from harness import HarnessError

from torture import fuzz
from torture.soak import Soak


def say(text: str) -> None:
    """A line, at once."""
    print(text, flush=True)


def soak(options: argparse.Namespace) -> None:
    """Load, reloads and kills, then a count of what is left."""
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    say(f"soak of {options.seconds:g} s, seed {seed}")
    Soak(options.seconds, seed, say).run()
    say("nothing lost, nothing left")


def fuzzing(options: argparse.Namespace) -> None:
    """The fuzz targets, so long each."""
    say(f"fuzzing of {options.fuzz_seconds:g} s a target")
    done = fuzz.run(options.fuzz_seconds, options.fuzz_target, say)
    say(f"no crash in {sum(figures.executions for figures in done)} executions")


PARTS = {"soak": soak, "fuzz": fuzzing}


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument(
        "--part", action="append", choices=PARTS, help="only this one; may be repeated"
    )
    parser.add_argument("--seconds", type=float, default=600, help="how long to load the daemon")
    parser.add_argument("--seed", type=int, default=None, help="what a soak before was called with")
    parser.add_argument("--fuzz-seconds", type=float, default=60, help="how long for each target")
    parser.add_argument(
        "--fuzz-target", action="append", default=[], metavar="NAME", help="only this target"
    )
    options = parser.parse_args()
    failed = []
    for name in options.part or PARTS:
        try:
            PARTS[name](options)
        except (HarnessError, fuzz.FuzzError) as error:
            print(f"failed: {error}", file=sys.stderr)
            failed.append(name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
