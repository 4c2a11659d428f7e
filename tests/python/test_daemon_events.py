"""Events: each line of the log as an object of JSON, with names and units that programs rely on."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from factory import DaemonFactory
from harness import Daemon, Project
from spooling import submit

TASKS = """
    import os
    import signal
    import sys

    import uwsgi
    from uwsgidecorators import spool, spoolraw
    from reporting import report

    @spool
    def works(arguments):
        print("hello\\tfrom a task", flush=True)
        report("works")

    @spool
    def fails(arguments):
        raise ValueError("no such order")

    @spool
    def dies(arguments):
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()

    @spoolraw
    def again(arguments):
        return uwsgi.SPOOL_RETRY
"""

JSON = "--log-format=json"


def start(project: Project, daemon: DaemonFactory, *options: str, level: str = "") -> Daemon:
    project.write("tasks.py", TASKS)
    env = {"UNSPOOL_LOG": level} if level else {}
    return daemon("--spooler", project.spool, "--spooler-import", "tasks", *options, env=env)


def event(daemon: Daemon, name: str) -> dict[str, Any]:
    """The first event of a kind."""
    found = daemon.wait_log(rf'"event":"{name}"')
    line = json.loads(found.string)
    assert isinstance(line, dict)
    return line


def test_a_task_that_works_is_told_of_from_end_to_end(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, JSON, level="trace")
    before = time.time()
    path = submit(project, "works", "--priority", "7", secret="hunter2")
    done = event(running, "task.finished")
    assert done["task"] == f"7/{path.name}"
    assert (done["priority"], done["function"], done["attempt"]) == ("7", "works", 1)
    assert done["level"] == "info" and done["message"] == "task done"
    assert len(done["id"]) == 32
    assert done["worker"] in running.workers
    assert 0 <= done["duration_s"] < 60
    assert before - 1 < done["unix"] < time.time() + 1
    moment = datetime.fromisoformat(done["time"])
    assert moment.tzinfo is not None
    assert moment.timestamp() == pytest.approx(done["unix"], abs=1e-3)
    for name in ("task.seen", "task.claimed", "task.handed"):
        told = event(running, name)
        assert told["task"] == done["task"] and told["level"] == "trace", name
        assert told.get("id", done["id"]) == done["id"]
    assert event(running, "worker.started")["worker"] == done["worker"]
    assert event(running, "worker.ready")["worker"] == done["worker"]
    printed = event(running, "output")
    assert printed["message"] == "hello\tfrom a task"
    assert running.stop() == 0
    lines = [json.loads(line) for line in running.log]
    assert [line["event"] for line in lines if line.get("event", "").startswith("daemon.")] == [
        "daemon.ready",
        "daemon.stopping",
        "daemon.stopped",
    ]
    assert "hunter2" not in "".join(running.log)


def test_what_happens_often_is_not_told_unless_asked_for(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, JSON)
    submit(project, "works")
    event(running, "task.finished")
    names = {json.loads(line).get("event") for line in running.log}
    assert not names & {"task.seen", "task.claimed", "task.handed", "worker.started"}


def test_failures_tell_attempt_error_and_traceback(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon, JSON, "--spooler-max-attempts=2", "--spooler-frequency=1")
    path = submit(project, "fails", order=5)
    failed = event(running, "task.failed")
    assert (failed["attempt"], failed["error"]) == (1, "ValueError: no such order")
    assert failed["detail"].startswith("Traceback") and failed["again_s"] > 0
    buried = event(running, "task.buried")
    assert buried["task"] == path.name and buried["id"] == failed["id"]
    assert Path(buried["moved_to"]).parent.name == "dead"
    assert "failed" in buried["error"]


def test_a_worker_that_dies_is_told_of_with_its_cause(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, JSON)
    submit(project, "dies")
    failed = event(running, "task.failed")
    assert "SIGKILL" in failed["error"] or "signal 9" in failed["error"]
    died = event(running, "worker.died")
    assert died["worker"] == failed["worker"]
    assert died["cause"] in died["message"]
    submit(project, "again")
    assert event(running, "task.retried")["function"] == "again"


def test_the_option_of_a_file_says_the_same(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", TASKS)
    log = project.root / "d.log"
    ini = project.write(
        "app.ini",
        f"""
        [uwsgi]
        spooler = {project.spool}
        spooler-import = tasks
        spooler-log-format = json
        log-format = %(method) %(uri)
        logto = {log}
        """,
    )
    running = daemon(ini, ready=False)
    submit(project, "works")
    project.wait_empty()
    running.stop()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"output", "task.finished"} <= {line.get("event") for line in lines}
    shown = project.unspool("config", ini, "--json").stdout
    assert '"json"' in shown


def test_people_see_the_lines_that_they_know(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    path = submit(project, "works")
    line = running.wait_log("task done").string
    told = rf"task done task={path.name} function=works pid="
    assert told in line and "event" not in line
    # The end of its id, which every command takes.
    assert len(line.rpartition(" id=")[2].strip()) == 8
