"""uwsgi signals on the real uWSGI and on unspool: targets, timers, what a handler sees.

The application has a web worker under uWSGI, since targets of workers need one there.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from both import Both, System
from harness import SUPPORT, UNSPOOL, Daemon, Event, HarnessError
from spooling import submit

SYSTEMS: list[System] = ["uwsgi", "unspool"]
MODULE = """
    import os
    import uwsgi
    from uwsgidecorators import cron, filemon, rbtimer, spool, timer
    from reporting import report

    def application(environ, start_response): pass

    def handle(number):
        report("handled", number=number, spooler=uwsgi.i_am_the_spooler(), mule=uwsgi.mule_id(),
               worker=uwsgi.worker_id())

    @spool
    def raise_one(args):
        report("raised", result=uwsgi.signal(int(args["number"])))

    @spool
    def registered(args):
        report("registered", known=uwsgi.signal_registered(17), other=uwsgi.signal_registered(99))

    @spool
    def call(args):
        try:
            result = eval(args["call"])
        except Exception as error:
            result = type(error).__name__
        report("called", result=result)
"""


def start(both: Both, system: System, source: str, *options: str) -> Daemon:
    project = both.project
    project.write("app.py", MODULE)
    with open(project.root / "app.py", "a") as file:
        file.write(source)
    common = [f"--spooler={project.spool}", "--module=app", "--spooler-frequency=1", *options]
    if system == "uwsgi":
        serving = ["--http-socket=127.0.0.1:0", "--processes=1"]
        daemon = both._uwsgi(f"--pythonpath={project.root}", *serving, *common, env={})
        daemon.wait_log("spawned uWSGI worker 1 ")
        return daemon
    paths = [f"--pythonpath={SUPPORT}", f"--pythonpath={project.root}"]
    return both._start(UNSPOOL, "run", *paths, *common, env={}).wait_ready()


def told(event: Event) -> dict[str, object]:
    return event.fields


TARGETS = ["", "worker", "worker0", "worker1", "workers", "active-workers", "spooler"]


@pytest.mark.parametrize(
    ("target", "processes"), [*((target, 1) for target in TARGETS), ("worker2", 2)]
)
def test_a_handler_sees_the_same_process(both: Both, target: str, processes: int) -> None:
    answers = []
    for system in SYSTEMS:
        source = f"uwsgi.register_signal(17, {target!r}, handle)\n"
        start(both, system, source, f"--processes={processes}")
        submit(both.project, "raise_one", number=17)
        assert both.project.events.wait("raised")["result"] is None
        answers.append(told(both.project.events.wait("handled")))
        both.stop()
    assert answers[0] == answers[1]


def test_a_file_monitor_raises_its_signal(both: Both) -> None:
    path = both.project.write("monitored.txt", "")
    answers = []
    for number, system in enumerate(SYSTEMS, start=17):
        source = f"filemon({str(path)!r}, target='spooler', signum={number})(handle)\n"
        start(both, system, source)
        answers.append(told(written_until_handled(both, path, number)))
        both.stop()
    assert {**answers[0], "number": 0} == {**answers[1], "number": 0}


def written_until_handled(both: Both, path: Path, number: int) -> Event:
    """uWSGI begins to watch a moment after it says that it is up, and nothing tells when."""
    for attempt in range(20):
        path.write_text(f"{number} {attempt}")
        with contextlib.suppress(HarnessError):
            return both.project.events.wait(
                lambda event: event.name == "handled" and event["number"] == number, timeout=1
            )
    raise HarnessError("the monitor raises nothing")


def test_signals_are_known_in_every_process(both: Both) -> None:
    answers = []
    for system in SYSTEMS:
        start(both, system, "uwsgi.register_signal(17, '', handle)\n")
        submit(both.project, "registered")
        answers.append(told(both.project.events.wait("registered")))
        both.stop()
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "source",
    [
        "uwsgi.register_signal(17, '', handle); uwsgi.add_timer(17, 1)",
        "uwsgi.register_signal(17, 'spooler', handle); uwsgi.add_timer(17, 1)",
        "uwsgi.register_signal(17, '', handle); uwsgi.add_rb_timer(17, 1, 3)",
        "timer(1, signum=17)(handle)",
        "rbtimer(1, signum=17, target='spooler')(handle)",
    ],
)
def test_timers_raise_their_signals(both: Both, source: str) -> None:
    answers = []
    for system in SYSTEMS:
        start(both, system, f"{source}\n")
        ticks = both.project.events.collect(2, "handled")
        answers.append([told(tick) for tick in ticks])
        # A second apart, by uWSGI's clock of whole seconds.
        assert 0.4 < ticks[1].monotonic - ticks[0].monotonic < 3
        both.stop()
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "call",
    [
        "uwsgi.signal('x')",
        "uwsgi.signal_registered('x')",
        "uwsgi.add_timer('x', 1)",
        "uwsgi.add_cron(17, 'x', 0, 0, 0, 0)",
        "uwsgi.signal(200)",
        "uwsgi.add_timer(200, 1000)",
        "uwsgi.add_rb_timer(200, 1000)",
        "uwsgi.add_cron(200, 1, 1, 1, 1, 1)",
        "uwsgi.set_spooler_frequency(2)",
        "uwsgi.set_spooler_frequency('x')",
        "uwsgi.set_user_harakiri(0)",
        "uwsgi.signal_received()",
    ],
)
def test_calls_at_run_time(both: Both, call: str) -> None:
    answers = []
    for system in SYSTEMS:
        start(both, system, "uwsgi.register_signal(17, '', handle)\n")
        submit(both.project, "call", call=call)
        answers.append(told(both.project.events.wait("called")))
        both.stop()
    assert answers[0] == answers[1]


WAITS = """
    import uwsgi
    from reporting import report

    report("waits", mule=uwsgi.mule_id())
    while True:
        uwsgi.signal_wait()
        report("heard", number=uwsgi.signal_received(), mule=uwsgi.mule_id())
"""


@pytest.mark.parametrize("target", ["mule1", "mule", "mules"])
def test_a_mule_waits_for_signals(both: Both, target: str) -> None:
    both.project.write("waits.py", WAITS)
    answers = []
    for system in SYSTEMS:
        source = f"uwsgi.register_signal(17, {target!r}, handle)\n"
        start(both, system, source, "--mule=waits.py")
        both.project.events.wait("waits")
        submit(both.project, "raise_one", number=17)
        events = both.project.events
        answers.append([told(events.wait("handled")), told(events.wait("heard"))])
        both.stop()
    assert answers[0] == answers[1]
