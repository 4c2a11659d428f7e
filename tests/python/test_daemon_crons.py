"""Commands of crons, and which of several daemons fires what is scheduled.

Crons are matched, and minutes taken, in Rust, and the tests of that are there. What waits for the
minute here is slow.
"""

from __future__ import annotations

import os
import signal
import time

import pytest
from factory import DaemonFactory
from harness import Daemon, Project
from processes import ProcessHandle

LATE_SECONDS_MAX = 3.0
LEADS = "this daemon fires crons and timers"
FOLLOWS = "another daemon of this configuration fires crons and timers"

TICKS = """
    from uwsgidecorators import mstimer
    from reporting import report

    @mstimer(100)
    def tick(number):
        report("tick", daemon=__import__("uwsgi").masterpid())
"""


def ini(project: Project, *lines: str) -> str:
    return os.fspath(project.write("app.ini", "\n".join(["[uwsgi]", *lines, ""])))


def other(daemons: list[Daemon], one: Daemon) -> Daemon:
    return next(daemon for daemon in daemons if daemon is not one)


def leader(daemons: list[Daemon]) -> Daemon:
    """The one of two that fires; the other says that it does not."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for daemon in daemons:
            if any(LEADS in line for line in daemon.log):
                other(daemons, daemon).wait_log(FOLLOWS)
                return daemon
        daemons[0].wait_log(f"{LEADS}|{FOLLOWS}")
    raise AssertionError("none of them fires")


@pytest.mark.parametrize("with_spool", [True, False])
def test_one_of_two_daemons_fires_timers_until_it_ends(
    project: Project, daemon: DaemonFactory, with_spool: bool
) -> None:
    project.write("clock.py", TICKS)
    path = ini(
        project,
        f"pythonpath = {project.root}",
        "import = clock",
        *([f"spooler = {project.spool}"] if with_spool else []),
    )
    daemons = [daemon("--ini", path, ready=with_spool) for _ in range(2)]
    first = leader(daemons)
    second = other(daemons, first)
    assert {event["daemon"] for event in project.events.collect(5, "tick")} == {first.pid}
    first.kill()
    second.wait_log(LEADS)
    project.events.wait(lambda event: event.name == "tick" and event["daemon"] == second.pid)
    # Its files lie in the spool, or in the state folder.
    top = project.spool / ".unspool" if with_spool else project.root / "state" / "unspool"
    (leads,) = top.glob("schedule/*/leader")
    assert leads.stat().st_mode & 0o777 == 0o600
    assert leads.parent.stat().st_mode & 0o777 == 0o700
    # One that stops lets go at once.
    third = daemon("--ini", path, ready=with_spool)
    third.wait_log(FOLLOWS)
    second.stop()
    third.wait_log(LEADS)


def test_daemons_of_different_configurations_fire_both(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("clock.py", TICKS)
    common = (f"pythonpath = {project.root}", "import = clock", f"spooler = {project.spool}")
    path = ini(project, *common, "[other]", *common)
    for name in (path, f"{path}:other"):
        daemon("--ini", name).wait_log(LEADS)


def test_the_folder_of_the_service_manager_comes_first(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("clock.py", TICKS)
    options = ("--pythonpath", project.root, "--import", "clock")
    running = daemon(*options, env={"STATE_DIRECTORY": f"{project.root}/mine:/b"})
    running.wait_log(LEADS)
    assert list((project.root / "mine").glob("schedule/*/fired"))
    assert not (project.root / "state").exists()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_commands_run_at_the_minute_and_within_their_limits(
    project: Project, daemon: DaemonFactory
) -> None:
    (project.root / "home").mkdir()
    every = "-1 -1 -1 -1 -1"
    path = ini(
        project,
        f"chdir = {project.root}/home",
        "env = COLOUR=red",
        "spooler-stop-timeout = 1",
        f"cron = {every} echo plain $COLOUR in=$(pwd) && echo second; echo third >&2",
        f"cron = {every} exit 3",
        "cron2 = minute=-1,harakiri=1 sleep 300 & echo child $!; wait",
        "cron-harakiri = 2",
        f"unique-cron = {every} sleep 301",
        "cron2 = minute=-1,unique=1,harakiri=300 echo long; sleep 300",
        "cron2 = month=2,day=30 echo never",
    )
    running = daemon("--ini", path, ready=False)
    running.wait_log("cron started", timeout=62)
    assert time.time() % 60 < LATE_SECONDS_MAX
    running.wait_log(f"^plain red in={project.root}/home$")
    running.wait_log("^second$")
    running.wait_log("^third$")
    running.wait_log(r"INFO  cron done pid=\d+ seconds=0\.\d+ command=.echo plain")
    running.wait_log(r"ERROR cron exited with status 3 pid=\d+ .* command=.exit 3")
    child = ProcessHandle(int(running.wait_log(r"^child (\d+)$")[1]))
    running.wait_log(r"ERROR cron takes too long \(harakiri\): killing it pid=\d+ seconds=1\.")
    running.wait_log(r"ERROR cron was killed by signal 9 .* command=.sleep 300 &")
    running.wait_log(r"ERROR cron takes too long .* seconds=2\.\d+ command=.sleep 301")
    assert child.wait(5)
    child.close()
    running.wait_log(r"WARN  cron skipped: it still runs skipped=1 command=.echo long", timeout=62)
    assert len([line for line in running.log if line == "long"]) == 1
    assert "never" not in running.log
    began = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - began > 1
    running.wait_log(r"INFO  a cron may finish pid=\d+ command=.echo long")
    running.wait_log(r"WARN  cron was killed by signal 15 by the stop .* command=.echo long")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_of_two_daemons_one_fires_each_minute_though_the_other_takes_over(
    project: Project, daemon: DaemonFactory
) -> None:
    path = ini(
        project,
        f"spooler = {project.spool}",
        "cron = -1 -1 -1 -1 -1 echo fired; sleep 2; echo finished",
    )
    if time.time() % 60 > 50:
        # Both have to be there before the minute begins.
        time.sleep(10)
    daemons = [daemon("--ini", path) for _ in range(2)]
    first = leader(daemons)
    second = other(daemons, first)
    first.wait_log("^fired$", timeout=62)
    minute = int(time.time() // 60)
    first.kill()
    second.wait_log(LEADS)
    # Restarted, it finds the other one that fires, and stopped, that lets it.
    third = daemon("--ini", path)
    third.wait_log(FOLLOWS)
    second.stop()
    third.wait_log(LEADS)
    third.wait_log("^fired$", timeout=62)
    assert int(time.time() // 60) == minute + 1
    assert "fired" not in second.log
    # A stop waits for it, and a reload leaves it alone.
    third.send(signal.SIGHUP)
    assert third.stop() == 0
    assert "finished" in third.log
    assert len([line for line in third.log if line == "fired"]) == 1
