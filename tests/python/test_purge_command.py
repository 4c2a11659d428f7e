"""`unspool purge` and `unspool rm`: tasks of every kind are deleted, with their records."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import UNSPOOL, Project, wait_gone
from spooling import submit
from steering import DONE, HELD, NOTHING, USAGE, bury, complaint, rows, start, words


def corrupt(project: Project) -> Path:
    submit(project, "mark")
    folder = project.spool / "corrupt"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / "uwsgi_spoolfile_on_corrupt"
    path.write_bytes(b"\x11\xff\xff")
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_they_are_counted_and_go_with_their_records(project: Project) -> None:
    for number in range(3):
        bury(project, submit(project, "mail" if number else "send", id=number))
    corrupt(project)
    project.tasks()[0].unlink()
    delayed = submit(project, "mark", "--delay", "1000", id="1")
    due = submit(project, "mark", "--priority", "5", id="2")
    said = project.unspool("purge", "--dead", "--corrupt", "--pending", "--dry-run").stdout
    assert said == "6 tasks (3 given up, 1 corrupt, 2 pending) would be deleted\n"
    said = complaint(project, "purge", "--dead", status=USAGE)
    assert "3 tasks (3 given up)" in said and "--yes" in said
    assert len(names(project.spool / "dead")) == 6
    said = project.unspool("purge", "--dead", "--func", "mail", "--yes").stdout
    assert said == "2 tasks (2 given up) deleted\n"
    assert len(names(project.spool / "dead")) == 2
    row = rows(project, "purge", "--pending", "--state", "due", "--yes")[0]
    assert (row["pending"], row["running"]) == (1, 0)
    assert delayed.exists() and not due.exists()
    (project.spool / "dead/attempts.uwsgi_spoolfile_on_nobody").write_text("{}\n")
    row = rows(project, "purge", "--dead", "--corrupt", "--yes")[0]
    assert (row["dead"], row["corrupt"], row["records"]) == (1, 1, 1)
    assert not names(project.spool / "dead") and not names(project.spool / "corrupt")
    assert project.tasks() == [delayed]
    assert words(project, "purge", "--dead", "--yes", status=NOTHING) == ["no"]


def test_what_runs_stays(project: Project, daemon: DaemonFactory) -> None:
    project.gate("waits")
    start(project, daemon)
    path = submit(project, "waits")
    project.events.wait("waits")
    other = submit(project, "mark", "--delay", "1000")
    said = project.unspool("purge", "--pending", "--yes", check=False)
    assert (said.returncode, said.stdout) == (HELD, "1 task (1 pending) deleted, 1 running, left\n")
    assert project.tasks() == [path] and not other.exists()
    project.gate("waits").release()
    wait_gone(path)


def test_on_a_terminal_it_asks(project: Project) -> None:
    path = bury(project, submit(project, "mark", id="1"))
    for answer, status, there in [(b"n\n", NOTHING, True), (b"y\n", DONE, False)]:
        terminal, theirs = pty.openpty()
        process = subprocess.Popen(
            [UNSPOOL, "purge", "--dead"],
            cwd=project.root, env=project.producer_env, stdin=theirs, stderr=theirs,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs)
        said = b""
        while not said.endswith(b"[y/N] "):
            said += os.read(terminal, 1000)
        assert b"Delete 1 task (1 given up) for good?" in said
        os.write(terminal, answer)
        assert process.wait(20) == status
        os.close(terminal)
        assert path.exists() is there


@pytest.mark.parametrize("kind", ["dead", "corrupt"])
def test_rm_takes_one_that_is_kept_if_it_is_meant(project: Project, kind: str) -> None:
    path = bury(project, submit(project, "f")) if kind == "dead" else corrupt(project)
    assert words(project, "rm", path, status=NOTHING) == [kind]
    assert path.exists()
    assert words(project, "rm", f"--{kind}", path) == ["removed"]
    assert not names(path.parent)
    assert words(project, "cancel", f"--{kind}", path, status=NOTHING) == ["gone"]


def test_rm_of_all_needs_to_be_sure(project: Project, daemon: DaemonFactory) -> None:
    project.gate("waits")
    start(project, daemon)
    running = submit(project, "waits")
    project.events.wait("waits")
    mails = [submit(project, "mail", "--delay", "1000", id=number) for number in range(3)]
    assert "--yes" in complaint(project, "rm", "--all", status=USAGE)
    assert "give --all" in complaint(project, "rm", "--func", "x", mails[0], status=USAGE)
    assert words(project, "rm", "--all", "--yes", "--func", "mail") == ["removed"] * 3
    assert project.tasks() == [running]
    assert words(project, "rm", "--all", "--yes") == ["stopped"]
    assert not project.tasks()


def test_it_says_what_it_is_about(project: Project) -> None:
    submit(project, "mark")
    assert "Usage" in complaint(project, "purge", "--yes", status=USAGE)
    assert "Usage" in complaint(project, "purge", "--dead", "--state", "due", status=USAGE)
