"""What happens around the daemon: a log that cannot be written, a spool that is replaced."""

from __future__ import annotations

import os
import subprocess
import time

import pytest
from factory import DaemonFactory
from harness import UNSPOOL, Project, wait_gone
from spooling import submit

MODULE = """
    from uwsgidecorators import spool
    from reporting import report

    @spool
    def mark(args):
        report("mark", id=args.get("id"))
"""


def options(project: Project) -> list[str]:
    project.write("tasks.py", MODULE)
    return ["--spooler", os.fspath(project.spool), "--spooler-import", "tasks"]


def test_a_standard_error_that_cannot_be_written_stops_no_task(project: Project) -> None:
    command = [os.fspath(UNSPOOL), "run", *options(project)]
    with open("/dev/full", "wb") as full:
        running = subprocess.Popen(command, cwd=project.root, env=project.env, stderr=full)
    try:
        for number in range(3):
            submit(project, "mark", "--spooler", os.fspath(project.spool), id=number)
            project.events.wait("mark")
        assert running.poll() is None
    finally:
        running.terminate()
        assert running.wait(20) == 0


def test_a_standard_error_that_nobody_reads_stops_no_task(project: Project) -> None:
    command = [os.fspath(UNSPOOL), "run", *options(project)]
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while os.write(writer, b"x" * 4096):
            pass
    except BlockingIOError:
        os.set_blocking(writer, True)
    running = subprocess.Popen(command, cwd=project.root, env=project.env, stderr=writer)
    try:
        wait_gone(submit(project, "mark", "--spooler", os.fspath(project.spool)))
    finally:
        running.terminate()
        assert running.wait(20) == 0
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_a_spool_that_is_taken_away_ends_the_daemon(
    project: Project, daemon: DaemonFactory, how: str
) -> None:
    running = daemon(*options(project))
    if how == "replaced":
        project.spool.rename(project.root / "old")
        project.spool.mkdir(mode=0o700)
        assert running.wait_exit() == 1
        running.wait_log("its directory was removed, or another one has its name")
    else:
        project.spool.rename(project.root / "old")
        assert running.wait_exit() == 1


def test_a_producer_follows_a_spool_that_is_replaced(project: Project) -> None:
    done = project.python(
        """
        import os, time, unspool
        unspool.configure(spooler="spool")
        assert os.path.exists(unspool.spool(ud_spool_func="f"))
        os.rename("spool", "old")
        # What is submitted within some milliseconds might as well have been there before.
        deadline = time.monotonic() + 5
        while not os.path.exists(unspool.spool(ud_spool_func="f")):
            assert time.monotonic() < deadline
        assert os.path.exists(unspool.spool(ud_spool_func="f"))
        """
    )
    assert done.returncode == 0


def test_the_place_of_a_priority_that_is_gone_is_used_again(
    project: Project, daemon: DaemonFactory
) -> None:
    daemon(*options(project))
    # More than a spool can have at one time.
    for number in range(1100):
        folder = project.spool / f"p{number}"
        folder.mkdir(mode=0o700)
        if number % 50 == 0:
            wait_gone(submit(project, "mark", "--priority", f"p{number}"))
        folder.rmdir()


def test_a_time_beyond_all_clocks_is_never(project: Project, daemon: DaemonFactory) -> None:
    daemon(*options(project))
    never = submit(project, "mark", at=9_999_999_999, id="never")
    touched = submit(project, "mark", at=int(time.time()) + 3600, id="touched")
    os.utime(touched, (9_300_000_000, 9_300_000_000))
    submit(project, "mark", id="now")
    assert project.events.wait("mark")["id"] == "now"
    assert never.exists() and touched.exists()
