"""`uid`, `gid` and their kin: who the daemon becomes, and what that user needs.

They need root, and a Python that another user can execute: where one is missing, a test says so.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest
from everybody import USER, python_for, root_only
from factory import DaemonFactory
from harness import PYTHON, UNSPOOL, Daemon, Project
from logfile import LogFile
from signing import make_key, write_keys

MODULE = """
    import os

    import uwsgi
    from reporting import report

    @lambda f: setattr(uwsgi, "spooler", f)
    def spooler(task):
        report(
            "look",
            uid=os.getresuid(),
            gid=os.getresgid(),
            groups=os.getgroups(),
            home=os.environ.get("HOME"),
            user=os.environ.get("USER"),
        )
        return uwsgi.SPOOL_OK
"""


@pytest.fixture
def python(project: Project) -> Path:
    return python_for(project)


def start(
    project: Project, daemon: DaemonFactory, python: Path, *options: str, ready: bool = True
) -> Daemon:
    project.write("tasks.py", MODULE).chmod(0o644)
    return daemon(
        "--virtualenv", python, "--spooler", project.spool, "--import", "tasks", *options,
        ready=ready,
    )  # fmt: skip


def put(project: Project) -> None:
    """A task, by root, in the spool of another user."""
    aside, name = project.root / "aside", "uwsgi_spoolfile_on_test_1_1_1_1_1"
    aside.write_bytes(b"\x11\x00\x00\x00")
    owner = project.spool.stat()
    os.chown(aside, owner.st_uid, owner.st_gid)
    # Until it is that user's the daemon may not open it, and would wait before it tries again.
    aside.rename(project.spool / name)


@root_only
def test_the_daemon_and_its_workers_become_the_user(
    project: Project, daemon: DaemonFactory, python: Path
) -> None:
    running = start(project, daemon, python, f"--uid={USER}", "--add-gid=daemon")
    user = pwd.getpwnam(USER)
    status = Path(f"/proc/{running.pid}/status").read_text()
    assert f"Uid:\t{user.pw_uid}\t{user.pw_uid}\t{user.pw_uid}\t{user.pw_uid}\n" in status
    assert not any("running as root" in line for line in running.log)
    put(project)
    look = project.events.wait("look")
    assert look["uid"] == (user.pw_uid,) * 3
    # Its own group, where uWSGI would keep that of root.
    assert look["gid"] == (user.pw_gid,) * 3
    assert sorted(look["groups"]) == sorted({user.pw_gid, grp.getgrnam("daemon").gr_gid})
    # As in uWSGI.
    assert look["home"] == os.environ.get("HOME")
    assert look["user"] == os.environ.get("USER")


@root_only
def test_numbers(project: Project, daemon: DaemonFactory, python: Path) -> None:
    start(project, daemon, python, "--uid=12345", "--gid=23456")
    put(project)
    look = project.events.wait("look")
    assert (look["uid"], look["gid"]) == ((12345,) * 3, (23456,) * 3)
    assert look["groups"] == [23456]


@root_only
def test_a_spool_that_is_missing_belongs_to_the_user(
    project: Project, daemon: DaemonFactory, python: Path
) -> None:
    """Its parent is root's alone: uWSGI makes it as root, and its spooler then fails for ever."""
    start(project, daemon, python, f"--uid={USER}")
    stat = project.spool.stat()
    user = pwd.getpwnam(USER)
    assert (stat.st_uid, stat.st_gid, stat.st_mode & 0o777) == (user.pw_uid, user.pw_gid, 0o700)


@root_only
def test_where_others_could_meddle_the_user_makes_the_spool(
    project: Project, daemon: DaemonFactory, python: Path
) -> None:
    project.root.chmod(0o777)
    start(project, daemon, python, f"--uid={USER}")
    assert project.spool.stat().st_uid == pwd.getpwnam(USER).pw_uid


@root_only
def test_a_spool_of_roots_is_refused_with_the_cure(
    project: Project, daemon: DaemonFactory, python: Path
) -> None:
    project.spool.mkdir(mode=0o700)
    running = start(project, daemon, python, f"--uid={USER}", ready=False)
    assert running.wait_exit() == 1
    running.wait_log(f"chown -R {USER} {project.spool}` as root gives it the spool")


@root_only
def test_a_spool_below_a_folder_that_is_missing_is_refused_with_the_cure(
    project: Project, daemon: DaemonFactory, python: Path
) -> None:
    project.spool = project.root / "missing" / "spool"
    running = start(project, daemon, python, f"--uid={USER}", ready=False)
    assert running.wait_exit() == 1
    running.wait_log(f"mkdir -p {project.spool} && chown {USER} {project.spool}` as root makes it")


@root_only
def test_what_is_opened_before_and_after(
    project: Project, daemon: DaemonFactory, python: Path
) -> None:
    """Only root can write in the project's folder: what is opened there is opened as root."""
    user = pwd.getpwnam(USER)
    own = project.root / "own"
    own.mkdir()
    os.chown(own, user.pw_uid, user.pw_gid)
    log = LogFile(project.root / "l1")
    running = start(
        project, daemon, python, f"--uid={USER}", "--pidfile=p1", "--logto=l1",
        f"--pidfile2={own}/p2", f"--safe-pidfile={own}/p3", ready=False,
    )  # fmt: skip
    log.wait("unspool is ready")
    owners = {path.name: path.stat().st_uid for path in [*project.root.iterdir(), *own.iterdir()]}
    expected = {"p1": 0, "l1": 0, "p2": user.pw_uid, "p3": user.pw_uid}
    assert {name: owners[name] for name in expected} == expected
    assert running.stop() == 0
    second = LogFile(own / "l2")
    running = start(project, daemon, python, f"--uid={USER}", f"--logto2={own}/l2", ready=False)
    second.wait("unspool is ready")
    assert second.path.stat().st_uid == user.pw_uid
    assert running.stop() == 0
    running = start(project, daemon, python, f"--uid={USER}", "--logto2=l2", ready=False)
    assert running.wait_exit() == 1
    running.wait_log("`logto2`: cannot open the log .*: Permission denied")


@root_only
def test_immediate(project: Project, daemon: DaemonFactory, python: Path) -> None:
    project.root.chmod(0o777)
    log = LogFile(project.root / "l1")
    start(
        project, daemon, python, f"--immediate-uid={USER}", "--immediate-gid=daemon",
        "--pidfile=p1", "--logto=l1", ready=False,
    )  # fmt: skip
    log.wait("unspool is ready")
    user, group = pwd.getpwnam(USER).pw_uid, grp.getgrnam("daemon").gr_gid
    for name in ("p1", "l1", "spool"):
        stat = (project.root / name).stat()
        assert (stat.st_uid, stat.st_gid) == (user, group), name


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("uid=no-such-user", "`uid`: there is no user `no-such-user`"),
        ("gid=no-such-group", "`gid`: there is no group `no-such-group`"),
        ("add-gid=no-such-group", "`add-gid`: there is no group `no-such-group`"),
        ("immediate-uid=no-such-user", "`immediate-uid`: there is no user `no-such-user`"),
        ("immediate-gid=no-such-group", "`immediate-gid`: there is no group `no-such-group`"),
    ],
)
def test_unknown_names_end_the_start(project: Project, option: str, message: str) -> None:
    for command in ("run", "config"):
        done = project.unspool(command, "--spooler", "spool", f"--{option}", check=False)
        assert done.returncode == 2
        assert message in done.stderr
    assert not project.spool.exists()


@root_only
def test_a_user_cannot_become_another_one(project: Project) -> None:
    unspool = project.root / "unspool"
    shutil.copy(PYTHON.parent / "unspool", unspool)
    unspool.chmod(0o755)
    project.root.chmod(0o777)

    def run(option: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [unspool, "run", "--spooler", "spool", option],
            cwd=project.root, env=project.env, user=USER, group="nogroup", extra_groups=[],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip

    done = run("--uid=root")
    assert done.returncode == 2
    assert "`uid = root` needs root: this process is user" in done.stderr
    done = run("--gid=daemon")
    assert done.returncode == 2
    assert "`gid = daemon` needs root" in done.stderr
    assert not project.spool.exists()


@root_only
def test_what_the_user_may_not_do_while_it_runs_costs_a_line(
    project: Project, daemon: DaemonFactory, python: Path
) -> None:
    log, touched = LogFile(project.root / "d.log"), project.root / "reopen"
    own = project.root / "own"
    own.mkdir()
    os.chown(own, pwd.getpwnam(USER).pw_uid, -1)
    running = start(
        project, daemon, python, f"--uid={USER}", "--logto=d.log", "--pidfile=d.pid", "--vacuum",
        f"--touch-logreopen={touched}", f"--master-fifo={own}/fifo", ready=False,
    )  # fmt: skip
    log.wait("unspool is ready")
    log.path.rename(project.root / "d.log.1")
    old = LogFile(project.root / "d.log.1")
    touched.touch()
    old.wait("unspool: cannot open the log anew: Permission denied")
    (own / "fifo").write_text("P")
    old.wait("`pidfile`: cannot write .*/d.pid`: Permission denied")
    put(project)
    project.events.wait("look")
    assert running.stop() == 0
    old.wait("`vacuum`: cannot remove .*/d.pid`: Permission denied")
    assert not log.path.exists()
    assert not (own / "fifo").exists()


@root_only
def test_a_web_user_and_a_worker_user_share_a_spool(
    project: Project, daemon: DaemonFactory, python: Path
) -> None:
    """A signature stands for the web user, whose pickles are not loaded otherwise."""
    web, group = 12345, grp.getgrnam("daemon")
    command = Path(shutil.copy(UNSPOOL, project.root / "unspool"))
    command.chmod(0o755)
    keys = write_keys(project.root / "keys", make_key("web-1"), mode=0o640)
    os.chown(keys, 0, group.gr_gid)
    shared = (f"--uid={USER}", f"--gid={group.gr_name}", f"--spooler-group={group.gr_name}")
    running = start(project, daemon, python, *shared, f"--spooler-keys={keys}")

    def submit_as_web(*options: str) -> Path:
        done = subprocess.run(
            [command, "spool", "--spooler", project.spool, *options, "f"],
            user=web, group=group.gr_gid, extra_groups=[], umask=0o022, cwd="/",
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return Path(done.stdout.rstrip("\n"))

    path = submit_as_web("--priority=5", f"--keys={keys}", "--delay=1000")
    stat = path.stat()
    assert (stat.st_uid, stat.st_gid, stat.st_mode & 0o777) == (web, group.gr_gid, 0o660)
    submit_as_web("--priority=5", f"--keys={keys}")
    assert project.events.wait("look")["uid"][0] == pwd.getpwnam(USER).pw_uid
    refused = submit_as_web()
    running.wait_log(rf"task refused: it is not signed .*uid {web}.*{refused.name}")
    made = [project.spool, project.spool / "5", project.spool / ".unspool"]
    assert {(p.stat().st_gid, p.stat().st_mode & 0o7777) for p in made} == {(group.gr_gid, 0o2770)}
