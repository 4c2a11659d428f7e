"""How the daemon's process is set up: background, pid files, titles."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import STOP_SECONDS_MAX, UNSPOOL, Argument, Project
from logfile import LogFile
from processes import ProcessHandle, children_of, handles_below
from spooling import submit

MODULE = """
    import os

    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def look(args):
        report(
            "look",
            uid=os.getuid(),
            gid=os.getgid(),
            umask=os.umask(0o22),
            stdin=os.readlink("/proc/self/fd/0"),
            home=os.environ.get("HOME"),
        )

    @spool
    def hold(args):
        report("hold")
        pause("hold")
"""


class Background:
    """Daemons that left for the background, and end with the test."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._handles: list[ProcessHandle] = []

    def start(self, *options: Argument, pidfile: str = "d.pid") -> int:
        """The process of a daemon whose command has returned."""
        done = self.launch("--pidfile", pidfile, *options)
        assert done.returncode == 0, done.stderr
        assert done.stdout == done.stderr == ""
        return self.remember(pidfile)

    def launch(self, *options: Argument) -> subprocess.CompletedProcess[str]:
        """Runs the command, which returns as soon as the daemon has left."""
        self.project.write("tasks.py", MODULE)
        arguments = ("--spooler", self.project.spool, "--spooler-import", "tasks")
        return self.project.unspool("run", *arguments, *options, check=False)

    def remember(self, pidfile: str) -> int:
        """The process that a file names; it ends with the test."""
        text = (self.project.root / pidfile).read_text()
        pid = int(text)
        assert text == f"{pid}\n"
        self._handles.append(ProcessHandle(pid))
        return pid

    def wait_end(self, pid: int) -> None:
        """Waits until a daemon has ended."""
        handle = next(handle for handle in self._handles if handle.pid == pid)
        assert handle.wait(STOP_SECONDS_MAX)

    def close(self) -> None:
        """Kills what is left."""
        for handle in self._handles:
            left = handles_below(handle.pid)
            for each in [handle, *left]:
                each.send(signal.SIGKILL)
                each.wait()
                each.close()


@pytest.fixture
def background(project: Project) -> Iterator[Background]:
    made = Background(project)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def log(project: Project) -> LogFile:
    return LogFile(project.root / "d.log")


def fields(pid: int) -> list[str]:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat.rpartition(")")[2].split()


def test_the_daemon_leaves_for_the_background(
    project: Project, background: Background, log: LogFile
) -> None:
    pid = background.start("--daemonize=d.log")
    # The spool is there and signals are answered by the time the command returns.
    assert project.spool.is_dir()
    _state, parent, _group, session, terminal = fields(pid)[:5]
    assert int(parent) != os.getpid()
    # In a session that it does not lead: no terminal can become its own.
    assert int(session) != pid and int(session) != os.getsid(0)
    assert terminal == "0"
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
    submit(project, "look")
    look = project.events.wait("look")
    assert look["stdin"] == "/dev/null"
    # uWSGI would have set it to 0.
    assert look["umask"] == os.umask(0o22)
    log.wait("unspool is ready")
    project.unspool("run", "--stop", "d.pid")
    background.wait_end(pid)
    assert log.lines[-1].endswith("stopped")


def test_daemonize2_returns_when_the_application_was_imported(
    project: Project, background: Background, log: LogFile
) -> None:
    pid = background.start("--daemonize2=d.log", "--safe-pidfile=safe.pid")
    # Written when the import is over; the log has a thread of its own.
    assert (project.root / "safe.pid").read_text() == f"{pid}\n"
    log.wait("application imported")


def test_daemonize2_returns_when_the_import_ends_its_process(
    project: Project, background: Background, log: LogFile
) -> None:
    """It is tried again, for ever if need be: nobody waits for that."""
    project.write("ends.py", "import os\nos._exit(3)\n")
    background.start("--daemonize2=d.log", "--import=ends")
    log.wait("exited with status 3 while it imported")


@pytest.mark.parametrize("option", ["daemonize", "daemonize2"])
def test_a_start_that_fails_in_the_background_is_told(
    project: Project, background: Background, log: LogFile, option: str
) -> None:
    project.spool.mkdir(mode=0o700)
    (project.spool / ".unspool").write_text("in the way")
    done = background.launch(f"--{option}=d.log", "--pidfile=d.pid", "--vacuum")
    assert done.returncode == 1
    log.wait("unspool: .*spool")
    assert not (project.root / "d.pid").exists()


def test_what_is_wrong_with_the_options_is_told_on_the_terminal(
    project: Project, background: Background, log: LogFile
) -> None:
    done = background.launch("--daemonize=d.log", "--spooler-processes=x")
    assert done.returncode == 2
    assert "spooler-processes" in done.stderr
    assert not log.path.exists()


def test_reload_and_stop_by_the_pid_file(
    project: Project, background: Background, log: LogFile
) -> None:
    pid = background.start("--daemonize=d.log", "--vacuum")
    log.wait("unspool is ready")
    project.unspool("run", "--reload", "d.pid")
    log.wait("reload done")
    project.unspool("run", "--stop=d.pid")
    background.wait_end(pid)
    assert not (project.root / "d.pid").exists()


@pytest.mark.parametrize("option", ["stop", "reload"])
@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (None, 1, "the pid file `x.pid` cannot be read: No such file or directory"),
        ("", 1, "`x.pid` holds no process number: it is no pid file"),
        ("-1\n", 1, "`x.pid` holds no process number: it is no pid file"),
        ("unspool\n", 1, "`x.pid` holds no process number: it is no pid file"),
        ("99999999\n", 1, "names process 99999999, which does not run; the daemon has ended"),
        (f"{os.getpid()}\n", 1, f"names process {os.getpid()}, which is `python"),
    ],
    ids=["missing", "empty", "negative", "no number", "nobody", "another program"],
)
def test_pid_files_that_name_no_daemon(
    project: Project, option: str, content: str | None, status: int, message: str
) -> None:
    if content is not None:
        (project.root / "x.pid").write_text(content)
    done = project.unspool("run", f"--{option}", "x.pid", check=False)
    assert (done.returncode, done.stdout) == (status, "")
    assert f"unspool: `--{option}`: " in done.stderr
    assert message in done.stderr


def test_a_signal_without_a_file_is_a_mistake(project: Project) -> None:
    done = project.unspool("run", "--stop", check=False)
    assert done.returncode == 2
    assert "write `unspool run --stop FILE`" in done.stderr


def test_pid_files_are_written_and_with_vacuum_removed(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    (project.root / "sub").mkdir()
    names = {"pidfile": "1", "pidfile2": "sub/2", "safe-pidfile": "sub/3", "safe-pidfile2": "sub/4"}
    options = [f"--{name}={Path(path).name}" for name, path in names.items()]
    running = daemon(
        "--spooler", project.spool, "--import", "tasks", "--pythonpath", project.root,
        "--chdir=sub", "--vacuum", *options,
    )  # fmt: skip
    for path in names.values():
        assert (project.root / path).read_text() == f"{running.pid}\n"
        assert (project.root / path).stat().st_mode & 0o777 == 0o644
    # Somebody else's by now.
    (project.root / "1").write_text("1\n")
    assert running.stop() == 0
    assert [path for path in names.values() if (project.root / path).exists()] == ["1"]
    # Nothing is left of how they were written.
    assert not [path for path in project.root.rglob(".*") if path.name.startswith(".2")]


def test_without_vacuum_they_stay(project: Project, daemon: DaemonFactory) -> None:
    running = daemon("--spooler", project.spool, "--pidfile=d.pid")
    assert running.stop() == 0
    assert (project.root / "d.pid").read_text() == f"{running.pid}\n"


def test_a_pid_file_that_cannot_be_written_ends_the_start(project: Project) -> None:
    done = project.unspool("run", "--spooler", "spool", "--pidfile=no/d.pid", check=False)
    assert done.returncode == 1
    assert f"`pidfile`: cannot write `{project.root}/no/d.pid`: No such file" in done.stderr


def test_a_link_is_replaced_and_not_followed(project: Project, daemon: DaemonFactory) -> None:
    target = project.write("target", "precious\n")
    (project.root / "d.pid").symlink_to(target)
    running = daemon("--spooler", project.spool, "--pidfile=d.pid")
    assert target.read_text() == "precious\n"
    assert (project.root / "d.pid").read_text() == f"{running.pid}\n"


def test_a_pid_file_of_a_daemon_that_runs_is_a_warning(
    project: Project, daemon: DaemonFactory
) -> None:
    first = daemon("--spooler", project.spool, "--pidfile=d.pid")
    second = daemon("--spooler", project.root / "other", "--pidfile=d.pid")
    second.wait_log(rf"WARN .*named process {first.pid}, which is an unspool that runs")
    # The pid of a process that is no unspool says nothing.
    (project.root / "e.pid").write_text(f"{os.getpid()}\n")
    third = daemon("--spooler", project.root / "third", "--pidfile=e.pid")
    assert not any("which is an unspool that runs" in line for line in third.log)


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode()


def name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")


def test_processes_have_names_of_their_own(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", MODULE)
    running = daemon("--spooler", project.spool, "--import", "tasks", "--spooler-processes=2")
    submit(project, "look")
    project.events.wait("look")
    assert name(running.pid) == "unspool"
    # Its command line tells more than a title could.
    assert title(running.pid).startswith(f"{UNSPOOL} run --spooler")
    titles = sorted(title(pid) for pid in children_of(running.pid))
    assert titles == ["unspool worker 1 (spool)", "unspool worker 2 (spool)", "unspool zygote"]
    names = {name(pid) for pid in children_of(running.pid)}
    assert names == {"unspool worker", "unspool zygote"}


@pytest.mark.parametrize(
    ("options", "master", "others"),
    [
        (["--procname=app"], "app", {"app"}),
        (
            ["--procname-master=boss"],
            "boss",
            {"unspool zygote", "unspool worker 1 (spool)"},
        ),
        (
            ["--procname-prefix-spaced=app", "--procname-append=!"],
            "app unspool!",
            {"app unspool zygote!", "app unspool worker 1 (spool)!"},
        ),
        (["--procname-prefix=é", "--procname=" + "x" * 9000], "é" + "x" * 60, {"é" + "x" * 60}),
    ],
)
def test_titles(
    project: Project, daemon: DaemonFactory, options: list[str], master: str, others: set[str]
) -> None:
    project.write("tasks.py", MODULE)
    running = daemon("--spooler", project.spool, "--import", "tasks", *options)
    submit(project, "look")
    project.events.wait("look")
    # Long ones are cut where the room for them ends.
    assert title(running.pid)[: len(master)] == master
    found = {title(pid)[:62] for pid in children_of(running.pid)}
    assert {each[: len(max(others, key=len))] for each in found} == others
    env = Path(f"/proc/{running.pid}/environ").read_bytes()
    assert b"UNSPOOL_TEST_ROOT=" in env


def test_the_command_ends_with_a_daemon_that_is_killed(
    project: Project, background: Background, log: LogFile
) -> None:
    project.write("slow.py", 'from reporting import pause, report\nreport("slow")\npause("hold")\n')
    project.gate("hold")
    arguments = ("--spooler", project.spool, "--import", "slow")
    launch = subprocess.Popen(
        [UNSPOOL, "run", *arguments, "--daemonize2=d.log", "--pidfile=d.pid"],
        cwd=project.root,
        env=project.env,
        stderr=subprocess.PIPE,
    )
    project.events.wait("slow")
    assert launch.poll() is None
    pid = background.remember("d.pid")
    os.kill(pid, 9)
    _, message = launch.communicate(timeout=20)
    assert launch.returncode == 1
    assert f"its log `{log.path}` says why" in message.decode()
