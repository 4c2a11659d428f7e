"""Relayed tasks while the link between two network namespaces goes down and daemons are killed, as
`python -m torture --part relay` has it, smaller: nothing is lost and nothing is stored twice.
"""

from __future__ import annotations

from faults import or_not_run, seed, show

from torture.relay import Relay


def test_a_relay_under_fire_delivers_each_task_once() -> None:
    with or_not_run():
        row = Relay(1000, 6, seed(), print).run()
    show(row)
    assert (row.tasks, row.lost, row.torn) == (1000, 0, 0)
