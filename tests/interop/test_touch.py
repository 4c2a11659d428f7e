"""What a touched file does, on the real uWSGI and on unspool.

uWSGI replaces the processes that the option names; unspool reloads everything, and interrupts
nothing (docs/uwsgi-differences.md).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from both import Both, System
from harness import Daemon
from logfile import LogFile
from processes import wait_ended

SYSTEMS: list[System] = ["uwsgi", "unspool"]
MODULE = """
    import uwsgi
    from uwsgidecorators import spool
    from reporting import report

    VERSION = 1

    @spool
    def mark(args):
        report("mark", version=VERSION)

    @spool
    def tell_mule(args):
        uwsgi.mule_msg(b"x", 1)

    uwsgi.mule_msg_hook = lambda message: report("mule", version=VERSION)
    uwsgi.register_signal(17, "spooler", lambda number: report("signal", number=number))
"""


def start(both: Both, system: System, *options: str) -> Daemon:
    path = both.project.write("touch_tasks.py", MODULE)
    # The code that is saved within the same second must be noticed.
    os.utime(path, (1, 1))
    # One import for spoolers and mules.
    options = (f"--pythonpath={both.project.root}", "--import=touch_tasks", "--mule", *options)
    return both.run(system, "touch_tasks", *options)


def untouched(both: Both, name: str = "touched") -> Path:
    path = both.project.root / name
    path.touch()
    os.utime(path, (1, 1))
    return path


def pids(both: Both) -> dict[str, tuple[int, int]]:
    """Who runs tasks and messages: the process and the version of its code."""
    found = {}
    for function, event in (("mark", "mark"), ("tell_mule", "mule")):
        call: Any = ("spool", ({b"ud_spool_func": function.encode(), b"ud_spool_ret": b"-2"},), {})
        both.write("unspool", call)
        heard = both.project.events.wait(event)
        found[event] = (heard.pid, heard["version"])
    return found


# Which processes uWSGI replaces, and whether they have the code that was saved since.
REPLACED = {
    "touch-reload": ({"mark", "mule"}, True),
    "touch-spoolers-reload": ({"mark"}, False),
    "touch-mules-reload": ({"mule"}, False),
}


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("option", REPLACED)
def test_a_touch_replaces_processes(both: Both, system: System, option: str) -> None:
    touched = untouched(both)
    running = start(both, system, f"--{option}={touched}")
    before = pids(both)
    both.project.write("touch_tasks.py", MODULE.replace("VERSION = 1", "VERSION = 2"))
    replaced, fresh = REPLACED[option] if system == "uwsgi" else ({"mark", "mule"}, True)
    touched.touch()
    wait_ended(*(before[kind][0] for kind in replaced))
    if system == "unspool":
        running.wait_log("reload done")
    after = pids(both)
    assert {kind for kind in after if after[kind][0] != before[kind][0]} == replaced
    assert {version for kind, (_, version) in after.items() if kind in replaced} == {1 + fresh}


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_touch_raises_a_signal(both: Both, system: System) -> None:
    touched = untouched(both)
    start(both, system, f"--touch-signal={touched} 17")
    pids(both)
    touched.touch()
    assert both.project.events.wait("signal")["number"] == 17


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(("option", "action"), [("touch-exec", ""), ("hook-touch", "exec:")])
def test_a_touch_runs_a_command(both: Both, system: System, option: str, action: str) -> None:
    touched, told = untouched(both), LogFile(both.project.root / "told")
    start(both, system, f"--{option}={touched} {action}echo $((6 * 7)) >> {told.path}")
    pids(both)
    touched.touch()
    told.wait("^42$")
