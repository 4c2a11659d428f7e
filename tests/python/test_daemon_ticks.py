"""Timers run in the workers of the daemon, beside its tasks.

Crons are matched in Rust, and their tests are there. The one that waits for a whole minute is slow.
"""

from __future__ import annotations

import re
import signal
import time

import pytest
from factory import DaemonFactory
from harness import Daemon, Project
from processes import parent_of
from spooling import submit

MODULE = """
    import os
    import time

    import uwsgi
    from uwsgidecorators import cron, mstimer, rbtimer, spool, timer
    from reporting import pause, report

    IMPORTED_IN = os.getpid()

    @spool
    def mark(args):
        report("mark")
"""

# How late a few ticks may be on a machine that does other work too; early they never are.
LATE_SECONDS_MAX = 2.0


def start(project: Project, daemon: DaemonFactory, timers: str, *options: str) -> Daemon:
    project.write("tasks.py", MODULE)
    with open(project.root / "tasks.py", "a") as file:
        file.write(timers)
    return daemon("--spooler", project.spool, "--spooler-import", "tasks", *options)


@pytest.mark.parametrize(
    ("decorator", "every", "count"),
    [
        ("timer(1)", 1.0, 3),
        ("timer(0.1, signum=7, target='worker')", 0.1, 6),
        ("rbtimer(0.1)", 0.1, 6),
        ("mstimer(100)", 0.1, 6),
    ],
)
def test_a_timer_runs_in_a_worker_at_its_pace(
    project: Project, daemon: DaemonFactory, decorator: str, every: float, count: int
) -> None:
    source = f"""
@{decorator}
def tick(number):
    report("tick", number=number, imported_in=IMPORTED_IN, worker=uwsgi.worker_id())

report("imported")
"""
    running = start(project, daemon, source)
    ticks = project.events.collect(count, "tick")
    imported = project.events.wait("imported").monotonic
    late = [tick.monotonic - imported - n * every for n, tick in enumerate(ticks, 1)]
    assert min(late) >= 0 and late[-1] < LATE_SECONDS_MAX
    assert {event["number"] for event in ticks} == {7 if "signum" in decorator else 0}
    (pid,) = {event.pid for event in ticks}
    assert parent_of(pid) == running.pid
    assert pid != ticks[0]["imported_in"]
    assert ticks[0]["worker"] > 0


def test_a_timer_with_a_number_of_iterations_ends(project: Project, daemon: DaemonFactory) -> None:
    source = """
@mstimer(100)
def beat(number):
    report("beat")

uwsgi.register_signal(9, "", lambda number: report("thrice"))
uwsgi.add_rb_timer(9, 0.1, 3)
"""
    start(project, daemon, source)
    project.events.collect(3, "thrice")
    project.events.collect(8, "beat")
    assert len([event for event in project.events.history if event.name == "thrice"]) == 3


def test_a_slow_tick_delays_no_task_and_no_other_tick_and_is_not_run_twice_at_once(
    project: Project, daemon: DaemonFactory
) -> None:
    source = """
@mstimer(100)
def slow(number):
    report("slow")
    pause("slow")
    report("slow ends")

@mstimer(100)
def beat(number):
    report("beat")
"""
    gate = project.gate("slow")
    start(project, daemon, source)
    project.events.wait("slow")
    submit(project, "mark")
    project.events.wait("mark")
    # Meanwhile the slow one was due ten times. One of these is waiting, the others are dropped.
    project.events.collect(10, "beat")
    names = [event.name for event in project.events.history]
    assert (names.count("slow"), names.count("slow ends")) == (1, 0)
    gate.release(1000)
    beats = names.count("beat")
    project.events.collect(5, "slow")
    # One that waited, and then one at each beat: not the ten that were missed, one by one.
    beats = [event.name for event in project.events.history].count("beat") - beats
    assert beats >= 2


def test_a_tick_that_raises_is_logged_and_the_next_one_comes(
    project: Project, daemon: DaemonFactory
) -> None:
    source = """
@mstimer(100)
def tick(number):
    report("tick")
    raise ValueError("no clock")
"""
    running = start(project, daemon, source)
    running.wait_log(r"ERROR tick failed signal=0")
    running.wait_log(r"^    ValueError: no clock$")
    ticks = project.events.collect(3, "tick")
    assert len({event.pid for event in ticks}) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_a_signal_that_is_raised_without_end_does_not_fill_the_log(
    project: Project, daemon: DaemonFactory, fails: bool
) -> None:
    """It used to be a line for each, hundreds of megabytes in an hour."""
    source = f"""
@spool
def flood(args):
    ends = time.monotonic() + 2
    while time.monotonic() < ends:
        uwsgi.signal(9)
        uwsgi.signal(10)
    report("flooded", handled=open("{project.root}/count").read().count("."))

def count(number):
    with open("{project.root}/count", "a") as file:
        file.write(".")
    if {fails}:
        raise ValueError("no")

uwsgi.register_signal(9, "", count)
uwsgi.register_signal(10, "mule1", count)
"""
    running = start(project, daemon, source, "--mules", "1")
    began = time.monotonic()
    submit(project, "flood")
    handled = project.events.wait("flooded")["handled"]
    submit(project, "mark")
    project.events.wait("mark")
    # After the flood each signal has a line again within a second, with what was left out.
    project.python("import time, uwsgi; time.sleep(1.1); uwsgi.signal(9); uwsgi.signal(10)")
    word = "tick failed" if fails else "tick done"
    for signal_number in (9, 10):
        running.wait_log(rf"{word} signal={signal_number} .*left_out=\d+")
    assert running.stop() == 0
    lines = [line for line in running.log if word in line]
    left_out = sum(int(found[1]) for found in re.finditer(r"left_out=(\d+)", "\n".join(lines)))
    assert handled > 200
    # Twenty at once, and one a second.
    assert len(lines) <= 2 * (21 + time.monotonic() - began)
    # None goes uncounted, but for those since the last line.
    assert len(lines) + left_out >= handled / 2


def test_a_tick_that_kills_its_worker_is_logged_and_the_next_one_comes(
    project: Project, daemon: DaemonFactory
) -> None:
    source = """
@mstimer(100)
def tick(number):
    report("tick")
    os._exit(3)
"""
    running = start(project, daemon, source)
    first, second = project.events.collect(2, "tick")
    assert first.pid != second.pid
    running.wait_log(r"ERROR tick failed: its worker exited with status 3 signal=0")
    submit(project, "mark")
    project.events.wait("mark")


def test_a_stop_lets_a_running_tick_finish(project: Project, daemon: DaemonFactory) -> None:
    source = """
@mstimer(100)
def slow(number):
    report("slow")
    pause("slow")
    report("slow ends")
"""
    gate = project.gate("slow")
    running = start(project, daemon, source)
    project.events.wait("slow")
    running.send(signal.SIGTERM)
    running.wait_log("stopping: running tasks may finish")
    gate.release()
    project.events.wait("slow ends")
    assert running.wait_exit() == 0
    assert len([event for event in project.events.history if event.name == "slow"]) == 1


def test_a_reload_replaces_the_timers(project: Project, daemon: DaemonFactory) -> None:
    source = """
@mstimer(100)
def tick(number):
    report("old")
"""
    running = start(project, daemon, source)
    project.events.wait("old")
    text = (project.root / "tasks.py").read_text()
    (project.root / "tasks.py").write_text(text.replace('report("old")', 'report("new")'))
    running.reload()
    project.events.wait("new")
    old = len([event for event in project.events.history if event.name == "old"])
    project.events.collect(3, "new")
    assert len([event for event in project.events.history if event.name == "old"]) == old


def test_timers_run_without_a_spool(project: Project, daemon: DaemonFactory) -> None:
    project.write("clock.py", "import uwsgi\nfrom reporting import report\n")
    with open(project.root / "clock.py", "a") as file:
        file.write("uwsgi.register_signal(3, '', lambda n: report('tick', number=n))\n")
        file.write("uwsgi.add_timer(3, 1)\n")
    daemon("--import", "clock")
    assert project.events.wait("tick")["number"] == 3


def test_a_cron_is_taken_and_a_wrong_one_is_an_error(
    project: Project, daemon: DaemonFactory
) -> None:
    source = """
@cron(-5, -1, -1, -1, -1)
def five(number):
    report("five")

print("registered", uwsgi.signal_registered(0), flush=True)
cron(61, -1, -1, -1, -1)(five)
"""
    running = start(project, daemon, source)
    running.wait_output("registered True")
    running.wait_log("unable to add cron of signal 1: minute is 61; give 0 to 59")


@pytest.mark.slow
def test_a_cron_runs_in_a_worker_when_its_minute_begins(
    project: Project, daemon: DaemonFactory
) -> None:
    source = """
@cron(-1, -1, -1, -1, -1)
def minute(number):
    report("minute", number=number)
"""
    running = start(project, daemon, source)
    event = project.events.wait("minute", timeout=61)
    assert event.time % 60 < LATE_SECONDS_MAX
    assert parent_of(event.pid) == running.pid
