"""SIGKILL at random, as `make torture` has it, in ten rounds: nothing is lost, and what runs twice
had been begun by a process that was killed.
"""

from __future__ import annotations

from faults import seed, show

from torture.kill import Kill
from torture.systems import Unspool


def test_killed_daemons_workers_and_submitters_lose_nothing() -> None:
    row = Kill(10, 2000, seed(), (Unspool,), print).run()
    show(row)
    assert row.tasks >= 2000
    assert row.lost == 0
    assert row.recovery
