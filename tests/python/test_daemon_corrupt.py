"""Files that are no whole tasks: set aside once they are settled, never run, never deleted."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from damage import check_damaged
from factory import DaemonFactory
from harness import Daemon, Project, wait_present
from spooling import ATTEMPTS_OFFSET, foreign, publish, submit

SETTLE_SECONDS = 0.5
# The kernel stamps files with the time of its last tick.
STAMP_SECONDS = 0.01

MODULE = """
    from uwsgidecorators import spool
    from reporting import report

    @spool
    def mark(args):
        report("mark", id=args.get("id"))
"""

MARK = foreign({b"ud_spool_func": b"mark", b"id": b"foreign"}, b"body")


def start(project: Project, daemon: DaemonFactory, settle: float = SETTLE_SECONDS) -> Daemon:
    project.write("tasks.py", MODULE)
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    return daemon(*spool, "--spooler-settle", str(settle))


def ours(project: Project) -> bytes:
    """The bytes of a task that unspool wrote, with a body."""
    path = submit(project, "mark", "--body", "/proc/self/cmdline", id="ours")
    content = path.read_bytes()
    path.unlink()
    return content


def check_set_aside(project: Project, running: Daemon, path: Path, content: bytes) -> Path:
    """It is in `corrupt/` as it was, after the time to settle, and the log has the reason."""
    kept = wait_present(project.spool / "corrupt", path.name)
    assert kept.read_bytes() == content
    assert not path.exists()
    # The move is the file's last change, the writing its last modification.
    times = kept.stat()
    assert times.st_ctime - times.st_mtime > SETTLE_SECONDS - STAMP_SECONDS
    line = running.wait_log(
        rf"ERROR file is not a whole task: (?P<why>.+) task=\S*{path.name} moved_to={kept}$"
    )
    assert line["why"]
    return kept


@pytest.mark.parametrize(
    "cut",
    [
        pytest.param(lambda whole: whole[:1], id="one byte"),
        pytest.param(lambda whole: whole[: len(whole) // 2], id="half"),
        pytest.param(lambda whole: whole[:-1], id="the last byte missing"),
        pytest.param(lambda whole: whole + b"x", id="one byte more"),
        pytest.param(lambda whole: whole[:-3] + b"\0" + whole[-2:], id="one byte changed"),
    ],
)
def test_a_damaged_task_of_ours(project: Project, daemon: DaemonFactory, cut: object) -> None:
    assert callable(cut)
    content = cut(ours(project))
    running = start(project, daemon)
    path = publish(project.spool, "damaged", content)
    check_set_aside(project, running, path, content)
    # The daemon runs what is whole, and never ran this one.
    submit(project, "mark", id="whole")
    assert [project.events.wait("mark")["id"]] == ["whole"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x11\x02", id="half a header"),
        pytest.param(MARK[:-10], id="cut in the pairs"),
        pytest.param(b"\x11\xff\xff\0" + b"a" * 100, id="shorter than announced"),
        pytest.param(b"\x11\x08\0\0" + b"\x09\0abcdef", id="a key that runs past the end"),
        pytest.param(b"\x11\x06\0\0" + b"\0\0\x02\0ab", id="an empty key"),
        pytest.param(b"<html>no task</html>" * 50, id="another kind of file"),
    ],
)
def test_a_foreign_file_that_is_no_task(
    project: Project, daemon: DaemonFactory, content: bytes
) -> None:
    running = start(project, daemon)
    path = publish(project.spool, "foreign", content)
    check_set_aside(project, running, path, content)
    assert "mark" not in {event.name for event in project.events.history}


def test_a_torn_file_that_lies_there_when_the_daemon_starts(
    project: Project, daemon: DaemonFactory
) -> None:
    project.spool.mkdir()
    path = publish(project.spool, "torn", MARK[:20])
    running = start(project, daemon)
    check_set_aside(project, running, path, MARK[:20])


def test_a_torn_file_of_a_priority(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    folder = project.spool / "5"
    folder.mkdir()
    path = publish(folder, "torn", MARK[:20])
    kept = check_set_aside(project, running, path, MARK[:20])
    assert kept.parent == project.spool / "corrupt"


def test_two_of_one_name_are_both_kept(project: Project, daemon: DaemonFactory) -> None:
    start(project, daemon)
    corrupt = project.spool / "corrupt"
    contents = [MARK[:20], MARK[:21], MARK[:22]]
    for number, content in enumerate(contents, 1):
        publish(project.spool, "torn", content)
        suffix = f".{number}" if number > 1 else ""
        wait_present(corrupt, f"*_torn{suffix}")
    assert sorted(path.read_bytes() for path in corrupt.iterdir()) == contents


def test_a_file_that_is_still_written_is_left_alone_and_runs_when_it_is_whole(
    project: Project, daemon: DaemonFactory
) -> None:
    start(project, daemon, settle=60)
    path = project.spool / "uwsgi_spoolfile_on_slow_writer"
    for end in (0, 3, 30, len(MARK) - 5):
        # Each time it looks like a file that was closed before it was complete.
        path.write_bytes(MARK[:end])
        submit(project, "mark", id="other")
        assert project.events.wait("mark")["id"] == "other"
        assert path.exists()
    # uWSGI writes its body last, and nothing says how long it is: a whole one is all that runs.
    publish(project.spool, "whole", MARK)
    assert project.events.wait("mark")["id"] == "foreign"
    path.write_bytes(MARK)
    assert project.events.wait("mark")["id"] == "foreign"
    assert not (project.spool / "corrupt").exists()


def test_a_locked_file_is_left_alone_however_old(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    # As uWSGI's writer does: create, lock, write.
    path = project.spool / "uwsgi_spoolfile_on_locked"
    with open(path, "wb") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        file.write(MARK[:20])
        file.flush()
        # The daemon looks at it, as it would at the next scan.
        os.utime(path)
        # Two that were written later settle one after the other, and are set aside.
        for number in range(2):
            other = publish(project.spool, f"other{number}", b"torn")
            check_set_aside(project, running, other, b"torn")
        assert path.exists()
    # Closed and so unlocked, it is no more than they were.
    wait_present(project.spool / "corrupt", path.name)


@pytest.mark.parametrize("seen_by", ["the daemon", "a worker"])
def test_a_file_that_is_open_is_left_alone_and_runs_when_it_is_whole(
    project: Project, daemon: DaemonFactory, seen_by: str
) -> None:
    """As a submitter that was stopped in the middle: it may believe that its task is there."""
    whole = ours(project)
    running = start(project, daemon)
    begun = len(whole) // 2
    path = project.spool / "uwsgi_spoolfile_on_open"
    with open(path, "wb", buffering=0) as file:
        if seen_by == "a worker":
            # As long as it is to be, and not what was meant.
            file.write(whole[:begun] + bytes(len(whole) - begun))
        else:
            file.write(whole[:begun])
        os.utime(path)
        for number in range(3):
            other = publish(project.spool, f"other{number}", b"torn")
            check_set_aside(project, running, other, b"torn")
        assert path.exists()
        file.seek(begun)
        file.write(whole[begun:])
    assert project.events.wait("mark")["id"] == "ours"
    assert not (project.spool / "corrupt" / path.name).exists()


def test_what_has_no_tasks_name_is_no_task(project: Project, daemon: DaemonFactory) -> None:
    start(project, daemon)
    others = [project.spool / name for name in ("notes.txt", ".uwsgi_spoolfile_on_x", "7")]
    for path in others:
        path.write_bytes(MARK)
    link = project.spool / "uwsgi_spoolfile_on_link"
    link.symlink_to(others[0])
    (project.spool / "uwsgi_spoolfile_on_folder").mkdir()
    publish(project.spool, "torn", b"torn")
    wait_present(project.spool / "corrupt", "*_torn")
    submit(project, "mark", id="last")
    assert project.events.wait("mark")["id"] == "last"
    assert all(path.exists() for path in (*others, link))
    assert len(project.events.history) == 1


def test_a_task_of_ours_cut_at_every_length_and_with_every_bit_flipped(
    project: Project, daemon: DaemonFactory
) -> None:
    whole = ours(project)
    damaged = {f"cut-{length}": whole[:length] for length in range(len(whole))}
    for at, byte in enumerate(whole):
        for bit in range(8):
            flipped = whole[:at] + bytes([byte ^ (1 << bit)]) + whole[at + 1 :]
            damaged[f"byte-{at}-bit-{bit}"] = flipped
    damaged["whole"] = whole
    # The count of failed attempts is no part of what is checked, so that it can be one byte.
    counts = {f"byte-{ATTEMPTS_OFFSET}-bit-{bit}" for bit in range(8)}
    check_damaged(project, daemon, damaged, counts | {"whole"})
