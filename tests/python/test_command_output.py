"""What the commands print, as transcripts of real spools: words change on purpose or not at all."""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest
from factory import DaemonFactory
from harness import UNSPOOL, Project
from snapshots import masked
from spooling import submit
from syrupy.assertion import SnapshotAssertion

MODULE = """
    from uwsgidecorators import spool, timer
    from reporting import pause, report

    @spool
    def send(args):
        report("send")

    @spool
    def charge(args):
        print("asking the bank")
        raise ValueError("card declined")

    @spool
    def hold(args):
        report("hold")
        pause("hold")

    @timer(3600, target="spooler")
    def hourly(signal):
        pass
"""


class Transcript:
    """Commands as they are typed, with what they print and their status."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.text = ""

    def type(self, line: str, *more: object) -> None:
        """Runs `unspool` with these words; tasks are given behind them."""
        words = [*shlex.split(line), *map(str, more)]
        done = self.project.unspool(*words, check=False)
        self.text += f"$ unspool {shlex.join(words)}\n{done.stdout}"
        self.text += "".join(f"! {said}\n" for said in done.stderr.splitlines())
        self.text += f"[{done.returncode}]\n" if done.returncode else ""

    def masked(self) -> str:
        return masked(self.project, self.text)


@pytest.mark.parametrize(
    "words",
    [
        "why TASK", "show TASK", "show --json TASK", "ls", "ls --json", "stats", "stats --json",
        "top --once", "logs --config app.ini", "fsck", "doctor", "adopt",
        "pause --list", "completions bash", "schedule ls --config app.ini", "--help", "--version",
        "run --help", "why --help", "config --help", "config app.ini", "config --json app.ini",
        "init --print", "init --print --json",
    ],
)  # fmt: skip
def test_output_that_is_lost_is_an_error(project: Project, words: str) -> None:
    project.write(
        "app.ini",
        f"[uwsgi]\nspooler = {project.spool}\ncron = 1 2 -1 -1 -1 true\nlogto = app.log\n",
    )
    project.write("app.log", "a line\n")
    task = submit(project, "send")
    project.unspool("pause", "--why", "a test")
    command = [str(UNSPOOL), *words.replace("TASK", str(task)).split()]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, env=project.producer_env, cwd=project.root, stdout=full,
            stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1 and "No space left on device" in done.stderr, done.stderr
    # Whoever reads the output may go.
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command, env=project.producer_env, cwd=project.root, stdout=writer,
        stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert "roken pipe" not in done.stderr and "annot" not in done.stderr, done.stderr


def test_without_a_daemon(project: Project, snapshot: SnapshotAssertion) -> None:
    said = Transcript(project)
    task = submit(project, "send", to="ada@example.org", api_key="sesame")
    said.type("why", task)
    said.type("why --json nothing-of-the-kind")
    said.type("mv --priority 5", task)
    task = project.spool / "5" / task.name
    said.type("mv --delay 2h", task)
    said.type("edit", task, "to=grace@example.org")
    said.type("why", task)
    said.type("retry", task)
    said.type("pause --func send --why 'the mail server moves'")
    said.type("pause --list")
    said.type("why", task)
    said.type("ls --state paused")
    said.type("drain --empty")
    said.type("resume --priority 7")
    said.type("resume --func send")
    said.type("cancel", task)
    said.type("cancel", task)
    said.type("retry", task)
    said.type("retry --all")
    said.type("purge --dead")
    said.type("purge --pending --dry-run")
    said.type("fsck --spooler", project.spool)
    said.type("schedule ls")
    said.type("show", task)
    said.type("replay", task)
    said.type("logs", task)
    said.type("ls --older yesterday")
    assert said.masked() == snapshot


def test_with_a_daemon(
    project: Project, daemon: DaemonFactory, snapshot: SnapshotAssertion
) -> None:
    project.write("tasks.py", MODULE)
    options = ("--spooler-import", "tasks", "--spooler-frequency", "3600")
    running = daemon("--spooler", project.spool, *options)
    said = Transcript(project)
    gate = project.gate("hold")
    held = submit(project, "hold")
    project.events.wait("hold")
    said.type("why", held)
    said.type("mv --priority 5", held)
    said.type("edit", held, "a=b")
    said.type("retry", held)
    waiting = submit(project, "send")
    running.wait_log("spool scanned")
    said.type("pause --why 'an upgrade'")
    said.type("why", waiting)
    gate.release()
    said.type("drain --timeout 20")
    said.type("resume")
    project.events.wait("send")
    failed = submit(project, "charge", "--max-attempts", "1", amount=7)
    running.wait_log("task given up")
    said.type("why", failed.name)
    said.type("retry --dry-run", failed.name)
    said.type("schedule ls")
    said.type("schedule pause hourly --why 'not now'")
    said.type("schedule resume hourly")
    said.type("purge --dead --yes")
    said.type("stats")
    assert said.masked() == snapshot
