"""What a virtual machine runs whose clock is set back and forth: a daemon on its disk, submissions
before and after each step, and a time in which all that is due must run.

The arguments are those of `guest.py`. Beside `result.json` it writes `clock.json`: how far the wall
clock was before the monotonic one, and since when, in nanoseconds.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import zlib
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from torture.guest import drain, end, mount, read_job, start_daemon

BURST = 8
# How long a step stands, and how often something is submitted then.
HOLD_SECONDS = 16.0
PAUSE_SECONDS = 0.4
# A step ends so many seconds before a minute, so that the next minute begins soon.
BEFORE_MINUTE_SECONDS = 5
KINDS = ("quick", "quick", "fails", "retries")
TASK_MS = 40


class Submissions:
    """Submits to the spool, and notes what was taken: its kind, its time, and when."""

    def __init__(self, job: dict[str, Any]) -> None:
        os.environ.update(job["env"], UNSPOOL_SPOOL=job["spool"])
        # With its settings from the environment.
        import unspool

        self._spool = unspool.spool
        self._choose = random.Random(job["seed"])
        self._record = open("acknowledged-clock", "a", buffering=1)  # noqa: SIM115
        self._count = 0

    def submit(self, at: int = 0) -> None:
        """One task, to run now or at a time."""
        self._count += 1
        name = f"c{self._count}"
        kind = "at" if at else self._choose.choice(KINDS)
        task = {
            "id": name,
            "kind": kind,
            "ms": str(TASK_MS),
            "crc": f"{zlib.crc32(name.encode()):x}",
        }
        self._spool({**task, "at": str(at)} if at else task)
        self._record.write(f"{name} {kind} {at} {time.monotonic_ns()}\n")

    def burst(self, times: list[int]) -> None:
        """Several, and one at each of those times."""
        for _ in range(BURST):
            self.submit()
        for at in times:
            self.submit(at)


def step(seconds: int) -> tuple[int, int]:
    """Sets the clock by about so much, to shortly before a minute. Since when it may have stood so,
    and how far it is before the monotonic one.
    """
    minute = (int(time.time()) + seconds) // 60
    # What is due then may run before this process goes on.
    before = time.monotonic_ns()
    time.clock_settime(time.CLOCK_REALTIME, minute * 60 + 60 - BEFORE_MINUTE_SECONDS)
    return before, time.time_ns() - time.monotonic_ns()


def main() -> None:
    """One boot."""
    job = read_job()
    mount(job)
    choose = random.Random(job["seed"] + 1)
    offsets = [(0, step(0)[1])]
    daemon = start_daemon(job)
    submissions = Submissions(job)
    latest = 0
    for seconds in job["steps"]:
        now = int(time.time())
        # Some that this step jumps over, some that are soon due after it, some of any hour.
        times = [now + choose.randint(10, abs(seconds)), now + choose.randint(10, 7 * 3600)]
        soon = now + seconds + choose.randint(4, 12)
        if soon > now:
            times.append(soon)
        latest = max(latest, *times)
        submissions.burst(times)
        time.sleep(choose.uniform(0.0, 1.0))
        offsets.append(step(seconds))
        ends = time.monotonic() + HOLD_SECONDS
        submissions.burst([int(time.time()) + choose.randint(3, 10)])
        while time.monotonic() < ends:
            submissions.submit()
            time.sleep(PAUSE_SECONDS)
    # All times are over: what is left is due.
    offsets.append(step(latest - int(time.time()) + 120))
    left = drain(job)
    Path("clock.json").write_text(json.dumps(offsets))
    end(job, daemon, left)


main()
