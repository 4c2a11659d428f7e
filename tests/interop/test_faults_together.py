"""SIGKILL at random while two daemons and a real uWSGI work on one directory."""

from __future__ import annotations

from pathlib import Path

from faults import seed, show

from torture.kill import Kill
from torture.systems import RealUwsgi, Unspool


def test_killed_daemons_of_both_systems_lose_nothing(real_uwsgi: Path) -> None:
    row = Kill(10, 2000, seed(), (Unspool, Unspool, RealUwsgi), print).run()
    show(row)
    assert row.tasks >= 2000
    assert row.lost == 0
