"""Loss of power: what was acknowledged at a durable level is there, and runs, after the next mount.

The control submits without durability and must lose some, so that the fault is known to be one.
"""

from __future__ import annotations

import pytest
from faults import or_not_run, seed, show

from torture.power import FILE_SYSTEMS, Power


@pytest.mark.parametrize("kind", FILE_SYSTEMS)
def test_durable_tasks_survive_and_others_do_not(kind: str) -> None:
    with or_not_run():
        durable = Power(kind, ("file", "group"), 1, seed()).run()
        control = Power(kind, ("none",), 1, seed()).run()
    show(durable, control)
    assert durable.tasks > 0
    assert durable.lost == 0
    assert control.lost > 0
