"""A daemon dies together with its workers: what ran counts, whatever the disk is like."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from factory import DaemonFactory
from faults import or_not_run
from harness import Argument, Daemon, Project, wait_gone
from processes import ProcessHandle
from spooling import QUICK_OR_HELD, Producer, attempts, hand_ahead, submit

from torture import full
from torture.filesystems import FileSystem
from torture.inject import need_strace, wait_traced

MODULE = """
    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def hold(args):
        report("hold", id=args["id"])
        if "gate" in args:
            pause(args["gate"])
        report("held", id=args["id"])
"""

CANNOT_NOTE = "cannot note what runs"


@pytest.fixture
def disk(request: pytest.FixtureRequest, project: Project) -> Iterator[FileSystem]:
    """A small file system of its own for the spool."""
    with or_not_run():
        made = FileSystem(*request.param)
    with contextlib.closing(made):
        project.spool = made.path / "spool"
        yield made


Doomed: TypeAlias = "Callable[..., Daemon]"


@pytest.fixture
def doomed(project: Project) -> Iterator[Doomed]:
    """Starts a daemon with one worker for each spool that the test kills."""
    started: list[Daemon] = []

    def begin(*options: Argument) -> Daemon:
        if not (project.root / "tasks.py").exists():
            project.write("tasks.py", MODULE)
        imported = ("--spooler-import", "tasks")
        started.append(project.daemon("--spooler", project.spool, *imported, *options))
        return started[-1].start().wait_ready()

    yield begin
    for daemon in started:
        daemon.close()


def start(project: Project, daemon: DaemonFactory, *options: str | Path) -> Daemon:
    imported = ("--spooler-import", "tasks", "--spooler-retry-delay", "1000")
    return daemon("--spooler", project.spool, *imported, *options)


def wait_lost(daemon: Daemon, path: Path) -> None:
    daemon.wait_log(rf"vanished while it ran task={path.name} ")


def notes(spool: Path) -> list[Path]:
    return sorted((spool / ".unspool" / "daemons").glob("*/running"))


def held(project: Project, **pairs: str) -> tuple[Path, int]:
    """A task that runs and waits, and its worker."""
    project.gate("hold")
    path = submit(project, "hold", gate="hold", **pairs)
    return path, project.events.wait(lambda e: e.name == "hold" and e["id"] == pairs["id"]).pid


def test_nothing_of_it_lies_in_memory_that_others_may_remove(
    project: Project, doomed: Doomed, daemon: DaemonFactory
) -> None:
    first = doomed()
    path, worker = held(project, id="0")
    for pid in (first.pid, worker):
        proc = Path(f"/proc/{pid}")
        opened = {os.readlink(fd) for fd in (proc / "fd").iterdir()}
        assert not [name for name in opened if name.startswith("/dev/shm")]
        assert "/dev/shm/" not in (proc / "maps").read_text()
    (name,) = os.listdir(project.spool / ".unspool" / "daemons")
    assert not [file for file in os.listdir("/dev/shm") if name in file]
    first.kill_all()
    wait_lost(start(project, daemon), path)
    assert attempts(path) == 1


def test_a_daemon_beside_it_counts_what_ran(
    project: Project, doomed: Doomed, daemon: DaemonFactory
) -> None:
    first = doomed()
    path, _ = held(project, id="0")
    # It meets the other one with its first scan, and what that runs is held by somebody.
    beside = start(project, daemon, "--spooler-frequency", "3600")
    beside.wait_log("spool scanned")
    first.kill_all()
    wait_lost(beside, path)
    assert attempts(path) == 1
    (left,) = (project.spool / ".unspool" / "daemons").iterdir()
    assert (left / "running") in notes(project.spool)
    # And one that came later, while it was busy.
    path.unlink()
    second = doomed()
    tasks = {str(number): submit(project, "hold", id=number, gate="hold") for number in (1, 2)}
    both = project.events.collect(2, lambda event: event.name == "hold" and event["id"] in tasks)
    (lost,) = (tasks[event["id"]] for event in both if event.pid in second.workers)
    second.kill_all()
    project.gate("hold").release()
    wait_lost(beside, lost)
    assert attempts(lost) == 1


def test_only_what_ran_counts_and_it_counts_once(
    project: Project, daemon: DaemonFactory, doomed: Doomed
) -> None:
    project.write("tasks.py", QUICK_OR_HELD)
    first = doomed()
    with Producer(project) as producer:
        path = hand_ahead(project, producer, 20).path
    first.kill_all()
    again = start(project, daemon)
    wait_lost(again, path)
    project.events.collect(20, "mark")
    for other in project.tasks():
        if other != path:
            wait_gone(other)
    assert attempts(path) == 1
    assert len([line for line in again.log if "vanished" in line]) == 1
    assert again.stop() == 0
    assert not list((project.spool / ".unspool" / "daemons").iterdir())
    last = start(project, daemon)
    assert last.stop() == 0
    assert attempts(path) == 1


@pytest.mark.parametrize("then", ["ignored", "unknown", "retried", "done"])
def test_a_task_that_has_ended_does_not_count(
    project: Project, doomed: Doomed, daemon: DaemonFactory, then: str
) -> None:
    code = {"ignored": 0, "retried": -1, "done": -2}.get(then)
    project.write(
        "tasks.py",
        f"""
        import uwsgi
        from unspool import UnknownFunction
        from reporting import report

        def spooler(env):
            report("ran")
            if {then == "unknown"}:
                raise UnknownFunction("nobody", [])
            return {code}

        uwsgi.spooler = spooler
        """,
    )
    first = doomed()
    path = submit(project, "f")
    project.events.wait("ran")
    words = {
        "ignored": "task ignored",
        "unknown": "task not run",
        "retried": "task asked to run again",
        "done": "task done",
    }
    first.wait_log(words[then])
    first.kill_all()
    again = start(project, daemon, "--spooler-frequency", "1000")
    if then == "ignored":
        again.wait_log("task ignored")
    assert again.stop() == 0
    assert not any("vanished" in line for line in again.log)
    assert path.exists() == (then != "done")
    if path.exists():
        assert attempts(path) == 0


def test_each_of_two_spools_has_notes_of_its_own(
    project: Project, doomed: Doomed, daemon: DaemonFactory
) -> None:
    other = project.root / "other"
    both = ("--spooler", other)
    first = doomed(*both)
    path, worker = held(project, id="0")
    one, project.spool = project.spool, other
    second, other_worker = held(project, id="1")
    project.spool = one
    assert worker != other_worker
    assert len(notes(one)) == len(notes(other)) == 1
    first.kill_all()
    again = start(project, daemon, *both)
    for lost in (path, second):
        wait_lost(again, lost)
        assert attempts(lost) == 1


def test_a_worker_that_outlives_its_daemon_keeps_its_notes(
    project: Project, doomed: Doomed, daemon: DaemonFactory
) -> None:
    first = doomed()
    path, pid = held(project, id="0")
    worker = ProcessHandle(pid)
    first.kill()
    (left,) = notes(project.spool)
    found = project.unspool("fsck", "--spooler", project.spool, "--repair").stdout
    assert "runs this spool" in found, found
    second = start(project, daemon)
    assert left in notes(project.spool) and len(notes(project.spool)) == 2
    project.gate("hold").release()
    assert worker.wait()
    worker.close()
    assert not path.exists()
    # It left nothing to count.
    assert second.stop() == 0
    assert start(project, daemon).stop() == 0
    assert notes(project.spool) == []


def test_a_task_runs_that_cannot_be_noted_and_it_is_said_once(
    project: Project, daemon: DaemonFactory
) -> None:
    with or_not_run():
        need_strace()
    project.write("tasks.py", MODULE)
    running = start(project, daemon)
    (file,) = notes(project.spool)
    (worker,) = running.workers
    attach = ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(worker), "-P", os.fspath(file)]
    with subprocess.Popen([*attach, "-e", "inject=pwrite64:error=EIO"], text=True) as strace:
        try:
            wait_traced([worker], strace)
            for number in range(3):
                submit(project, "hold", id=number)
                assert project.events.wait("held").pid == worker
            project.wait_empty()
        finally:
            strace.send_signal(signal.SIGINT)
            strace.wait()
    running.wait_log(rf"{CANNOT_NOTE}.* path={re.escape(os.fspath(file))} error=Input/output error")
    submit(project, "hold", id=3)
    assert project.events.wait(lambda e: e.name == "held" and e["id"] == "3").pid == worker
    project.wait_empty()
    assert len([line for line in running.log if CANNOT_NOTE in line]) == 1


def test_a_task_that_closes_everything_keeps_what_it_opens(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write(
        "tasks.py",
        """
        import os
        from uwsgidecorators import spool

        @spool
        def closes(args):
            os.closerange(3, 4096)
            for number in range(50):
                os.write(os.open(f"{args['to']}/{number}", os.O_RDWR | os.O_CREAT), b"x" * 1024)
            raise ValueError("and the note of its run is taken back")
        """,
    )
    running = start(project, daemon)
    written = project.root / "written"
    written.mkdir()
    submit(project, "closes", to=written)
    running.wait_log("task failed: its worker ")
    contents = [path.read_bytes() for path in written.iterdir()]
    assert contents == [b"x" * 1024] * 50


@pytest.mark.parametrize("disk", [(kind,) for kind in full.FILE_SYSTEMS], indirect=True)
def test_what_starts_on_a_full_disk_counts(
    project: Project, disk: FileSystem, doomed: Doomed, daemon: DaemonFactory
) -> None:
    first = doomed()
    _, worker = held(project, id="0")
    project.gate("later")
    path = submit(project, "hold", id="1", gate="later")
    with disk.filled():
        project.gate("hold").release()
        started = project.events.wait(lambda e: e.name == "hold" and e["id"] == "1")
        assert started.pid == worker
        first.kill_all()
    assert not any(CANNOT_NOTE in line for line in first.log)
    again = start(project, daemon)
    wait_lost(again, path)
    assert attempts(path) == 1
    assert again.stop() == 0


@pytest.mark.parametrize("disk", [("ext4", "errors=remount-ro")], indirect=True)
def test_a_worker_goes_on_when_its_disk_turns_read_only(
    project: Project, disk: FileSystem, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", QUICK_OR_HELD)
    running = start(project, daemon)
    with Producer(project) as producer:
        hand_ahead(project, producer, 3)
    worker = project.events.history[-1].pid
    disk.fail()
    project.gate("ahead").release()
    assert {event.pid for event in project.events.collect(3, "mark")} == {worker}
    running.wait_log(f"{CANNOT_NOTE}.* error=Read-only file system")
    assert len([line for line in running.log if CANNOT_NOTE in line]) == 1
    assert running.workers == [worker]


@pytest.mark.parametrize("disk", [("ext4",)], indirect=True)
def test_a_daemon_starts_on_a_full_disk(
    project: Project, disk: FileSystem, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    start(project, daemon).stop()
    submit(project, "hold", id="0")
    with disk.filled():
        running = start(project, daemon)
        assert project.events.wait("held")["id"] == "0"
        running.wait_log("no room for notes of what runs|cannot make a folder in the spool")
        project.wait_empty()
        assert running.stop() == 0
