"""Where the daemon logs, and in what form."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import Daemon, Project, wait_gone
from inotify import DirectoryWatch
from logfile import LogFile
from spooling import submit

MODULE = """
    import sys

    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def say(args):
        print("out", args["id"], flush=True)
        print("err", args["id"], file=sys.stderr)
        report("say")

    @spool
    def flood(args):
        for number in range(int(args["lines"])):
            print(number, "x" * 100)
        sys.stdout.flush()
        report("flood")

    @spool
    def half(args):
        sys.stdout.write("no end")
        report("half")
"""


def start(project: Project, daemon: DaemonFactory, *options: str, ready: bool = True) -> Daemon:
    project.write("tasks.py", MODULE)
    return daemon("--spooler", project.spool, "--spooler-import", "tasks", *options, ready=ready)


@pytest.mark.parametrize(
    "option", ["logto={}", "logto2={}", "logger=file:{}", "logger=jobs file:{}"]
)
def test_the_daemon_and_its_processes_log_to_a_file(
    project: Project, daemon: DaemonFactory, option: str
) -> None:
    log = LogFile(project.root / "d.log")
    log.path.write_text("before\n")
    running = start(project, daemon, f"--{option.format('d.log')}", ready=False)
    log.wait("unspool is ready")
    submit(project, "say", id=1)
    log.wait("^out 1$")
    log.wait("^err 1$")
    log.wait("task done .* function=say")
    assert running.stop() == 0
    lines = log.lines
    assert lines[0] == "before"
    assert lines[-1].endswith("stopped")
    assert running.log == [] and running.output == []


def test_the_last_line_needs_no_end(project: Project, daemon: DaemonFactory) -> None:
    log = LogFile(project.root / "d.log")
    running = start(project, daemon, "--logto=d.log", ready=False)
    submit(project, "half")
    project.events.wait("half")
    log.wait("task done")
    assert running.stop() == 0
    assert [line for line in log.lines if "no end" in line] == ["no end"]


def test_each_logger_gets_all_lines(project: Project, daemon: DaemonFactory) -> None:
    files = [LogFile(project.root / name) for name in ("a.log", "b.log")]
    running = start(project, daemon, "--logger=file:a.log", "--logger=file:b.log", "--logger=stdio")
    submit(project, "say", id=1)
    for log in files:
        log.wait("^out 1$")
    running.wait_log("^out 1$")
    assert running.stop() == 0
    assert files[0].lines == files[1].lines == running.log


@pytest.fixture
def datagrams(project: Project) -> Iterator[tuple[str, socket.socket]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        path = project.root / "log.sock"
        channel.bind(os.fspath(path))
        channel.settimeout(20)
        yield f"socket:{path}", channel


def wait_datagram(channel: socket.socket, pattern: bytes) -> bytes:
    while True:
        packet = channel.recv(1 << 16)
        if re.search(pattern, packet):
            return packet


@pytest.mark.parametrize("option", ["logger={}", "log-socket={}"])
def test_datagrams_to_a_unix_socket(
    project: Project, daemon: DaemonFactory, datagrams: tuple[str, socket.socket], option: str
) -> None:
    address, channel = datagrams
    address = address if option.startswith("logger") else address.removeprefix("socket:")
    start(project, daemon, f"--{option.format(address)}", ready=False)
    wait_datagram(channel, b"unspool is ready")
    submit(project, "say", id=1)
    assert wait_datagram(channel, b"out") == b"out 1\n"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_datagrams_by_udp(project: Project, daemon: DaemonFactory, host: str) -> None:
    family, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as channel:
        channel.bind(address)
        channel.settimeout(20)
        port = channel.getsockname()[1]
        start(project, daemon, f"--logger=socket:{host}:{port}", ready=False)
        wait_datagram(channel, b"unspool is ready")
        submit(project, "say", id=1)
        assert wait_datagram(channel, b"out") == b"out 1\n"


@pytest.mark.parametrize("option", ["logger=syslog:jobs,local6", "log-syslog=jobs,local6"])
def test_the_machines_log(project: Project, daemon: DaemonFactory, option: str) -> None:
    path = Path("/dev/log")
    if path.exists() or not os.access("/dev", os.W_OK):
        pytest.skip("not run: /dev/log belongs to somebody else here")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(os.fspath(path))
        try:
            channel.settimeout(20)
            running = start(project, daemon, f"--{option}", ready=False)
            packet = wait_datagram(channel, b"unspool is ready")
            # Facility 22, severity 6.
            head = rb"<182>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d jobs\[%d\]: " % running.pid
            assert re.match(head, packet), packet
            assert not packet.endswith(b"\n")
        finally:
            path.unlink()


def test_an_outside_tool_rotates_the_log(project: Project, daemon: DaemonFactory) -> None:
    log, old = LogFile(project.root / "d.log"), LogFile(project.root / "d.log.1")
    touched = project.root / "reopen"
    touched.touch()
    start(project, daemon, "--logto=d.log", f"--touch-logreopen={touched}", ready=False)
    log.wait("unspool is ready")
    submit(project, "say", id=1)
    log.wait("^out 1$")
    log.path.rename(old.path)
    submit(project, "say", id=2)
    # Nothing is lost in between.
    old.wait("^out 2$")
    touched.touch()
    assert reopened(log)
    submit(project, "say", id=3)
    log.wait("^out 3$")
    assert not any("out 3" in line for line in old.lines)


def test_a_reload_opens_the_log_anew_if_asked(project: Project, daemon: DaemonFactory) -> None:
    log, old = LogFile(project.root / "d.log"), LogFile(project.root / "d.log.1")
    running = start(project, daemon, "--logto=d.log", "--log-reopen", ready=False)
    log.wait("unspool is ready")
    log.path.rename(old.path)
    running.send(signal.SIGHUP)
    with DirectoryWatch(project.root) as watch:
        watch.wait(log.path.exists, 20)
    log.wait("reload done")
    assert "reloading the application" in old.path.read_text()


def reopened(log: LogFile) -> bool:
    with DirectoryWatch(log.path.parent) as watch:
        return watch.wait(log.path.exists, 5)


def test_files_of_one_second_are_not_written_over(project: Project, daemon: DaemonFactory) -> None:
    log = LogFile(project.root / "d.log")
    options = ["--logto=d.log", "--log-maxsize=2000"]
    running = start(project, daemon, *options, ready=False)
    submit(project, "flood", lines=200)
    project.events.wait("flood")
    submit(project, "say", id=1)
    project.events.wait("say")
    assert running.stop() == 0
    files = [log.path, *project.root.glob("d.log.*")]
    assert len(files) > 10
    assert max(path.stat().st_size for path in files) <= 2000
    lines = [line for path in files for line in path.read_text().splitlines()]
    assert sorted(int(line.split()[0]) for line in lines if "xxx" in line) == list(range(200))


def test_a_log_that_cannot_be_moved_goes_on_with_a_line_about_it(
    project: Project, daemon: DaemonFactory
) -> None:
    log = LogFile(project.root / "d.log")
    (project.root / "taken").mkdir()
    options = ["--logto=d.log", "--log-maxsize=2000", "--log-backupname=taken"]
    running = start(project, daemon, *options, ready=False)
    submit(project, "flood", lines=200)
    log.wait("^199 xxx")
    assert running.stop() == 0
    assert len([line for line in log.lines if "xxx" in line]) == 200
    told = [line for line in log.lines if line.startswith("unspool: cannot rotate the log")]
    assert len(told) == 1 and "d.log: Is a directory" in told[0]


def test_a_file_that_an_outside_tool_has_moved_is_not_moved_again(
    project: Project, daemon: DaemonFactory
) -> None:
    """And what it has put in its place is not moved either."""
    log, moved = LogFile(project.root / "d.log"), LogFile(project.root / "moved")
    fifo = project.root / "fifo"
    running = start(project, daemon, "--logto=d.log", f"--master-fifo={fifo}", ready=False)
    log.wait("unspool is ready")
    log.path.rename(moved.path)
    log.path.write_text("new\n")
    fifo.write_text("L")
    log.wait("rotating the log file")
    assert log.lines[0] == "new"
    assert running.stop() == 0
    assert not list(project.root.glob("d.log.*"))


def test_a_log_that_nobody_takes_costs_lines_and_no_task(
    project: Project, daemon: DaemonFactory
) -> None:
    fifo = project.root / "log.fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        running = start(project, daemon, f"--logger=file:{fifo}", "--logger=stdio")
        # Far more than the FIFO, the pipe and the queue hold together.
        submit(project, "flood", lines=30_000)
        project.events.wait("flood")
        submit(project, "say", id=1)
        project.events.wait("say")
        got = b""
        while b"log lines were lost" not in got:
            got += read_some(reader)
            # Each line makes it try again, at most once a second.
            submit(project, "say", id=1)
            project.events.wait("say")
        assert re.search(rb"unspool: \d+ log lines were lost", got)
        assert running.stop() == 0
    finally:
        os.close(reader)


def read_some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return b""


def test_a_full_disk_costs_lines_and_no_task(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon, "--logger=file:/dev/full", "--logger=stdio")
    submit(project, "say", id=1)
    project.events.wait("say")
    running.wait_log("^out 1$")
    running.wait_log("task done")
    assert running.stop() == 0


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        (["--log-date=[%Y/%m]"], r"^\[\d{4}/\d\d\] INFO  unspool is ready"),
        (["--log-date"], r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO  unspool is ready"),
        (["--spooler-log-format=uwsgi"], r"^unspool is ready"),
        (
            ["--spooler-log-format=uwsgi", "--log-date"],
            r"^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4} - unspool is ready",
        ),
        (["--spooler-log-format=uwsgi", "--logdate=%H|"], r"^\d\d\| - unspool is ready"),
    ],
)
def test_the_time_in_front(
    project: Project, daemon: DaemonFactory, options: list[str], pattern: str
) -> None:
    start(project, daemon, *options).wait_log(pattern)


def test_a_log_that_cannot_be_opened_ends_the_start(project: Project) -> None:
    for option in ("--logto", "--logto2", "--daemonize"):
        done = project.unspool("run", "--spooler", "spool", option, "no/such/d.log", check=False)
        assert done.returncode == 1
        expected = f"`{option[2:]}`: cannot open the log `{project.root}/no/such/d.log`: No such"
        assert expected in done.stderr
    assert not project.spool.exists()


def test_a_format_that_is_none_ends_the_start(project: Project) -> None:
    done = project.unspool("run", "--spooler", "spool", "--log-date=%!", check=False)
    assert done.returncode == 2
    assert "`log-date`: `%!` is no format of strftime" in done.stderr


def test_output_of_a_worker_whose_daemon_is_gone_fails_no_task(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write(
        "orphan.py",
        """
        from uwsgidecorators import spool
        from reporting import pause, report

        @spool
        def orphan(args):
            report("orphan")
            pause("go")
            print("nobody reads this")
            report("end")
        """,
    )
    gate = project.gate("go")
    running = daemon(
        "--spooler", project.spool, "--spooler-import", "orphan", "--logto=d.log", ready=False
    )
    task = submit(project, "orphan")
    project.events.wait("orphan")
    running.send(signal.SIGKILL)
    running.wait_exit()
    gate.release()
    project.events.wait("end")
    wait_gone(task)
