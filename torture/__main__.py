"""Runs the soak and says what it saw; status 1 if something was lost or left."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "python"))

from harness import HarnessError

from torture.soak import Soak


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long to load the daemon")
    parser.add_argument("--seed", type=int, default=None, help="what a run before was called with")
    options = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    print(f"soak of {options.seconds:g} s, seed {seed}", flush=True)
    try:
        Soak(options.seconds, seed, lambda text: print(text, flush=True)).run()
    except HarnessError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print("nothing lost, nothing left")
    return 0


if __name__ == "__main__":
    sys.exit(main())
