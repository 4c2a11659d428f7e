"""The master FIFO: commands of one byte, from whoever may write to it."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import Daemon, Project
from spooling import submit

MODULE = """
    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def mark(args):
        report("mark")

    @spool
    def hold(args):
        report("hold")
        pause("hold")
"""


def start(project: Project, daemon: DaemonFactory, *options: str) -> tuple[Daemon, Path]:
    project.write("tasks.py", MODULE)
    path = project.root / "fifo"
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    return daemon(*spool, f"--master-fifo={path}", *options), path


def send(path: Path, commands: bytes) -> None:
    # Never waits: without a reader this is an error.
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        os.write(fd, commands)
    finally:
        os.close(fd)


@pytest.mark.parametrize("command", ["r", "R", "w", "W", "c"])
def test_a_reload(project: Project, daemon: DaemonFactory, command: str) -> None:
    running, path = start(project, daemon)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    mark = running.mark()
    send(path, command.encode() + b"\n")
    running.wait_reloaded(mark)
    running.wait_log(f"master FIFO: reload command={command}", since=mark)


def test_a_stop_lets_tasks_end(project: Project, daemon: DaemonFactory) -> None:
    gate = project.gate("hold")
    running, path = start(project, daemon, "--vacuum")
    submit(project, "hold")
    project.events.wait("hold")
    send(path, b"q")
    running.wait_log("stopping: running tasks may finish")
    gate.release()
    assert running.wait_exit() == 0
    assert project.tasks() == []
    assert not path.exists()


def test_a_stop_at_once_leaves_the_task_for_later(project: Project, daemon: DaemonFactory) -> None:
    project.gate("hold")
    running, path = start(project, daemon)
    submit(project, "hold")
    project.events.wait("hold")
    send(path, b"Q")
    assert running.wait_exit() == 0
    assert len(project.tasks()) == 1
    # Without `vacuum` it stays, and the next daemon takes its place.
    assert path.is_fifo()
    project.gate("hold").release()
    running, path = start(project, daemon)
    project.events.wait("hold")
    send(path, b"s")
    running.wait_log("state of the daemon .*generation=1")


def test_the_state(project: Project, daemon: DaemonFactory) -> None:
    running, path = start(project, daemon, "--spooler-processes=2")
    send(path, b"s")
    running.wait_log(
        rf"state of the daemon pid={running.pid} spools=1 workers=2 mules=0 generation=1 "
        r"zygote=\d+ importing=false stopping=false"
    )
    spool = re.escape(str(project.spool))
    running.wait_log(rf"state of the spool spool={spool} pending=0 .*done=0 failed=0 workers=2")


@pytest.mark.parametrize(
    ("commands", "line"),
    [
        ("l", "no log file to open anew"),
        ("L", "there is no log file to rotate"),
        ("P", "no pidfile is configured"),
        ("p", "no web workers to pause"),
        ("+-BCEfS", "the command has no effect"),
        ("7", "no FIFO is configured for this slot slot=7"),
        ("xyz", "no such command commands=xyz"),
    ],
)
def test_what_does_nothing_says_so(
    project: Project, daemon: DaemonFactory, commands: str, line: str
) -> None:
    running, path = start(project, daemon)
    send(path, commands.encode())
    running.wait_log(line)
    submit(project, "mark")
    project.events.wait("mark")


def test_a_flood_of_garbage_does_no_harm(project: Project, daemon: DaemonFactory) -> None:
    running, path = start(project, daemon)
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    mark = running.mark()
    try:
        written = 0
        while written < 1 << 20:
            try:
                written += os.write(fd, os.urandom(4096).translate(None, b"qQ0123456789rRwWc"))
            except BlockingIOError:
                # It is full, as whoever floods it finds it. The daemon goes on.
                break
        submit(project, "mark")
        project.events.wait("mark")
        assert running.running
    finally:
        # A writer that keeps it open does no harm either.
        submit(project, "mark")
        project.events.wait("mark")
        os.close(fd)
    assert running.stop() == 0
    assert len(running.log) - mark < 200


def test_slots(project: Project, daemon: DaemonFactory) -> None:
    other = project.root / "other"
    running, path = start(project, daemon, f"--master-fifo={other}")
    assert not other.exists()
    send(path, b"1")
    running.wait_log(r"master FIFO: this one is active now .*slot=1")
    send(other, b"s")
    running.wait_log("state of the daemon .*generation=1")
    # Nobody reads the first one any more, and a writer is told instead of waiting.
    with pytest.raises(FileNotFoundError):
        send(path, b"s")
    send(other, b"0")
    running.wait_log(r"master FIFO: this one is active now .*slot=0")
    send(path, b"r")
    running.wait_log("reloading the application")


def test_a_file_in_the_way_stops_the_start(project: Project, daemon: DaemonFactory) -> None:
    project.write("fifo", "mine")
    project.write("tasks.py", MODULE)
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    running = daemon(*spool, f"--master-fifo={project.root / 'fifo'}", ready=False)
    assert running.wait_exit() == 1
    assert "cannot make the master FIFO" in running.log[-1] and "in the way" in running.log[-1]
    assert (project.root / "fifo").read_text() == "mine"
