"""The order in which tasks run, on both: priorities ascending by number, then those without one."""

from __future__ import annotations

from typing import Any

import pytest
from both import Both, System

SYSTEMS: list[System] = ["uwsgi", "unspool"]
MODULE = """
    from uwsgidecorators import spool
    from reporting import report

    @spool
    def mark(args):
        report("ran", id=args["id"])
"""


def put(both: Both, writer: System, *tasks: tuple[str, str]) -> None:
    calls: list[Any] = []
    for name, priority in tasks:
        pairs = {b"ud_spool_func": b"mark", b"ud_spool_ret": b"-2", b"id": name.encode()}
        if priority:
            pairs[b"priority"] = priority.encode()
        calls.append(("spool", (pairs,), {}))
    both.write(writer, *calls)


@pytest.mark.parametrize("writer", SYSTEMS)
def test_priorities(both: Both, writer: System) -> None:
    """What one process submits before the start; within a priority, in the order of submission."""
    both.project.write("order_tasks.py", MODULE)
    tasks = [(f"{priority or 'none'}-{n}", priority) for n in range(2) for priority in
             ("", "101", "2", "10", "0", "1", "9")]  # fmt: skip
    orders = []
    for system in SYSTEMS:
        put(both, writer, *tasks)
        both.run(system, "order_tasks", "--spooler-ordered", f"--pythonpath={both.project.root}")
        orders.append([event["id"] for event in both.project.events.collect(len(tasks), "ran")])
        both.project.wait_empty()
        both.stop()
    expected = [f"{p}-{n}" for p in ("0", "1", "2", "9", "10", "101", "none") for n in range(2)]
    assert orders == [expected, expected]
