"""What one user does in the spool of another one: root, and members of a group that share it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest
from everybody import USER, root_only
from factory import DaemonFactory
from harness import Project
from spooling import foreign, publish, submit
from steering import bury, words

pytestmark = root_only


def uid() -> int:
    return pwd.getpwnam(USER).pw_uid


def below(folder: Path) -> Iterator[Path]:
    yield folder
    for root, folders, files in os.walk(folder):
        yield from (Path(root) / name for name in [*folders, *files])


def owners(folder: Path) -> dict[str, int]:
    """Who has what lies in a folder, of what is not that user's."""
    found = {str(path.relative_to(folder)): path.lstat().st_uid for path in below(folder)}
    return {name: owner for name, owner in found.items() if owner != uid()}


@pytest.fixture
def spool(project: Project) -> Path:
    """A spool of that user, in which nothing was yet."""
    project.spool.mkdir(mode=0o700)
    os.chown(project.spool, uid(), -1)
    return project.spool


def test_what_root_keeps_in_a_spool_is_its_users(project: Project, spool: Path) -> None:
    config = project.write("app.ini", "[uwsgi]\nspooler = spool\ncron2 = minute=1 true\n")
    path = submit(project, "f", "--max-attempts", "1")
    assert path.stat().st_uid == 0, "whose task it is decides whether it runs"
    bury(project, path)
    (spool / "dead" / f"attempts.{path.name}").unlink()
    os.chown(spool / "dead", uid(), -1)
    assert words(project, "retry", path.name) == ["pending"]
    words(project, "pause")
    publish(spool, "uwsgi_spoolfile_on_old_1_2_3_4_5", foreign({b"a": b"1"}), due=1000.0)
    project.unspool("adopt", config, "--hold")
    name = project.unspool("schedule", "ls", "--config", config).stdout.splitlines()[1].split()[0]
    project.unspool("schedule", "pause", "--config", config, name)
    made = {str(path.relative_to(spool / ".unspool")) for path in below(spool / ".unspool")}
    assert {"version", "adopted", "adopt-lock", "paused", "pause-lock"} <= made
    assert f"attempts/{path.name}" in made and any(name.endswith("/fired") for name in made)
    assert owners(spool / ".unspool") == {}


def test_a_daemon_of_root_leaves_nothing_of_its_own(
    project: Project, daemon: DaemonFactory, spool: Path
) -> None:
    project.write("tasks.py", "import uwsgidecorators\n")
    running = daemon("--spooler", spool, "--import", "tasks", "--cron2", "minute=1 true")
    running.stop()
    assert owners(spool / ".unspool") == {}


def test_fsck_finds_what_is_not_its_users_and_gives_it_back(project: Project, spool: Path) -> None:
    words(project, "pause")
    for name in ("version", "paused"):
        os.chown(spool / ".unspool" / name, 0, 0)
    done = project.unspool("fsck", check=False)
    assert done.returncode == 1 and f"daemons of uid {uid()}" in done.stdout, done
    project.unspool("fsck", "--repair")
    assert owners(spool / ".unspool") == {}
    assert "clean" in project.unspool("fsck").stdout
    os.chown(spool / ".unspool", 0, 0)
    project.unspool("fsck", "--repair")
    assert owners(spool / ".unspool") == {}
