"""System calls that fail, fewer than in `make torture`: nothing is acknowledged that is not there,
a daemon lives through it, and all runs afterwards.
"""

from __future__ import annotations

from faults import or_not_run, show

from torture import inject


def test_a_submission_whose_calls_fail_is_refused_or_there() -> None:
    with or_not_run():
        row = inject.submitter(lambda number: (inject.ERRORS[number % len(inject.ERRORS)],))
    show(row)
    # Each call of three submissions, once and for ever; some of them the system makes up for.
    assert row.rounds > 120
    assert 0 < row.tasks < row.rounds
    assert row.torn == 0


def test_a_daemon_whose_calls_fail_lives_and_runs_all_afterwards() -> None:
    with or_not_run():
        row = inject.daemon(inject.few_failures())
    show(row)
    assert row.rounds == len(inject.few_failures())
    assert row.torn == 0
