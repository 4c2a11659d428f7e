"""Where the daemon runs, as whom, and what it writes besides tasks: both systems, the same options.

What differs (SIGTERM without `die-on-term`, the user's group, the mask of a daemon in the
background) is in docs/uwsgi-differences.md.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from both import Both, System
from everybody import USER, python_for, root_only
from harness import REAL_UWSGI, SUPPORT, UNSPOOL, Daemon
from inotify import DirectoryWatch
from logfile import LogFile
from processes import ProcessHandle, descendants_of, handles_below

SYSTEMS: list[System] = ["uwsgi", "unspool"]
READY = "spawned the uWSGI spooler|unspool is ready"
RELOADED = r"gracefully \(RE\)spawned uWSGI master|reload done"

MODULE = """
    import os

    from uwsgidecorators import spool
    from reporting import report

    @spool
    def look(args):
        mask = os.umask(0)
        os.umask(mask)
        print("the task speaks", flush=True)
        report("look", umask=mask, cwd=os.getcwd(), stdin=os.readlink("/proc/self/fd/0"))

    @spool
    def flood(args):
        for number in range(int(args["lines"])):
            print("flood", number, "x" * 90)
        print("the flood is over", flush=True)
        report("flood")
"""


def run(both: Both, system: System, *options: str) -> Daemon:
    both.project.write("look_task.py", MODULE)
    return both.run(system, "look_task", f"--pythonpath={both.project.root}", *options)


def put(both: Both) -> None:
    fields = {b"ud_spool_func": b"look", b"ud_spool_ret": b"-2"}
    both.write("unspool", ("spool", (fields,), {}))


def start(both: Both, system: System, *lines: str) -> Daemon:
    """From an ini file, with the log where its lines say."""
    root = both.project.root
    both.project.write("look_task.py", MODULE)
    text = "\n".join(
        [
            "[uwsgi]",
            f"spooler = {both.project.spool}",
            "spooler-frequency = 1",
            "spooler-import = look_task",
            f"pythonpath = {root}",
            *lines,
            "",
        ]
    )
    path = os.fspath(both.project.write("app.ini", text))
    if system == "uwsgi":
        return both._uwsgi("--ini", path, env={})
    return both._start(UNSPOOL, "run", "--ini", path, env={})


PIDFILES = ("pidfile", "pidfile2", "safe-pidfile", "safe-pidfile2")


@pytest.mark.parametrize("vacuum", [False, True])
@pytest.mark.parametrize("system", SYSTEMS)
def test_pid_files(both: Both, system: System, vacuum: bool) -> None:
    paths = {name: both.project.root / f"{name}.pid" for name in PIDFILES}
    options = [f"--{name}={path}" for name, path in paths.items()]
    running = run(both, system, "--umask=027", *options, *(["--vacuum"] if vacuum else []))
    put(both)
    assert both.project.events.wait("look")["umask"] == 0o27
    for path in paths.values():
        assert path.read_text() == f"{running.pid}\n"
        assert path.stat().st_mode & 0o777 == 0o640
    assert running.stop() == 0
    assert [path.exists() for path in paths.values()] == [not vacuum] * 4


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("option", ["logto", "logto2"])
def test_the_log_is_a_file_that_is_opened_anew(both: Both, system: System, option: str) -> None:
    root = both.project.root
    log, old = LogFile(root / "app.log"), LogFile(root / "app.log.1")
    log.path.write_text("before\n")
    touched = root / "touched"
    touched.touch()
    os.utime(touched, (1, 1))
    running = start(both, system, f"{option} = {log.path}", f"touch-logreopen = {touched}",
                    f"master-fifo = {root}/fifo")  # fmt: skip
    log.wait(READY)
    put(both)
    log.wait("^the task speaks$")
    assert log.lines[0] == "before"
    for again in (touched.touch, lambda: (root / "fifo").write_text("l")):
        log.path.rename(old.path)
        again()
        log.wait("open")
        put(both)
        log.wait("^the task speaks$")
    assert running.stop() == 0
    log.wait("goodbye|stopped")
    assert not [line for line in (*running.log, *running.output) if "task speaks" in line]


def flood(both: Both, lines: int) -> None:
    fields = {b"ud_spool_func": b"flood", b"ud_spool_ret": b"-2", b"lines": b"%d" % lines}
    both.write("unspool", ("spool", (fields,), {}))
    both.project.events.wait("flood")


def flooded(paths: list[Path]) -> list[str]:
    """The numbers of the lines that the task wrote, in the order of these files."""
    lines = [line for path in paths for line in path.read_text().splitlines()]
    return [line.split()[1] for line in lines if line.startswith("flood ")]


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(("backup", "logger"), [(False, False), (True, False), (False, True)])
def test_a_log_file_that_has_grown_is_moved_away(
    both: Both, system: System, backup: bool, logger: bool
) -> None:
    """uWSGI looks once a second and says so; in unspool no file is longer than it may be."""
    root = both.project.root
    log, old = LogFile(root / "app.log"), root / "old.log"
    lines = [f"logto = {log.path}", "log-maxsize = 6000"]
    if logger:
        lines = [f"logger = file:logfile={log.path},maxsize=6000"]
    if backup:
        lines.append(f"log-backupname = {old}")
    running = start(both, system, *lines)
    log.wait(READY)
    began = int(time.time())
    with DirectoryWatch(root) as watch:
        flood(both, 80)
        if not backup:
            watch.wait(lambda: any(root.glob("app.log.*")), 20)
            (old,) = root.glob("app.log.*")
            assert began <= int(old.suffix[1:]) <= time.time() + 1
        watch.wait(lambda: old.exists() and log.path.exists(), 20)
    put(both)
    log.wait("^the task speaks$")
    assert flooded([old, log.path]) == [str(number) for number in range(80)]
    if system == "unspool":
        assert old.stat().st_size <= 6000
        assert old.stat().st_mode & 0o777 == log.path.stat().st_mode & 0o777 == 0o640
    assert running.stop() == 0


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_log_file_is_moved_away_when_told(both: Both, system: System) -> None:
    root = both.project.root
    log, old, touched = LogFile(root / "app.log"), LogFile(root / "old.log"), root / "touched"
    touched.touch()
    os.utime(touched, (1, 1))
    running = start(both, system, f"logto = {log.path}", f"log-backupname = {old.path}",
                    f"touch-logrotate = {touched}", f"master-fifo = {root}/fifo")  # fmt: skip
    log.wait(READY)
    for again in (touched.touch, lambda: (root / "fifo").write_text("L")):
        put(both)
        log.wait("^the task speaks$")
        again()
        old.wait("^the task speaks$")
        with DirectoryWatch(root) as watch:
            watch.wait(log.path.exists, 20)
        assert "the task speaks" not in log.lines
        old.path.unlink()
    assert running.stop() == 0


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_log_file_is_emptied_at_the_start(both: Both, system: System) -> None:
    log = LogFile(both.project.root / "app.log")
    log.path.write_text("before\n")
    running = start(both, system, f"logto = {log.path}", "log-truncate = true")
    log.wait(READY)
    assert "before" not in log.lines
    assert running.stop() == 0


@root_only
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_log_file_belongs_to_the_user_and_has_its_mode(both: Both, system: System) -> None:
    log = LogFile(both.project.root / "app.log")
    log.path.write_text("before\n")
    running = start(both, system, f"logto = {log.path}", "logfile-chmod = 604", "logfile-chown = 1",
                    "uid = root", f"gid = {grp.getgrgid(65534).gr_name}")  # fmt: skip
    log.wait(READY)
    found = log.path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, 65534, 0o604)
    assert running.stop() == 0


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_logger_that_is_a_file(both: Both, system: System) -> None:
    log = LogFile(both.project.root / "app.log")
    log.path.write_text("before\n")
    running = start(both, system, f"logger = file:{log.path}")
    log.wait(READY)
    put(both)
    log.wait("^the task speaks$")
    assert log.lines[0] == "before"
    both.stop()
    assert not [line for line in (*running.log, *running.output) if "task speaks" in line]


@pytest.mark.parametrize("system", SYSTEMS)
def test_pid_files_are_written_again_when_the_master_fifo_says_so(
    both: Both, system: System
) -> None:
    root = both.project.root
    pidfile, fifo = root / "app.pid", root / "fifo"
    running = run(both, system, f"--pidfile={pidfile}", f"--master-fifo={fifo}")
    # uWSGI reads its FIFO late in its start.
    put(both)
    both.project.events.wait("look")
    pidfile.unlink()
    fifo.write_text("P")
    wait_content(pidfile)
    assert pidfile.read_text() == f"{running.pid}\n"


def wait_content(path: Path) -> None:
    """Waits until a file is there and says something: not every writer renames it."""
    LogFile(path).wait(".")


@pytest.mark.parametrize("system", SYSTEMS)
def test_with_die_on_term_sigterm_stops_and_sigquit_reloads(both: Both, system: System) -> None:
    running = run(both, system, "--die-on-term")
    # uWSGI answers signals late in its start.
    put(both)
    both.project.events.wait("look")
    mark = running.mark()
    running.send(signal.SIGQUIT)
    running.wait_log("spawned the uWSGI spooler|reload done", since=mark)
    put(both)
    both.project.events.wait("look")
    assert running.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("system", SYSTEMS)
def test_without_die_on_term_sigterm_reloads_uwsgi_and_stops_unspool(
    both: Both, system: System
) -> None:
    both.project.write("look_task.py", MODULE)
    options = [
        f"--spooler={both.project.spool}",
        "--spooler-import=look_task",
        "--spooler-frequency=1",
    ]
    paths = [f"--pythonpath={SUPPORT}", f"--pythonpath={both.project.root}"]
    if system == "uwsgi":
        home = f"--virtualenv={REAL_UWSGI.parent.parent}"
        running = both._start(REAL_UWSGI, "--master", home, *options, *paths, env={})
    else:
        running = both._start(UNSPOOL, "run", *options, *paths, env={})
    running.wait_log(READY)
    # uWSGI answers signals late in its start.
    put(both)
    both.project.events.wait("look")
    mark = running.mark()
    running.send(signal.SIGTERM)
    if system == "uwsgi":
        running.wait_log(RELOADED, since=mark)
        put(both)
        both.project.events.wait("look")
        running.send(signal.SIGQUIT)
    assert running.wait_exit() == 0


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        (["--procname-prefix-spaced=app", "--procname-append=!"], "app .*!"),
        (["--procname=it", "--procname-prefix=app-"], "app-it"),
    ],
)
def test_titles(both: Both, system: System, options: list[str], pattern: str) -> None:
    running = run(both, system, *options)
    # By then the master has its title too.
    put(both)
    both.project.events.wait("look")
    pids = [running.pid, *descendants_of(running.pid)]
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids]
    titles = [line.replace(b"\0", b" ").strip().decode() for line in lines]
    assert len(titles) >= 2
    assert [title for title in titles if not re.fullmatch(pattern, title)] == []


@pytest.mark.parametrize("system", SYSTEMS)
def test_signals_that_only_ask(both: Both, system: System) -> None:
    running = run(both, system)
    put(both)
    both.project.events.wait("look")
    for number in (signal.SIGUSR1, signal.SIGTSTP, signal.SIGWINCH):
        running.send(number)
        put(both)
        both.project.events.wait("look")
    assert running.running


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def left() -> Iterator[list[ProcessHandle]]:
    """What is killed at the end."""
    handles: list[ProcessHandle] = []
    yield handles
    for handle in handles:
        below = handles_below(handle.pid)
        for each in (handle, *below):
            each.send(signal.SIGKILL)
            each.wait()
            each.close()


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("option", ["daemonize", "daemonize2"])
def test_in_the_background(
    both: Both, system: System, option: str, left: list[ProcessHandle]
) -> None:
    project = both.project
    log, pidfile = LogFile(project.root / "app.log"), project.root / "app.pid"
    launch = start(
        both,
        system,
        f"{option} = {log.path}",
        f"pidfile = {pidfile}",
        "vacuum = true",
        *(["umask = 022"] if option == "daemonize" else []),
        "attach-daemon = echo attached by $PPID; exec sleep 1000",
        "cron = 1 1 1 1 1 true",
    )
    assert launch.wait_exit() == 0
    # uWSGI's command returns before anything is there.
    wait_content(pidfile)
    pid = int(pidfile.read_text())
    handle = ProcessHandle(pid)
    left.append(handle)
    assert os.getsid(pid) != os.getsid(0)
    log.wait(READY)
    # What programs print goes where the daemon logs.
    log.wait(f"^attached by {pid}$")
    put(both)
    look = project.events.wait("look")
    inherited = os.umask(0o22)
    os.umask(inherited)
    # Without the option uWSGI takes all bits away.
    mask = 0o22 if option == "daemonize" else 0 if system == "uwsgi" else inherited
    assert (look["stdin"], look["umask"]) == ("/dev/null", mask)
    log.wait("^the task speaks$")

    def tell(option: str) -> None:
        command = [REAL_UWSGI] if system == "uwsgi" else [UNSPOOL, "run"]
        project.run(*command, f"--{option}", pidfile, env=project.env)

    seen = len(log.lines)
    tell("reload")
    LogFileSince(log, seen).wait(RELOADED)
    put(both)
    project.events.wait("look")
    # A reload of uWSGI executes it anew in the same process.
    assert int(pidfile.read_text()) == pid
    below = handles_below(pid)
    tell("stop")
    assert handle.wait()
    for each in below:
        assert each.wait()
        each.close()
    assert not pidfile.exists()


class LogFileSince(LogFile):
    """The lines of a log from one on."""

    def __init__(self, log: LogFile, seen: int) -> None:
        super().__init__(log.path)
        self._seen = seen

    @property
    def lines(self) -> list[str]:
        return super().lines[self._seen :]


@root_only
@pytest.mark.parametrize("system", SYSTEMS)
def test_another_user(both: Both, system: System) -> None:
    """The daemon, its workers, and the programs that it starts."""
    project = both.project
    python = python_for(project)
    project.root.chmod(0o777)
    user = pwd.getpwnam(USER)
    os.chown(project.spool, user.pw_uid, -1)
    project.write("who.py", """
        import os
        import uwsgi

        def spooler(task):
            open("../worker", "w").write(f"{os.getresuid()} {os.getresgid()} {os.getgroups()}")
            return uwsgi.SPOOL_OK

        uwsgi.spooler = spooler
    """).chmod(0o644)  # fmt: skip
    options = [
        f"--spooler={project.spool}",
        "--import=who",
        "--spooler-import=who",
        "--spooler-frequency=1",
        "--umask=027",
        f"--pythonpath={project.root}",
        f"--uid={USER}",
        "--gid=daemon",
        "--add-gid=mail",
        f"--pidfile={project.root}/p1",
        f"--pidfile2={project.root}/p2",
        f"--attach-daemon=exec > {project.root}/program; id -u; id -g; id -Gn; umask; sleep 1000",
    ]
    if system == "uwsgi":
        # Its own environment is root's.
        running = both._start(REAL_UWSGI, "--master", "--die-on-term", "--home=/usr", *options,
                              env={})  # fmt: skip
    else:
        running = both._start(UNSPOOL, "run", f"--virtualenv={python}", *options, env={})
    running.wait_log(READY)
    task = project.spool / "uwsgi_spoolfile_on_test_1_1_1_1_1"
    task.write_bytes(b"\x11\x00\x00\x00")
    os.chown(task, user.pw_uid, -1)
    wait_content(project.root / "worker")
    ids, gids, groups = split(project.root / "worker")
    daemon, mail = 1, 8
    assert ids == f"({user.pw_uid}, {user.pw_uid}, {user.pw_uid})"
    assert gids == f"({daemon}, {daemon}, {daemon})"
    # Whether the list has the process's own group besides is all the same.
    assert groups in (f"[{daemon}, {mail}]", f"[{mail}]")
    program = LogFile(project.root / "program")
    program.wait("^0+27$")
    assert program.lines[:3] == [str(user.pw_uid), str(daemon), "daemon mail"]
    owners = [(project.root / name).stat() for name in ("p1", "p2")]
    assert [owner.st_uid for owner in owners] == [0, user.pw_uid]
    status = Path(f"/proc/{running.pid}/status").read_text()
    assert f"\nUid:\t{user.pw_uid}\t{user.pw_uid}\t" in status


def split(path: Path) -> list[str]:
    """Three tuples or lists in a line."""
    return [part.strip() for part in path.read_text().replace(") ", ")|").split("|")]


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("honoured", [False, True])
def test_the_standard_input_of_the_start(both: Both, system: System, honoured: bool) -> None:
    """A debugger in a task needs it; uWSGI's spoolers never have it."""
    typed = both.project.write("typed", "")
    both.project.write("look_task.py", MODULE)
    options = [f"--spooler={both.project.spool}", "--spooler-import=look_task",
               "--spooler-frequency=1", f"--pythonpath={both.project.root}",
               f"--pythonpath={SUPPORT}",
               *(["--honour-stdin"] if honoured else [])]  # fmt: skip
    # The harness gives a daemon an empty one.
    if system == "uwsgi":
        command = [
            REAL_UWSGI,
            "--master",
            "--die-on-term",
            f"--virtualenv={REAL_UWSGI.parent.parent}",
            *options,
        ]
    else:
        command = [UNSPOOL, "run", *options]
    shell = 'typed=$1; shift; exec "$@" < "$typed"'
    both._start(Path("/bin/sh"), "-c", shell, "sh", os.fspath(typed), *map(str, command), env={})
    put(both)
    stdin = both.project.events.wait("look")["stdin"]
    assert stdin == (os.fspath(typed) if honoured and system == "unspool" else "/dev/null")
