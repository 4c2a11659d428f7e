"""`unspool pause`, `resume` and `drain`: what is paused does not run, and nothing else waits."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from control import ask
from factory import DaemonFactory
from harness import UNSPOOL, Daemon, Project, wait_gone
from spooling import Producer, call, submit

OK, FAILED, USAGE, NOTHING = 0, 1, 2, 3

MODULE = """
    import os

    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def mark(args):
        report("mark", number=args.get("number"))

    @spool
    def other(args):
        report("other", number=args.get("number"))

    @spool
    def hold(args):
        report("hold", pid=os.getpid())
        pause("hold")
"""


def start(project: Project, daemon: DaemonFactory, *options: str) -> Daemon:
    project.write("tasks.py", MODULE)
    return daemon("--spooler", project.spool, "--spooler-import", "tasks", *options)


def status_of(project: Project) -> dict[str, Any]:
    answer = ask(project.spool, "status")["spool"]
    assert isinstance(answer, dict)
    return answer


def wait_paused(project: Project, count: int) -> dict[str, Any]:
    """Waits until so many due tasks are known to be paused."""
    deadline = time.monotonic() + 10
    while (said := status_of(project))["tasks"]["paused"] != count:
        assert time.monotonic() < deadline, said
    return said


def command(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return project.unspool(*arguments, check=False)


def test_a_paused_spool_runs_nothing_until_it_is_resumed(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon)
    done = project.unspool("pause", "--why", "the database moves")
    assert done.stdout == f"paused   the spool of {project.spool}\n"
    running.wait_log(r"paused .*the spool.*the database moves")
    before = time.time()
    submit(project, "mark", number=1)
    submit(project, "mark", "--priority", "5", number=0)
    said = wait_paused(project, 2)
    assert said["tasks"]["due"] == 0 and said["oldest_due_ms"] is None
    (pause,) = said["pauses"]
    assert (pause["scope"], pause["why"]) == ("spool", "the database moves")
    assert pause["by"].endswith(socket.gethostname()) and before - 60 < pause["at"] <= before
    done = project.unspool("resume")
    assert re.match(
        rf"resumed  the spool of {project.spool} \(was paused by .*moves\)\n", done.stdout
    )
    assert [event["number"] for event in project.events.collect(2, "mark")] == ["0", "1"]
    assert project.events.history == project.events.history[:2]


def test_it_holds_across_daemons_and_needs_none(project: Project, daemon: DaemonFactory) -> None:
    project.spool.mkdir(mode=0o700)
    task = submit(project, "mark")
    project.unspool("pause")
    running = start(project, daemon)
    wait_paused(project, 1)
    running.stop()
    running = start(project, daemon)
    wait_paused(project, 1)
    assert task.exists() and not project.events.history
    running.stop()
    project.unspool("resume")
    start(project, daemon)
    project.events.wait("mark")
    wait_gone(task)


def test_a_paused_priority_lets_all_others_run(project: Project, daemon: DaemonFactory) -> None:
    start(project, daemon)
    project.unspool("pause", "--priority", "5")
    project.unspool("pause", "--priority", ".")
    for number, options in enumerate([("--priority", "5"), (), ("--priority", "7")]):
        submit(project, "mark", *options, number=number)
    assert project.events.wait("mark")["number"] == "2"
    said = wait_paused(project, 2)
    depths = {depth["priority"]: depth["paused"] for depth in said["priorities"]}
    assert (depths["5"], depths[None]) == (1, 1)
    project.unspool("resume", "--priority", "5")
    assert project.events.wait("mark")["number"] == "0"
    project.unspool("resume", "--priority", ".")
    assert project.events.wait("mark")["number"] == "1"


def test_tasks_of_a_paused_function_starve_nobody(project: Project, daemon: DaemonFactory) -> None:
    project.spool.mkdir(mode=0o700)
    project.unspool("pause", "--func", "mark")
    with Producer(project) as producer:
        producer.many([call("mark", number=str(number)) for number in range(300)])
        last = producer.one("other")
    running = start(project, daemon)
    project.events.wait("other")
    wait_gone(last.path)
    wait_paused(project, 300)
    # A scan that meets them again changes nothing, and a new one is set aside too.
    submit(project, "mark", number=300)
    wait_paused(project, 301)
    # One that is cancelled is gone.
    task = submit(project, "mark", number=301)
    wait_paused(project, 302)
    project.unspool("cancel", task)
    wait_paused(project, 301)
    assert len(project.events.history) == 1
    project.unspool("resume", "--func", "mark")
    running.wait_log(r"resumed")
    ran = [int(event["number"]) for event in project.events.collect(301, "mark")]
    assert ran == list(range(301))


def test_what_waits_behind_a_running_task_is_taken_back(
    project: Project, daemon: DaemonFactory
) -> None:
    start(project, daemon)
    gate = project.gate("hold")
    submit(project, "hold")
    project.events.wait("hold")
    submit(project, "mark")
    project.unspool("pause")
    gate.release()
    said = wait_paused(project, 1)
    assert "mark" not in [event.name for event in project.events.history], said


def test_a_damaged_record_pauses_everything_and_is_said(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon)
    project.unspool("pause", "--func", "other")
    record = project.spool / ".unspool" / "paused"
    aside = project.spool / "aside"
    aside.write_bytes(record.read_bytes()[:-4])
    mark = running.mark()
    aside.rename(record)
    running.wait_log(r"no task runs.*paused` *, which says|no task runs.*damaged", since=mark)
    submit(project, "mark")
    assert "damaged" in wait_paused(project, 1)["pauses_failed"]
    for arguments in (("pause",), ("resume",), ("pause", "--list")):
        done = command(project, *arguments)
        assert done.returncode == FAILED and "resume --all" in done.stderr
    done = command(project, "fsck")
    assert done.returncode == FAILED and "pauses" in done.stdout, done.stdout
    done = project.unspool("resume", "--all")
    assert "paused.damaged" in done.stdout
    project.events.wait("mark")
    assert command(project, "fsck").returncode == OK


def test_a_record_that_is_deleted_by_hand_pauses_nothing(
    project: Project, daemon: DaemonFactory
) -> None:
    start(project, daemon)
    project.unspool("pause")
    submit(project, "mark")
    wait_paused(project, 1)
    (project.spool / ".unspool" / "paused").unlink()
    project.events.wait("mark")


def test_what_root_pauses_the_spools_user_can_read(project: Project) -> None:
    if os.geteuid() != 0:
        pytest.skip("not run: takes root")
    project.unspool("spool", "mark")
    for path in (project.spool, project.spool / ".unspool"):
        os.chown(path, 65534, 65534)
    project.unspool("pause")
    for name in ("paused", "pause-lock"):
        assert (project.spool / ".unspool" / name).stat().st_uid == 65534


def test_pauses_are_listed_and_noted(project: Project) -> None:
    project.spool.mkdir(mode=0o700)
    assert command(project, "pause", "--list").returncode == NOTHING
    project.unspool("pause", "--func", "mark", "--why", "50% fail\nsince noon")
    project.unspool("pause", "--priority", "5")
    rows = [
        json.loads(line)
        for line in project.unspool("pause", "--list", "--json").stdout.splitlines()
    ]
    assert [(row["scope"], row["name"], row["why"]) for row in rows] == [
        ("function", "mark", "50% fail\nsince noon"),
        ("priority", "5", ""),
    ]
    assert {row["spool"] for row in rows} == {str(project.spool)}
    noted = command(project, "fsck").stdout
    assert "function mark is paused by" in noted and "priority 5 is paused by" in noted
    again = json.loads(project.unspool("pause", "--func", "mark", "--json").stdout)
    assert again["replaces"]["why"] == "50% fail\nsince noon"
    left = project.unspool("resume", "--priority", "5").stdout
    assert "function mark of" in left and "still is" in left
    assert command(project, "resume", "--priority", "5").returncode == NOTHING
    assert project.unspool("resume", "--all").stdout.startswith("resumed  function mark")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pause", "--priority", "dead"], "no priority"),
        (["pause", "--why", "x" * 501], "501 characters"),
        (["pause", "--func", ""], "no name of a function"),
        (["pause", "--func", "f", "--priority", "5"], "cannot be used with"),
        (["drain", "--timeout=-1"], "timeout is -1"),
        (["drain", "--timeout=nan"], "timeout is NaN"),
    ],
)
def test_what_makes_no_sense_is_said(project: Project, arguments: list[str], says: str) -> None:
    project.spool.mkdir(mode=0o700)
    done = command(project, *arguments)
    assert (done.returncode, says in done.stderr) == (USAGE, True), done.stderr
    assert not (project.spool / ".unspool" / "paused").exists()


def popen(project: Project, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [UNSPOOL, *arguments],
        cwd=project.root,
        env=project.producer_env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_drain_ends_when_nothing_runs(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    gate = project.gate("hold")
    submit(project, "hold")
    worker = project.events.wait("hold")["pid"]
    done = command(project, "drain", "--timeout", "0.5", "--why", "an upgrade")
    assert done.returncode == FAILED
    assert "1 task is running" in done.stderr and f"process {worker} has run hold" in done.stderr
    draining = popen(project, "drain")
    submit(project, "mark")
    gate.release()
    out, err = draining.communicate(timeout=30)
    assert (draining.returncode, err) == (OK, "")
    assert out == f"drained  nothing of {project.spool} runs; `unspool resume` lets it go on\n"
    # Whoever paused it first has a reason that stays.
    (pause,) = wait_paused(project, 1)["pauses"]
    assert pause["why"] == "an upgrade"
    assert running.running
    project.unspool("resume")
    project.events.wait("mark")


def test_a_drain_sees_what_no_daemon_has(project: Project) -> None:
    project.spool.mkdir(mode=0o700)
    task = submit(project, "mark")
    with task.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert "1 task is running" in command(project, "drain", "--timeout", "0").stderr
    done = json.loads(project.unspool("drain", "--json").stdout)
    assert (done["daemons"], done["spool"]) == (0, str(project.spool))


def test_waiting_for_an_empty_spool(project: Project, daemon: DaemonFactory) -> None:
    project.spool.mkdir(mode=0o700)
    task = submit(project, "hold")
    done = command(project, "drain", "--empty")
    assert done.returncode == FAILED and "no daemon runs" in done.stderr
    gate = project.gate("hold")
    start(project, daemon)
    project.events.wait("hold")
    submit(project, "mark", "--delay", "500")
    project.unspool("pause", "--func", "other")
    submit(project, "other")
    waiting = popen(project, "drain", "--empty")
    gate.release()
    out, err = waiting.communicate(timeout=30)
    assert waiting.returncode == OK, err
    assert out.startswith("empty    ") and "1 task is left that somebody has paused" in out
    assert not Path(task).exists()
    project.unspool("pause", "--why", "me")
    done = command(project, "drain", "--empty")
    assert done.returncode == FAILED and "is paused by" in done.stderr


def test_what_is_paused_is_seen(project: Project) -> None:
    task = submit(project, "mark", number=1)
    later = submit(project, "mark", "--delay", "3600")
    submit(project, "other")
    project.unspool("pause", "--func", "mark", "--why", "the mail server")
    listed = project.unspool("ls", "--json").stdout.splitlines()
    states = {line["path"]: line["state"] for line in map(json.loads, listed)}
    assert (states.pop(str(task)), states.pop(str(later))) == ("paused", "delayed")
    assert set(states.values()) == {"due"}
    paused = project.unspool("ls", "--state", "paused").stdout
    assert "the mail server" in paused and len(paused.splitlines()) == 2
    shown = project.unspool("show", task).stdout
    assert re.search(r"function mark is paused by \S+ at .*: the mail server", shown)
    (pause,) = json.loads(project.unspool("show", "--json", later).stdout)["paused"]
    assert pause["name"] == "mark"
    assert "function mark is paused by" in project.unspool("stats").stdout
    (spool,) = json.loads(project.unspool("stats", "--json").stdout)["spools"]
    assert [pause["why"] for pause in spool["paused"]] == ["the mail server"]
    # Nothing runs of what is not known to be let go.
    (project.spool / ".unspool" / "paused").write_text("rubbish")
    done = command(project, "ls", "--state", "paused")
    assert done.returncode == FAILED and "is damaged" in done.stderr
    assert len(done.stdout.splitlines()) == 3


def test_json_stays_json_whatever_the_reason(project: Project) -> None:
    project.spool.mkdir(mode=0o700)
    reason = "\u05e2\u200f\n\x1b[2J\x9b"
    for words in (("pause", "--why", reason), ("pause", "--list"), ("resume",)):
        (line,) = project.unspool(*words, "--json").stdout.splitlines()
        assert json.loads(line)["why"] == reason
