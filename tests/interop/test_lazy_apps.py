"""`lazy-apps` on both: which processes import what, and how often; hooks, timers, `uwsgi.opt`.

uWSGI imports the application in its web workers, and leaves spoolers and mules without it. In
unspool each worker and each mule has it, too. What becomes of tasks whose function is in the
application alone is in test_import_order.
"""

from __future__ import annotations

from collections import Counter

import pytest
from both import Both, System
from harness import REAL_UWSGI, SUPPORT, UNSPOOL, Daemon, Event, Project
from spooling import submit

SYSTEMS: list[System] = ["uwsgi", "unspool"]
PROCESSES = 2
# Web workers, workers for tasks, and a mule.
HOOKED = {"uwsgi": 2 * PROCESSES + 1, "unspool": 2 * PROCESSES + 1}
# Web workers in uWSGI; in unspool all of these, and the child of the zygote that tells of them.
IMPORTED = {"uwsgi": PROCESSES, "unspool": 2 * PROCESSES + 2}

SHARED = """
    import os
    import uwsgi
    from reporting import report

    report("shared")

    def hook():
        report("hook of shared")

    uwsgi.post_fork_hook = hook
"""
APPLICATION = """
    import os
    import uwsgi
    from reporting import report

    report("application", worker=uwsgi.worker_id(),
           opt={name: uwsgi.opt.get(name) for name in ("lazy", "lazy-apps")})

    def application(environ, start_response): pass
"""
TASKS = """
    import os
    import uwsgi
    from reporting import pause, report
    from uwsgidecorators import spool

    IMPORTED_IN = os.getpid()
    report("tasks")

    @spool
    def hold(args):
        report("hold", imported_in=IMPORTED_IN)
        pause("hold")
        return uwsgi.SPOOL_OK
"""


def start(both: Both, system: System, *more: str, options: str = "lazy-apps = true") -> Daemon:
    """With the three modules, of which `more` is appended to the second."""
    project = both.project
    project.write("shared.py", SHARED)
    project.write("site_app.py", APPLICATION + "".join(more))
    project.write("tasks.py", TASKS)
    ini = f"""
    [uwsgi]
    spooler = spool
    spooler-processes = {PROCESSES}
    spooler-frequency = 1
    processes = {PROCESSES}
    socket = 127.0.0.1:0
    pythonpath = {project.root}
    pythonpath = {SUPPORT}
    shared-import = shared
    module = site_app
    spooler-import = tasks
    mules = 1
    {options}
    """
    path = project.write("app.ini", ini.replace("\n    ", "\n"))
    if system == "uwsgi":
        daemon = both._uwsgi("--ini", str(path), env={})
        daemon.wait_log(f"spawned uWSGI worker {PROCESSES} ")
        return daemon
    return both._start(UNSPOOL, "run", str(path), env={}).wait_ready()


def end(both: Both) -> None:
    for daemon in both._started:
        if daemon.arguments[0] == str(REAL_UWSGI):
            daemon.close()
        elif daemon.running:
            daemon.stop()


def seen(project: Project, name: str) -> list[Event]:
    return [event for event in project.events.history if event.name == name]


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_process_imports_for_itself_and_what_is_shared_is_imported_once(
    both: Both, system: System
) -> None:
    gate = both.project.gate("hold")
    daemon = start(both, system)
    both.project.events.collect(IMPORTED[system], "application")
    for _ in range(PROCESSES):
        submit(both.project, "hold")
    held = both.project.events.collect(PROCESSES, "hold")
    # Each spooler has a module of its own, imported after the fork.
    assert all(event["imported_in"] == event.pid for event in held)
    assert len({event.pid for event in held}) == PROCESSES
    gate.release(PROCESSES)
    both.project.wait_empty()
    (shared,) = seen(both.project, "shared")
    assert shared.pid not in {event.pid for event in held}
    counts = Counter(event.pid for event in seen(both.project, "application"))
    assert set(counts.values()) == {1} and len(counts) == IMPORTED[system]
    spoolers = {event.pid for event in held}
    # A web worker sees its number while it imports.
    workers = {event["worker"] for event in seen(both.project, "application")}
    if system == "uwsgi":
        assert shared.pid == daemon.pid
        assert not spoolers & set(counts)
        assert workers == {1, 2}
    else:
        assert spoolers < set(counts)
        assert workers == {0, 1, 2}
    end(both)


@pytest.mark.parametrize("option", ["lazy-apps = true", "lazy = true", "lazy-apps = 1"])
def test_the_application_is_shown_the_option(both: Both, option: str) -> None:
    shown = []
    for system in SYSTEMS:
        start(both, system, options=option)
        shown.append(both.project.events.collect(PROCESSES, "application")[0]["opt"])
        end(both)
        both.project.events.history.clear()
    assert shown[0] == shown[1]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_hook_that_is_shared_runs_once_in_each_process(both: Both, system: System) -> None:
    start(both, system)
    hooks = both.project.events.collect(HOOKED[system], "hook of shared")
    assert len({event.pid for event in hooks}) == HOOKED[system]
    imported = both.project.events.collect(IMPORTED[system], "application")
    imports = {event.pid: event.monotonic for event in imported}
    before = [event.monotonic < imports[event.pid] for event in hooks if event.pid in imports]
    # In a mule it may be a program that never returns: there it comes last. In uWSGI it and the
    # spoolers have no application.
    others = [True] * PROCESSES if system == "uwsgi" else [False, *[True] * 2 * PROCESSES]
    assert sorted(before) == others
    end(both)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_hook_of_the_application_runs_in_unspool_alone(both: Both, system: System) -> None:
    hook = """
    from uwsgidecorators import postfork

    @postfork
    def forked():
        report("hook of the application")
    """
    start(both, system, hook)
    hooks = both.project.events.collect(HOOKED[system], "hook of shared")
    assert len({event.pid for event in hooks}) == HOOKED[system]
    if system == "uwsgi":
        both.project.events.collect(PROCESSES, "application")
        assert not seen(both.project, "hook of the application")
    else:
        hooks = both.project.events.collect(HOOKED[system], "hook of the application")
        assert len({event.pid for event in hooks}) == HOOKED[system]
    end(both)


TIMER = """
    uwsgi.register_signal(7, "", lambda number: report("tick", number=number))
    uwsgi.add_timer(7, 1)
"""


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_timer_ticks_once_for_each_web_worker_that_registers_it_and_once_here(
    both: Both, system: System
) -> None:
    start(both, system, TIMER)
    ticks = both.project.events.collect(6, "tick")
    span = ticks[-1].monotonic - ticks[0].monotonic
    assert (1.5 < span < 3.5) if system == "uwsgi" else (4.5 < span < 7)
    end(both)
