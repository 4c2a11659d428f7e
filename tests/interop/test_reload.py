"""Reload and stop in the middle of tasks: uWSGI kills them, unspool lets them end.

Where the two differ here is the point of unspool, and listed in docs/uwsgi-differences.md.
"""

from __future__ import annotations

import signal
from typing import Any

import pytest
from both import Both, System
from harness import Daemon, wait_gone

SYSTEMS: list[System] = ["uwsgi", "unspool"]
MODULE = """
    import time
    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def held(args):
        report("began", id=args["id"])
        pause("held")
        report("ended", id=args["id"])

    @spool
    def short(args):
        report("began", id=args["id"])
        time.sleep(0.005)
        report("ended", id=args["id"])
"""
# uWSGI reloads on SIGHUP, and with --die-on-term stops on SIGTERM.
RELOADED = {"uwsgi": r"gracefully \(RE\)spawned uWSGI master", "unspool": "reload done"}


def start(both: Both, system: System) -> Daemon:
    both.project.write("held_tasks.py", MODULE)
    return both.run(system, "held_tasks", f"--pythonpath={both.project.root}")


def put(both: Both, name: str, *ids: str) -> None:
    calls: list[Any] = [("spool", ({b"ud_spool_func": name.encode(), b"ud_spool_ret": b"-2",
                         b"id": number.encode()},), {}) for number in ids]  # fmt: skip
    both.write("unspool", *calls)


def seen(both: Both, name: str) -> list[str]:
    return [event["id"] for event in both.project.events.history if event.name == name]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_reload_in_the_middle_of_a_task(both: Both, system: System) -> None:
    gate = both.project.gate("held")
    daemon = start(both, system)
    put(both, "held", "1")
    both.project.events.wait("began")
    (task,) = both.project.tasks()
    mark = daemon.mark()
    daemon.send(signal.SIGHUP)
    daemon.wait_log(RELOADED[system], since=mark)
    if system == "uwsgi":
        # Killed, and begun anew.
        both.project.events.wait("began")
    gate.release()
    both.project.events.wait("ended")
    wait_gone(task)
    assert len(seen(both, "began")) == (2 if system == "uwsgi" else 1)
    assert len(seen(both, "ended")) == 1


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_stop_in_the_middle_of_a_task(both: Both, system: System) -> None:
    gate = both.project.gate("held")
    daemon = start(both, system)
    put(both, "held", "1")
    both.project.events.wait("began")
    (task,) = both.project.tasks()
    daemon.send(signal.SIGTERM)
    if system == "uwsgi":
        assert daemon.wait_exit() == 0
        assert task.exists() and not seen(both, "ended")
        return
    daemon.wait_log("stopping")
    gate.release()
    assert daemon.wait_exit() == 0
    assert not task.exists() and seen(both, "ended") == ["1"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_reloads_under_load(both: Both, system: System) -> None:
    daemon = start(both, system)
    ids = [str(number) for number in range(300)]
    for part in range(0, 300, 100):
        mark = daemon.mark()
        put(both, "short", *ids[part : part + 100])
        daemon.send(signal.SIGHUP)
        daemon.wait_log(RELOADED[system], since=mark)
    both.project.wait_empty(60)
    began, ended = seen(both, "began"), seen(both, "ended")
    # Nothing is lost by either; unspool runs nothing twice and ends all that it begins.
    assert set(ended) == set(ids)
    if system == "unspool":
        assert sorted(began) == sorted(ended) == sorted(ids)
