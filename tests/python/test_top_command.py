"""`unspool top` on a terminal that is emulated, and without one."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyte
import pytest
from factory import DaemonFactory
from harness import UNSPOOL, Daemon, Project
from spooling import Producer, call, submit

MODULE = """
    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def hold(args):
        report("hold")
        pause("hold")

    @spool
    def fail(args):
        raise ValueError("no such order")
"""
SECONDS_MAX = 15.0


class Screen:
    """A terminal in which a program runs."""

    def __init__(
        self, project: Project, *arguments: str, size: tuple[int, int] = (24, 100)
    ) -> None:
        self.screen = pyte.Screen(size[1], size[0])
        self.stream = pyte.ByteStream(self.screen)
        self.master, slave = os.openpty()
        self._set_size(*size)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        env = {**project.env, "TERM": "xterm-256color"}
        command = [UNSPOOL, "top", "--interval", "0.1", "--spooler", project.spool, *arguments]
        self.process = subprocess.Popen(
            [str(word) for word in command],
            cwd=project.root,
            env=env,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def _set_size(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, lines: int, columns: int) -> None:
        """Another size, of which the program is told as terminals do."""
        self.screen.resize(lines, columns)
        self._set_size(lines, columns)
        self.process.send_signal(signal.SIGWINCH)

    def press(self, keys: str) -> None:
        """Types."""
        os.write(self.master, keys.encode())

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait(self, pattern: str) -> re.Match[str]:
        """Waits until it is on the screen."""
        found = self.wait_for(lambda: re.search(pattern, self.text, re.M), pattern)
        assert isinstance(found, re.Match)
        return found

    def wait_for(self, seen: Callable[[], Any], what: str) -> Any:
        """Reads until this is so."""
        deadline = time.monotonic() + SECONDS_MAX
        while not (found := seen()):
            left = deadline - time.monotonic()
            assert left > 0, f"not seen: {what}\n{self.text}"
            if select.select([self.master], [], [], min(left, 0.2))[0]:
                self.stream.feed(os.read(self.master, 65536))
        return found

    def wait_end(self) -> int:
        """The exit status, once the terminal is as it was."""
        self.wait_for(lambda: self.process.poll() is not None, "the end")
        assert termios.tcgetattr(self.slave) == self.before
        return self.process.returncode

    def close(self) -> None:
        """Ends what still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@contextmanager
def top(project: Project, *arguments: str, size: tuple[int, int] = (24, 100)) -> Iterator[Screen]:
    screen = Screen(project, *arguments, size=size)
    try:
        yield screen
    finally:
        screen.close()


@pytest.fixture
def running(project: Project, daemon: DaemonFactory) -> Daemon:
    project.write("tasks.py", MODULE)
    return daemon("--spooler", project.spool, "--spooler-import", "tasks")


def test_what_runs_and_what_fails(project: Project, running: Daemon) -> None:
    gate = project.gate("hold")
    with top(project) as screen:
        screen.wait(
            rf"^{re.escape(str(project.spool))}  daemon {running.pid} for .*, 1 worker, 0 busy"
        )
        submit(project, "hold")
        worker = project.events.wait("hold").pid
        screen.wait(rf"^\d+ (ms|s) +hold +{worker} +0 +- +\S+")
        screen.wait(r"^0 due  1 running  0 delayed")
        submit(project, "fail", "--max-attempts", "1")
        screen.wait(r"^1 due  1 running")
        gate.release()
        screen.wait(r"^0 due  0 running  0 delayed  1 dead")
        screen.wait(r"^\d\d:\d\d:\d\d ERROR task (failed|given up).*fail")
        screen.press("q")
        assert screen.wait_end() == 0


def test_the_chosen_task_says_where_it_is(project: Project, running: Daemon) -> None:
    gate = project.gate("hold")
    submit(project, "hold")
    project.events.wait("hold")
    with top(project) as screen:
        screen.wait("hold")
        screen.press("\r")
        screen.wait(r'File ".*tasks.py", line \d+, in hold')
        screen.press("x")
        screen.wait("^RUNNING FOR")
        screen.press("i")
        screen.wait("^state +running")
        screen.press("x?")
        screen.wait("^Keys of unspool top")
        screen.press("x\x03")
        assert screen.wait_end() == 0
    gate.release()


def test_the_spool_is_paused_and_resumed(project: Project, running: Daemon) -> None:
    with top(project) as screen:
        screen.wait("1 worker")
        screen.press("p")
        screen.wait(rf"^pause {re.escape(str(project.spool))}\? y/n")
        screen.press("n")
        screen.wait("^q quit")
        assert not project.unspool("pause", "--list", check=False).stdout
        screen.press("py")
        screen.wait("^the spool is paused by .*from `unspool top`")
        submit(project, "fail")
        screen.wait(r"^0 due .* 1 paused")
        screen.press("py")
        running.wait_log("task failed")
        screen.press("f")
        screen.press("nothing like it\r")
        screen.wait("f filter with `nothing like it`")
        screen.press("q")
        assert screen.wait_end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_gives_the_terminal_back(project: Project, running: Daemon, number: int) -> None:
    with top(project) as screen:
        screen.wait("1 worker")
        screen.process.send_signal(number)
        assert screen.wait_end() == 0


def test_it_goes_to_the_background_and_comes_back(project: Project, running: Daemon) -> None:
    with top(project) as screen:
        screen.wait("1 worker")
        screen.press("\x1a")
        os.waitid(os.P_PID, screen.process.pid, os.WSTOPPED | os.WNOWAIT)
        assert termios.tcgetattr(screen.slave) == screen.before
        screen.screen.reset()
        screen.process.send_signal(signal.SIGCONT)
        screen.wait("1 worker")
        screen.press("q")
        assert screen.wait_end() == 0


def test_a_terminal_of_any_size(project: Project, running: Daemon) -> None:
    with top(project, size=(5, 20)) as screen:
        screen.wait("RUNNING FOR|0 due")
        screen.resize(50, 200)
        screen.wait("^q quit.*every 100 ms")
        screen.resize(3, 10)
        submit(project, "fail")
        running.wait_log("task failed")
        screen.press("q")
        assert screen.wait_end() == 0


def test_daemons_come_and_go(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", MODULE)
    options = ("--spooler", project.spool, "--spooler-import", "tasks")
    submit(project, "fail", "--delay", "3600")
    with top(project) as screen:
        screen.wait("no daemon runs here")
        screen.wait("^0 due  0 running  1 delayed")
        first = daemon(*options)
        screen.wait(f"daemon {first.pid} for")
        first.stop()
        screen.wait("no daemon runs here")
        second = daemon(*options)
        screen.wait(f"daemon {second.pid} for")
        screen.wait(r"^\d\d:\d\d:\d\d INFO  unspool is ready")
        screen.press("q")
        assert screen.wait_end() == 0


def test_a_spool_that_goes_away(project: Project) -> None:
    submit(project, "fail", "--delay", "3600")
    with top(project) as screen:
        screen.wait("1 delayed")
        moved = project.spool.rename(project.root / "elsewhere")
        screen.wait("cannot be opened: No such file")
        moved.rename(project.spool)
        screen.wait("1 delayed")
        screen.press("q")
        assert screen.wait_end() == 0


def test_a_long_backlog_without_a_daemon(project: Project) -> None:
    with Producer(project) as producer:
        producer.many([call("fail", priority="5") for _ in range(20_000)])
    with top(project) as screen:
        screen.wait(r"^\d+ due  0 running")
        began = time.monotonic()
        screen.press("?")
        screen.wait("^Keys of unspool top")
        assert time.monotonic() - began < 2
        screen.press("xq")
        assert screen.wait_end() == 0


def test_without_a_terminal(project: Project, running: Daemon) -> None:
    gate = project.gate("hold")
    task = submit(project, "hold")
    worker = project.events.wait("hold").pid
    once = project.unspool("top", "--spooler", project.spool).stdout
    assert re.search(rf"^running  hold for \d+ \w+, worker {worker}, {task.name}$", once, re.M), (
        once
    )
    done = project.unspool("top", "--json", "-n", "2", "-i", "0.1", "--spooler", project.spool)
    first, second = map(json.loads, done.stdout.splitlines())
    (spool,) = second["spools"]
    assert first["spools"][0]["rate"] is None and spool["rate"]["span_s"] > 0.05
    assert [row["function"] for row in spool["running"]] == ["hold"]
    assert (spool["tasks"]["running"], spool["workers"]["busy"]) == (1, 1)
    assert spool["daemons"][0]["pid"] == running.pid
    gate.release()
    missing = project.unspool("top", "--once", "--spooler", "missing", check=False)
    assert missing.returncode == 1 and "missing" in missing.stdout
    for wrong in (("-i", "0"), ("-n", "0"), ("--once", "-n", "3")):
        assert project.unspool("top", *wrong, check=False).returncode == 2
