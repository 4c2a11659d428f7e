"""Crons and attached daemons run in both systems as the same programs, from one ini file.

What differs (when a cron fires first, what becomes of one that runs at a stop) is in
docs/uwsgi-differences.md.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from both import Both, System
from harness import UNSPOOL, Daemon
from processes import ProcessHandle

SYSTEMS: list[System] = ["uwsgi", "unspool"]

PROGRAM = """#!/bin/sh
trap 'echo "$1 got TERM"; exit 0' TERM
trap 'echo "$1 got INT"; exit 0' INT
trap 'echo "$1 got USR1"' USR1
n=$(($(cat "$0.$1" 2> /dev/null || echo 0) + 1)); echo $n > "$0.$1"
input=$(readlink /proc/$$/fd/0)
echo "$1 runs as number $n pid=$$ in=$(pwd) colour=$COLOUR shape=$SHAPE in=$input"
while :; do sleep 0.05; done
"""


@pytest.fixture
def program(both: Both) -> Path:
    """A program that runs until it is told to end."""
    path = both.project.write("program", PROGRAM)
    path.chmod(0o755)
    return path


def start(both: Both, system: System, *lines: str) -> Daemon:
    (both.project.root / "home").mkdir(exist_ok=True)
    text = "\n".join(
        [
            "[uwsgi]",
            "spooler = spool",
            f"chdir = {both.project.root}/home",
            "env = COLOUR=dark red",
            "unenv = SHAPE",
            "log-master = false",
            *lines,
            "",
        ]
    )
    path = os.fspath(both.project.write("app.ini", text))
    env = {"SHAPE": "round"}
    if system == "uwsgi":
        return both._uwsgi("--ini", path, env=env)
    return both._start(UNSPOOL, "run", "--ini", path, env=env)


def stop(both: Both, daemon: Daemon) -> None:
    """A uWSGI that has only just started does not hear SIGTERM."""
    assert daemon.stop(signal.SIGINT) == 0


def wait_said(daemon: Daemon, pattern: str, timeout: float = 20) -> re.Match[str]:
    """What a program wrote to its standard output: unspool has it in its log, too."""
    if os.fspath(UNSPOOL) in daemon.arguments:
        return daemon.wait_log(pattern, timeout)
    return daemon.wait_output(pattern, timeout)


def said(daemon: Daemon, start: str) -> list[str]:
    return [line for line in (*daemon.log, *daemon.output) if line.startswith(start)]


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_attached_daemon_has_a_session_and_the_applications_surroundings(
    both: Both, program: Path, system: System
) -> None:
    running = start(both, system, f"attach-daemon = {program} one")
    home = both.project.root / "home"
    found = wait_said(
        running, rf"one runs as number 1 pid=(\d+) in={home} colour=dark red shape= in=/dev/null$"
    )
    pid = int(found[1])
    assert os.getsid(pid) == os.getpgid(pid) != os.getsid(running.pid)
    stop(both, running)
    assert said(running, "one got") == ["one got TERM"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_one_that_ends_is_started_again(both: Both, system: System) -> None:
    running = start(both, system, "attach-daemon = echo again >> ../times; exit 3")
    running.wait_log("^.*(throttling|again_ms=200).*$")
    stop(both, running)
    assert (both.project.root / "times").read_text().count("again") >= 2 - (system == "uwsgi")


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_reload_ends_it_with_its_signal_and_starts_it_again(
    both: Both, program: Path, system: System
) -> None:
    running = start(
        both,
        system,
        f"attach-daemon2 = cmd={program} one,stopsignal=2",
        f"attach-daemon2 = cmd=exec {program} two\\, too,reloadsignal=10",
    )
    wait_said(running, "one runs")
    wait_said(running, "two, runs")
    running.wait_log("spawned the uWSGI spooler|unspool is ready")
    running.send(signal.SIGHUP)
    wait_said(running, "one got INT")
    wait_said(running, "two, got USR1")
    running.wait_log("(?:daemon did not die in time|attached daemon does not end)")
    wait_said(running, "one runs as number 2")
    wait_said(running, "two, runs as number 2")
    stop(both, running)
    assert said(running, "two, got")[-1] == "two, got TERM"


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("option", ["smart-attach-daemon2", "attach-daemon2"])
def test_one_with_a_pidfile_stays_and_is_found_again(
    both: Both, program: Path, system: System, option: str
) -> None:
    pidfile = both.project.root / "it.pid"
    line = (
        f"smart-attach-daemon2 = {pidfile} exec {program} one"
        if option.startswith("smart")
        else f"attach-daemon2 = cmd=exec {program} one,pidfile={pidfile},daemonize=1"
    )
    first = start(both, system, line)
    pid = int(wait_said(first, r"one runs as number 1 pid=(\d+)")[1])
    first.wait_log("spawned the uWSGI spooler|unspool is ready")
    stop(both, first)
    assert int(pidfile.read_text()) == pid
    process = ProcessHandle(pid)
    second = start(both, system, line)
    second.wait_log(rf"(found valid/active pidfile|attached daemon runs).*\b{pid}\b")
    stop(both, second)
    assert said(second, "one runs") == []
    process.send(signal.SIGKILL)
    assert process.wait()
    process.close()


@pytest.mark.parametrize("system", SYSTEMS)
def test_one_that_goes_to_the_background_is_known_by_the_pidfile_it_writes(
    both: Both, system: System
) -> None:
    pidfile = both.project.root / "it.pid"
    script = both.project.write(
        "background",
        f"""#!/bin/sh
        setsid sh -c 'echo $$ > {pidfile}; while :; do sleep 0.1; done' > /dev/null 2>&1 &
        """,
    )
    script.chmod(0o755)
    running = start(both, system, f"smart-attach-daemon = {pidfile} {script}")
    found = running.wait_log(r"(?:new_pid: |attached daemon runs pid=)(\d+)")
    pid = int(found[1])
    assert int(pidfile.read_text()) == pid
    stop(both, running)
    process = ProcessHandle(pid)
    process.send(signal.SIGKILL)
    assert process.wait()
    process.close()


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_end_of_one_that_controls_ends_all(both: Both, system: System) -> None:
    running = start(both, system, "attach-control-daemon = sleep 1")
    assert running.wait_exit() == 0


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_cron_is_a_line_of_shell_in_a_session_of_its_own(both: Both, system: System) -> None:
    home = both.project.root / "home"
    running = start(
        both,
        system,
        "cron = -1 -1 -1  -1 -1   echo plain $COLOUR $SHAPE in=$(pwd) $$ && echo second >&2",
        "unique-cron = -1 -1 -1 -1 7 false; echo once a week",
        "cron2 = minute=-1,harakiri=1 echo long; sleep 300",
        "cron2 = month=2,day=30 echo never",
    )
    found = wait_said(running, rf"^plain dark red in={home} (\d+)$", timeout=62)
    running.wait_log("^second$")
    running.wait_log("(?i)harakiri.*sleep 300", timeout=20)
    running.wait_log(rf"(cron done|running with) pid.{found[1]}\b|exited after", timeout=20)
    stop(both, running)
    assert "never" not in running.log


@pytest.mark.parametrize("system", SYSTEMS)
def test_timers_of_the_configuration_raise_signals(both: Both, system: System) -> None:
    both.project.write(
        "clock.py",
        """
        import uwsgi
        from reporting import report

        for signal in (7, 8, 9, 10):
            uwsgi.register_signal(signal, "spooler", lambda number: report("tick", number=number))
        """,
    )
    lines = ("timer = 7 1", "signal-timer = 8 1", "rbtimer = 9 1", "signal-rbtimer = 10 1")
    running = start(both, system, f"pythonpath = {both.project.root}", "import = clock", *lines)
    missing = {7: 2, 8: 2, 9: 2, 10: 2}
    while any(count > 0 for count in missing.values()):
        missing[both.project.events.wait("tick")["number"]] -= 1
    stop(both, running)
