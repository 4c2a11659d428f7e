"""Programs that the daemon keeps running: started, started again, reloaded, ended with it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import Daemon, Project, wait_present
from processes import ProcessHandle, parent_of

# What traps a signal says so and goes on, unless it is the one to end with.
PROGRAM = """#!/bin/sh
trap 'echo "$1 got TERM"; exit 0' TERM
trap 'echo "$1 got INT"; exit 0' INT
trap 'echo "$1 got USR1"' USR1
echo "$1 runs pid=$$ in=$(pwd) colour=$COLOUR"
while :; do sleep 0.05; done
"""

# Goes to the background and writes its pidfile.
BACKGROUND = """#!/bin/sh
setsid sh -c 'echo $$ > '$1'.new; mv '$1'.new '$1'; echo "background runs"; \
    while :; do sleep 0.1; done' &
"""


@pytest.fixture
def program(project: Project) -> Path:
    """A program that runs until it is told to end."""
    path = project.write("program", PROGRAM)
    path.chmod(0o755)
    return path


def start(project: Project, daemon: DaemonFactory, *lines: str, ready: bool = True) -> Daemon:
    project.write("tasks.py", "from uwsgidecorators import spool\n")
    ini = project.write(
        "app.ini",
        "\n".join(["[uwsgi]", f"spooler = {project.spool}", "import = tasks", *lines, ""]),
    )
    return daemon("--ini", ini, ready=ready)


def end(pidfile: Path) -> None:
    handle = ProcessHandle(int(pidfile.read_text()))
    handle.send(signal.SIGKILL)
    handle.wait()
    handle.close()


def test_it_is_a_child_with_the_applications_surroundings(
    project: Project, daemon: DaemonFactory, program: Path
) -> None:
    (project.root / "home").mkdir()
    running = start(
        project,
        daemon,
        f"chdir = {project.root}/home",
        "env = COLOUR=red",
        f"attach-daemon = {program} one",
        f"pythonpath = {project.root}",
    )
    found = running.wait_log(rf"one runs pid=(\d+) in={project.root}/home colour=red")
    shell = running.wait_log(r"INFO  attached daemon started pid=(\d+)")
    assert parent_of(int(shell[1])) == running.pid
    assert os.getsid(int(found[1])) == int(shell[1]) != os.getsid(running.pid)
    assert running.stop() == 0
    assert "one got TERM" in running.log


def test_one_that_ends_is_started_again_ever_more_slowly(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, "attach-daemon = echo once more; exit 3")
    for again_ms in (0, 100, 200, 400):
        running.wait_log(
            rf"WARN  attached daemon exited with status 3; starting it again pid=\d+ "
            rf"again_ms={again_ms} "
        )


def test_a_reload_ends_it_with_its_signal_and_starts_it_again(
    project: Project, daemon: DaemonFactory, program: Path
) -> None:
    running = start(
        project,
        daemon,
        f"attach-daemon2 = cmd={program} one,stopsignal=2",
        f"attach-daemon2 = cmd={program} two,reloadsignal=2",
        # It goes on at its reload signal: it has to be killed.
        f"attach-daemon2 = cmd=exec {program} three,reloadsignal=10",
    )
    for name in ("one", "two", "three"):
        running.wait_log(f"{name} runs")
    mark = running.mark()
    running.reload()
    running.wait_log("one got INT", since=mark)
    running.wait_log("two got INT", since=mark)
    running.wait_log("three got USR1", since=mark)
    running.wait_log("attached daemon does not end: killing it", since=mark)
    for name in ("one", "two", "three"):
        running.wait_log(f"{name} runs", since=mark)
    assert running.stop() == 0
    for line in ("one got INT", "two got TERM", "three got TERM"):
        assert line in running.log[mark:]


def test_a_reload_that_is_given_up_leaves_it_alone(
    project: Project, daemon: DaemonFactory, program: Path
) -> None:
    running = start(project, daemon, f"attach-daemon = {program} one")
    running.wait_log("one runs")
    project.write("tasks.py", "import nowhere\n")
    running.send(signal.SIGHUP)
    running.wait_log("reload given up")
    assert running.stop() == 0
    assert len([line for line in running.log if line.startswith("one runs")]) == 1


def test_touching_its_file_restarts_it(
    project: Project, daemon: DaemonFactory, program: Path
) -> None:
    touched = project.write("touched", "")
    running = start(
        project,
        daemon,
        f"attach-daemon2 = cmd={program} one,touch={touched}",
        f"attach-daemon2 = cmd=exec {program} two,reloadsignal=10,touch=/nowhere;{touched}",
    )
    running.wait_log("one runs")
    running.wait_log("two runs")
    mark = running.mark()
    os.utime(touched, (1, 1))
    running.wait_log(f"since {touched} was touched", since=mark)
    running.wait_log("one runs", since=mark)
    running.wait_log("two got USR1", since=mark)
    assert running.stop() == 0
    assert len([line for line in running.log if line.startswith("two runs")]) == 1


def test_it_outlives_the_tasks_of_a_stop(
    project: Project, daemon: DaemonFactory, program: Path
) -> None:
    running = start(project, daemon, f"attach-daemon = {program} one")
    running.wait_log("one runs")
    running.stop()
    lines = running.log
    left = max(n for n, line in enumerate(lines) if "worker left" in line or "stopping:" in line)
    (asked,) = [n for n, line in enumerate(lines) if "stopping attached daemon" in line]
    assert left < asked
    assert "one got TERM" in lines


def test_one_that_does_not_end_is_killed(project: Project, daemon: DaemonFactory) -> None:
    running = start(
        project,
        daemon,
        "attach-daemon = trap '' TERM; echo deaf; while :; do sleep 0.1; done",
    )
    running.wait_log("^deaf$")
    began = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - began > 5
    running.wait_log("attached daemon does not end: killing it")


def test_the_daemon_stops_with_one_that_controls_it(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, "attach-control-daemon = sleep 0.5", ready=False)
    running.wait_log("stopping, since it controls this one")
    assert running.wait_exit() == 0


def test_one_in_the_background_is_known_by_its_pidfile_and_stays(
    project: Project, daemon: DaemonFactory
) -> None:
    background = project.write("background", BACKGROUND)
    background.chmod(0o755)
    pidfile = project.root / "run" / "it.pid"
    pidfile.parent.mkdir()
    line = f"smart-attach-daemon = {pidfile} {background} {pidfile}"
    running = start(project, daemon, line)
    wait_present(pidfile.parent, "it.pid")
    pid = int(pidfile.read_text())
    running.wait_log(rf"attached daemon runs pid={pid} ")
    # When it ends, it is started again.
    mark = running.mark()
    end(pidfile)
    running.wait_log(r"attached daemon ended; starting it again", since=mark)
    pid = int(running.wait_log(r"attached daemon runs pid=(\d+)", since=mark)[1])
    assert pid == int(pidfile.read_text())
    # A reload and a stop leave it alone, and the next daemon finds it.
    running.reload()
    assert running.stop() == 0
    again = start(project, daemon, line)
    again.wait_log(rf"attached daemon runs pid={pid} ")
    assert again.stop() == 0
    assert not [line for line in again.log if "attached daemon started" in line]
    end(pidfile)


def test_one_in_the_foreground_has_its_pidfile_written(
    project: Project, daemon: DaemonFactory, program: Path
) -> None:
    pidfile = project.root / "run" / "it.pid"
    pidfile.parent.mkdir()
    line = f"smart-attach-daemon2 = {pidfile} exec {program} one"
    running = start(project, daemon, line)
    pid = int(running.wait_log(r"one runs pid=(\d+)")[1])
    wait_present(pidfile.parent, "it.pid")
    assert int(pidfile.read_text()) == pid
    assert running.stop() == 0
    again = start(project, daemon, line)
    again.wait_log(rf"attached daemon runs pid={pid} ")
    assert again.stop() == 0
    end(pidfile)


@pytest.mark.skipif(os.getuid() != 0, reason="not run: only root may take on another user")
def test_it_runs_as_another_user(project: Project, daemon: DaemonFactory) -> None:
    running = start(
        project,
        daemon,
        "attach-daemon2 = cmd=echo as $(id -u) $(id -g); sleep 100,uid=12345,gid=54321,chdir=/",
    )
    running.wait_log("^as 12345 54321$")


def test_programs_need_no_spool_and_no_application(
    project: Project, daemon: DaemonFactory, program: Path
) -> None:
    running = daemon("--attach-daemon", f"{program} one")
    running.wait_log("one runs")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("cron = */5 * * * * true", "minute is `*/5`, which is no number; write -1 for any"),
        ("cron = 1 2 3 4 true", "week is `true`, which is no number"),
        ("cron = 60 -1 -1 -1 -1 true", "minute is 60; give 0 to 59, -1 or -N"),
        ("unique-cron = -1 -1 0 -1 -1 true", "day is 0; give 1 to 31"),
        ("cron = -1 -1 -1 -1 -1", "the command is missing"),
        ("cron2 = minutes=1 true", "`minutes` is no part of a cron"),
        ("cron2 = minute=1, hour=2 true", "a blank may not follow a comma"),
        ("cron2 = minute=1", "the command is missing"),
        ("attach-daemon =", "the command is missing"),
        ("attach-daemon2 = pidfile=/x", "there is no command"),
        ("attach-daemon2 = cmd=true,bar=1", "`bar` is no part of it"),
        ("attach-daemon2 = cmd=echo a,b", "`b` is not of the form key=value"),
        ("attach-daemon2 = cmd=true,stopsignal=TERM", "stopsignal is `TERM`, which is no number"),
        ("smart-attach-daemon = /x.pid", "write `PIDFILE command`"),
        ("timer = 3", "write the number of a signal"),
        ("timer = 256 1", "write the number of a signal"),
        ("rbtimer = 1 0", "write the number of a signal"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    project: Project, daemon: DaemonFactory, line: str, problem: str
) -> None:
    running = start(project, daemon, line, ready=False)
    assert running.wait_exit() == 2
    assert f"app.ini:4: `{line.split(' ', 1)[0]} = " in running.log[-1]
    assert problem in running.log[-1]


def test_timers_of_the_configuration_raise_signals(project: Project, daemon: DaemonFactory) -> None:
    project.write(
        "clock.py",
        "import uwsgi\nfrom reporting import report\n"
        "uwsgi.register_signal(7, '', lambda n: report('seven', number=n))\n"
        "uwsgi.register_signal(8, '', lambda n: report('eight', number=n))\n",
    )
    running = daemon("--import", "clock", "--timer", "7 0.2", "--rbtimer", "8 0.2")
    assert len(project.events.collect(3, "seven")) == 3
    assert len(project.events.collect(3, "eight")) == 3
    # They start over with a reload, and are not there twice.
    mark = running.mark()
    running.send(signal.SIGHUP)
    running.wait_log("application imported", since=mark)
    assert len(project.events.collect(3, "seven")) == 3
