"""`unspool schedule`: timers and crons are listed, fired, paused and resumed."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from everybody import USER, root_only
from factory import DaemonFactory
from harness import UNSPOOL, Daemon, Project
from steering import DONE, FAILED, NOTHING, USAGE, complaint

CLOCK = """
    import uwsgi
    from uwsgidecorators import cron, mstimer, timer
    from reporting import report

    @mstimer(100)
    def tick(number):
        report("tick", daemon=uwsgi.masterpid())

    @timer(3600)
    def hourly(number):
        report("hourly")

    @cron(0, 3, -1, -1, 0)
    def weekly(number):
        report("weekly")
"""


@pytest.fixture
def app(project: Project) -> Path:
    """A configuration with timers and crons of both kinds."""
    project.write("clock.py", CLOCK)
    return project.write(
        "app.ini",
        f"""
        [uwsgi]
        pythonpath = {project.root}
        import = clock
        spooler = {project.spool}
        cron = 30 4 -1 -1 -1 echo from the command
        """,
    )


def start(daemon: DaemonFactory, app: Path) -> Daemon:
    running = daemon("--ini", app)
    running.wait_log("this daemon fires|another daemon of this configuration fires")
    return running


def schedule(project: Project, *arguments: str | Path, status: int = DONE) -> list[str]:
    done = project.unspool("schedule", *arguments, check=False)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done.stdout.splitlines()


def entries(
    project: Project, *arguments: str | Path, status: int = DONE
) -> dict[str, dict[str, Any]]:
    lines = schedule(project, "ls", "--json", *arguments, status=status)
    rows = [json.loads(line) for line in lines]
    return {row["name"]: row for row in rows}


def test_all_are_listed_with_their_times(
    project: Project, daemon: DaemonFactory, app: Path
) -> None:
    running = start(daemon, app)
    project.events.wait("tick")
    found = entries(project)
    assert set(found) == {"clock.tick", "clock.hourly", "clock.weekly", "echo from the command"}
    tick, hourly, weekly = (found[f"clock.{name}"] for name in ("tick", "hourly", "weekly"))
    assert tick["every_s"] == 0.1 and tick["runs"] > 0 and time.time() - tick["last"] < 60
    assert 3500 < hourly["next"] - time.time() <= 3600 and hourly["last"] is None
    assert time.strftime("%H:%M %w", time.localtime(weekly["next"])) == "03:00 0"
    assert 0 < weekly["next"] - time.time() <= 8 * 86400
    command = found["echo from the command"]
    assert (command["kind"], command["when"]) == ("command", [30, 4, -1, -1, -1])
    assert time.strftime("%H:%M", time.localtime(command["next"])) == "04:30"
    assert (command["daemon"], command["fires_here"]) == (running.pid, True)
    lines = schedule(project, "ls")
    assert lines[0].split() == ["ID", "KIND", "WHEN", "NEXT", "LAST", "NAME", "STATE"]
    assert any("0 3 * * 0" in line and line.endswith("clock.weekly") for line in lines)


def test_one_fires_now(project: Project, daemon: DaemonFactory, app: Path) -> None:
    running = start(daemon, app)
    assert schedule(project, "run", "hourly", "clock.weekly", "echo from the command")
    project.events.wait("hourly")
    project.events.wait("weekly")
    running.wait_log("^from the command$")
    found = entries(project)
    assert [found[name]["runs"] for name in ("clock.hourly", "clock.weekly")] == [1, 1]
    said = complaint(project, "schedule", "run", "nobody", status=NOTHING)
    assert "no timer and no cron `nobody`" in said


def test_what_is_paused_does_not_fire_until_it_is_resumed(
    project: Project, daemon: DaemonFactory, app: Path
) -> None:
    running = start(daemon, app)
    project.events.wait("tick")
    short = entries(project)["clock.tick"]["id"][:5]
    schedule(project, "pause", short, "weekly", "--why", "the moon is full")
    running.wait_log("paused: it does not fire name=.?clock.tick")
    count = len(project.events.history)
    # A second handler ends behind whatever was raised before.
    schedule(project, "run", "hourly")
    project.events.wait("hourly")
    paused = entries(project)["clock.tick"]["paused"]
    assert paused["why"] == "the moon is full" and paused["by"]
    assert any(
        "paused by" in line and line.endswith(": the moon is full")
        for line in schedule(project, "ls")
    )
    # Also after a restart.
    running.stop()
    again = start(daemon, app)
    schedule(project, "run", "weekly")
    project.events.wait("weekly")
    ticks = [event for event in project.events.history[count:] if event.name == "tick"]
    assert len(ticks) <= 2 and all(event["daemon"] == running.pid for event in ticks)
    (line,) = schedule(project, "resume", "--json", "tick")
    told = json.loads(line)
    assert (told["given"], told["name"], told["became"]) == ("tick", "clock.tick", "resumed")
    again.wait_log("resumed: it fires again")
    project.events.wait(lambda event: event.name == "tick" and event["daemon"] == again.pid)
    assert entries(project)["clock.tick"]["paused"] is None
    assert entries(project)["clock.weekly"]["paused"]


def test_a_timer_of_a_process_stays_paused_after_a_restart(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write(
        "tasks.py",
        """
        import uwsgi
        from uwsgidecorators import postfork
        from reporting import report

        def own(number):
            report("own", daemon=uwsgi.masterpid())

        @postfork
        def begin():
            uwsgi.register_signal(9, "", own)
            uwsgi.add_ms_timer(9, 50)
            uwsgi.register_signal(10, "", lambda number: report("beat"))
            uwsgi.add_ms_timer(10, 50)
        """,
    )
    options = ("--spooler", project.spool, "--import", "tasks")
    running = daemon(*options)
    project.events.wait("own")
    name = "signal 9"
    assert entries(project)[name]["own"]
    schedule(project, "pause", entries(project)[name]["id"])
    running.stop()
    again = daemon(*options)
    project.events.collect(20, "beat")
    history = project.events.history
    assert not [event for event in history if event.name == "own" and event["daemon"] == again.pid]
    assert entries(project)[name]["paused"]
    schedule(project, "resume", entries(project)[name]["id"])
    project.events.wait(lambda event: event.name == "own" and event["daemon"] == again.pid)


def test_the_one_that_fires_obeys_whoever_was_asked(
    project: Project, daemon: DaemonFactory, app: Path
) -> None:
    daemons = [start(daemon, app) for _ in range(2)]
    project.events.wait("tick")
    schedule(project, "pause", "tick")
    for running in daemons:
        running.wait_log("paused: it does not fire")
    schedule(project, "resume", "tick")
    for running in daemons:
        running.wait_log("resumed: it fires again")


def test_without_a_daemon_the_configuration_tells(
    project: Project, daemon: DaemonFactory, app: Path
) -> None:
    start(daemon, app).stop()
    assert set(entries(project, "--config", app, status=FAILED)) == {"echo from the command"}
    assert "start it with `unspool run`" in complaint(project, "schedule", "ls", status=FAILED)
    said = complaint(project, "schedule", "run", "--config", app, "echo from the command", status=1)
    assert "one is needed to fire" in said
    schedule(project, "pause", "--config", app, "echo from the command", "--why", "quiet")
    assert (
        entries(project, "--config", app, status=FAILED)["echo from the command"]["paused"]["why"]
        == "quiet"
    )
    running = start(daemon, app)
    running.wait_log("paused: it does not fire")
    assert entries(project)["echo from the command"]["paused"]["why"] == "quiet"
    # Who is paused when its daemon goes is known by that alone.
    schedule(project, "pause", "hourly")
    running.stop()
    assert set(entries(project, "--config", app, status=FAILED)) == {
        "echo from the command",
        "clock.hourly",
    }
    schedule(project, "resume", "--config", app, "hourly")
    assert set(entries(project, "--config", app, status=FAILED)) == {"echo from the command"}


def test_a_name_of_two_is_refused(project: Project, daemon: DaemonFactory) -> None:
    project.write("one.py", "from uwsgidecorators import timer\n@timer(50)\ndef same(n): pass\n")
    project.write("two.py", "from uwsgidecorators import timer\n@timer(50)\ndef same(n): pass\n")
    daemon("--spooler", project.spool, "--import", "one", "--import", "two")
    said = complaint(project, "schedule", "pause", "same", status=USAGE)
    assert "`one.same`" in said and "`two.same`" in said
    assert len(schedule(project, "pause", "one.same")) == 1
    assert "Usage" in complaint(project, "schedule", status=USAGE)


def test_other_options_undo_no_pause(project: Project, daemon: DaemonFactory) -> None:
    """Nor another folder from which the daemon is started, where no file stands for both."""
    project.write("clock.py", CLOCK)
    options = ("--spooler", project.spool, "--pythonpath", project.root, "--import", "clock")
    running = daemon(*options)
    project.events.wait("tick")
    schedule(project, "pause", "tick")
    running.wait_log("paused: it does not fire")
    running.stop()
    elsewhere = project.root / "elsewhere"
    elsewhere.mkdir()
    more = daemon(*options, "--spooler-processes", "2", "--chdir", elsewhere)
    more.wait_log("paused: it does not fire")
    schedule(project, "run", "hourly")
    project.events.wait("hourly")
    ticks = [event for event in project.events.history if event.name == "tick"]
    assert all(event["daemon"] == running.pid for event in ticks)
    assert entries(project)["clock.tick"]["paused"]


def test_one_timer_of_two_daemons_is_one(project: Project, daemon: DaemonFactory) -> None:
    """Of other options, and of another file."""
    project.write("clock.py", CLOCK)
    options = ("--spooler", project.spool, "--pythonpath", project.root, "--import", "clock")
    ini = project.write(
        "one.ini",
        f"[uwsgi]\nspooler = {project.spool}\nimport = clock\npythonpath = {project.root}\n",
    )
    daemons = [daemon(*options), daemon(*options, "--spooler-processes", "2"), daemon("--ini", ini)]
    for running in daemons:
        running.wait_log("this daemon fires")
    found = entries(project)["clock.tick"]["id"]
    assert len(schedule(project, "pause", found)) == 1
    for running in daemons:
        running.wait_log("paused: it does not fire")
    assert len(schedule(project, "run", "hourly")) == 1
    project.events.wait("hourly")
    assert len(schedule(project, "resume", "tick")) == 1
    for running in daemons:
        running.wait_log("resumed: it fires again")
    assert len([event for event in project.events.history if event.name == "hourly"]) == 1


def test_without_a_daemon_a_name_of_the_application_is_told_so(project: Project, app: Path) -> None:
    said = complaint(project, "schedule", "pause", "--config", app, "hourly", status=NOTHING)
    assert "no daemon runs" in said and "start it" in said


@root_only
def test_who_may_not_look_is_told_so(project: Project, daemon: DaemonFactory, app: Path) -> None:
    start(daemon, app)
    project.root.chmod(0o755)
    command = Path(shutil.copy(UNSPOOL, project.root / "unspool"))
    command.chmod(0o755)
    done = subprocess.run(
        [command, "schedule", "ls"],
        env=project.producer_env, user=USER, cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == FAILED and "cannot look for the daemons" in done.stderr, done
