"""What one user does in the spool of another one: root, and members of a group that share it."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from everybody import USER, root_only
from factory import DaemonFactory
from harness import UNSPOOL, Project
from spooling import foreign, publish, submit
from steering import FAILED, bury, words

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
    listed = project.unspool("schedule", "ls", "--config", config, check=False)
    assert listed.returncode == 1, "no daemon runs"
    name = listed.stdout.splitlines()[1].split()[0]
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


class Member:
    """Somebody of the group that shares the spool."""

    def __init__(self, project: Project, command: Path, number: int) -> None:
        self.project, self.command, self.number = project, command, number

    def __call__(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        group = grp.getgrnam("daemon").gr_gid
        return subprocess.run(
            [self.command, *arguments], env=self.project.producer_env, cwd="/",
            user=self.number, group=group, extra_groups=[], umask=0o022,
            check=False, capture_output=True, text=True,
        )  # fmt: skip

    def submit(self) -> Path:
        done = self("spool", "--delay", "1000", "f", "id=before")
        assert done.returncode == 0, done
        return Path(done.stdout.rstrip("\n"))


@pytest.fixture
def members(project: Project) -> tuple[Member, Member]:
    project.root.chmod(0o755)
    project.spool.mkdir()
    os.chown(project.spool, uid(), grp.getgrnam("daemon").gr_gid)
    project.spool.chmod(0o2770)
    command = Path(shutil.copy(UNSPOOL, project.root / "unspool"))
    command.chmod(0o755)
    return Member(project, command, 12345), Member(project, command, 12346)


def test_another_members_task_can_be_made_due(
    project: Project, members: tuple[Member, Member]
) -> None:
    one, other = members
    for arguments in (["retry"], ["mv", "--at", "now"], ["mv", "--at", "now", "--priority", "5"]):
        path = one.submit()
        done = other(*arguments, path)
        assert done.returncode == 0, done
        (path,) = project.spool.rglob(path.name)
        assert path.stat().st_mtime <= time.time() and path.stat().st_uid == one.number
    path = bury(project, one.submit())
    os.chown(project.spool / "dead", one.number, grp.getgrnam("daemon").gr_gid)
    (project.spool / "dead").chmod(0o2770)
    record = project.spool / "dead" / f"attempts.{path.name}"
    os.chown(record, one.number, grp.getgrnam("daemon").gr_gid)
    record.chmod(0o660)
    done = other("retry", path)
    assert done.returncode == 0 and done.stdout.startswith("pending"), done
    path = one.submit()
    before = path.stat().st_mtime
    done = other("mv", "--delay", "5000", path)
    assert done.returncode == FAILED and f"belongs to uid {one.number}" in done.stderr, done
    assert path.stat().st_mtime == before


def test_another_members_task_is_not_taken_over(members: tuple[Member, Member]) -> None:
    one, other = members
    path = one.submit()
    for arguments in (["id=after"], ["--editor"]):
        done = other("edit", "--json", path, *arguments)
        assert done.returncode == FAILED, done
        assert f"it belongs to uid {one.number}" in json.loads(done.stdout)["error"]
    assert path.stat().st_uid == one.number and b"before" in path.read_bytes()
    done = one("edit", path, "id=after")
    assert done.returncode == 0 and b"after" in path.read_bytes(), done
