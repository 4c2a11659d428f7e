"""A disk that is full, turns read-only or fails: nothing is lost, and all who ask are told."""

from __future__ import annotations

import pytest
from faults import or_not_run, show

from torture import cutoff, full


@pytest.mark.parametrize("kind", full.FILE_SYSTEMS)
def test_a_full_disk_refuses_and_finishes_what_it_has(kind: str) -> None:
    with or_not_run():
        row = full.fill(kind, 1)
    show(row)
    assert row.tasks == full.WORKERS + full.BEFORE + full.AFTER
    assert row.run_twice == 0


@pytest.mark.parametrize(("kind", "how"), cutoff.CASES)
def test_a_disk_that_fails_under_load_loses_nothing(kind: str, how: str) -> None:
    with or_not_run():
        row = cutoff.fail(kind, how, 1)
    show(row)
    assert row.tasks > 0
