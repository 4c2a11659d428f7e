"""Drives the real `unspool` command: what the tests and the demonstration share.

Owns the child processes it starts, the socket on which their tasks report, and the waiting: every
wait here ends at an event (a log line, a report, a change in a directory, the end of a process) or
at its bound. It does not know what a task file looks like inside; that is unspool's business.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeAlias

from inotify import DirectoryWatch
from lag import Delivery, dawdle
from processes import WAIT_SECONDS_MAX, ProcessHandle, children_of, descendants_of, handles_below

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = Path(__file__).resolve().parent / "support"
PYTHON = Path(sys.executable)
UNSPOOL = PYTHON.parent / "unspool"
REAL_UWSGI = ROOT / ".venv-uwsgi" / "bin" / "uwsgi"

# Generous, because they only bound a failure: nothing waits for them when all is well.
START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 30.0
# In which a uWSGI that heard a signal has ended.
UWSGI_HEARS_SECONDS_MAX = 5.0

TASK_PREFIX = "uwsgi_spoolfile_on_"
RESERVED_FOLDERS = frozenset({".unspool", "dead", "corrupt", "results"})

Argument: TypeAlias = "str | os.PathLike[str]"


class HarnessError(AssertionError):
    """What was waited for did not happen; the message carries the log."""


class LineReader:
    """The lines of one stream, read by a thread so that a child never blocks on a full pipe."""

    def __init__(self, stream: IO[bytes], way: str, name: str) -> None:
        self._stream = stream
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._ended = False
        self._delivery = Delivery(way, self._append)
        self._thread = threading.Thread(target=self._read, name=name, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._stream:
            for raw in self._stream:
                self._delivery.put(raw.decode("utf-8", "backslashreplace").rstrip("\n"))
        self._delivery.close()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _append(self, line: str) -> None:
        with self._changed:
            self._lines.append(line)
            self._changed.notify_all()

    @property
    def lines(self) -> list[str]:
        """A copy of all that was read so far."""
        with self._changed:
            return list(self._lines)

    def wait(self, pattern: str, timeout: float, since: int) -> re.Match[str] | None:
        """The first line from number `since` on that matches, or None at the bound or the end."""
        expression = re.compile(pattern)
        deadline = time.monotonic() + timeout
        position = since
        with self._changed:
            while True:
                while position < len(self._lines):
                    found = expression.search(self._lines[position])
                    if found is not None:
                        return found
                    position += 1
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    return None
                self._changed.wait(left)

    def join(self, timeout: float) -> None:
        """Waits until the stream has ended, so that its last lines are there."""
        self._thread.join(timeout)


class Daemon:
    """One `unspool run ...` in the foreground, with its log."""

    def __init__(
        self,
        *arguments: Argument,
        cwd: Path,
        env: Mapping[str, str],
        command: tuple[Argument, ...] = (UNSPOOL, "run"),
    ) -> None:
        self.arguments = [os.fspath(part) for part in (*command, *arguments)]
        self._cwd = cwd
        self._env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: LineReader | None = None
        self._stdout: LineReader | None = None
        self._left: list[ProcessHandle] = []

    def start(self) -> Daemon:
        """Starts the process and does not wait until it is ready."""
        process = subprocess.Popen(
            self.arguments,
            cwd=self._cwd,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None and process.stdout is not None
        self._process = process
        self._stderr = LineReader(process.stderr, "log", f"stderr of {process.pid}")
        self._stdout = LineReader(process.stdout, "output", f"stdout of {process.pid}")
        return self

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise HarnessError("the daemon was not started")
        return self._process

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        return self._started.pid

    @property
    def running(self) -> bool:
        """Whether the daemon lives."""
        return self._started.poll() is None

    @property
    def log(self) -> list[str]:
        """The lines on its standard error so far."""
        return [] if self._stderr is None else self._stderr.lines

    @property
    def output(self) -> list[str]:
        """The lines on its standard output so far."""
        return [] if self._stdout is None else self._stdout.lines

    def mark(self) -> int:
        """The number of log lines so far: `wait_log(..., since=mark)` looks only at newer ones."""
        return len(self.log)

    def wait_ready(self, timeout: float = START_SECONDS_MAX, since: int = 0) -> Daemon:
        """Waits until every spool has its workers."""
        self.wait_log(r"\bready\b", timeout, since)
        return self

    def wait_log(
        self, pattern: str, timeout: float = WAIT_SECONDS_MAX, since: int = 0
    ) -> re.Match[str]:
        """The first log line that the expression matches, from line `since` on."""
        assert self._stderr is not None, "the daemon was not started"
        return self._expect(self._stderr, "log", pattern, timeout, since)

    def after(self, found: re.Match[str]) -> int:
        """The number of the log line behind the found one: `since=` for what must follow it."""
        return next(n for n, line in enumerate(self.log, 1) if line is found.string)

    def wait_output(
        self, pattern: str, timeout: float = WAIT_SECONDS_MAX, since: int = 0
    ) -> re.Match[str]:
        """The same on standard output."""
        assert self._stdout is not None, "the daemon was not started"
        return self._expect(self._stdout, "output", pattern, timeout, since)

    def _expect(
        self, reader: LineReader, where: str, pattern: str, timeout: float, since: int
    ) -> re.Match[str]:
        found = reader.wait(pattern, timeout, since)
        if found is None:
            state = "runs" if self.running else f"ended with status {self._started.returncode}"
            raise HarnessError(
                f"no line matches {pattern!r} in the {where} of the daemon (which {state}) "
                f"within {timeout:g} s\n{self.describe()}"
            )
        dawdle()
        return found

    @property
    def children(self) -> list[int]:
        """The direct children: the zygote and the workers."""
        return children_of(self.pid)

    @property
    def workers(self) -> list[int]:
        """The children that are not zygotes: the log names those."""
        imported = re.findall(r"application imported.*\bpid=(\d+)", "\n".join(self.log))
        zygotes = {int(pid) for pid in imported}
        return [pid for pid in self.children if pid not in zygotes]

    def send(self, number: signal.Signals) -> None:
        """Signals the daemon."""
        self._started.send_signal(number)

    def reload(self) -> Daemon:
        """Sends SIGHUP and waits until new workers have replaced the old ones."""
        mark = self.mark()
        self.send(signal.SIGHUP)
        return self.wait_reloaded(mark)

    def wait_reloaded(self, since: int) -> Daemon:
        """Waits until what was imported after line `since` of the log runs all new tasks."""
        imported = self.wait_log(r"application imported", START_SECONDS_MAX, since)
        self.wait_log(r"reload done", START_SECONDS_MAX, self.after(imported))
        return self

    def wait_exit(self, timeout: float = STOP_SECONDS_MAX) -> int:
        """Waits for the end of the daemon and returns its status."""
        try:
            status = self._started.wait(timeout)
        except subprocess.TimeoutExpired:
            raise HarnessError(
                f"the daemon did not end within {timeout:g} s\n{self.describe()}"
            ) from None
        for reader in (self._stderr, self._stdout):
            if reader is not None:
                # A worker that outlives the daemon holds the pipe: a short bound is enough.
                reader.join(1.0)
        return status

    def stop(
        self, number: signal.Signals = signal.SIGTERM, timeout: float = STOP_SECONDS_MAX
    ) -> int:
        """Asks the daemon to stop and returns its exit status."""
        self._remember_descendants()
        if self.running:
            self.send(number)
        if self.arguments[0] == str(REAL_UWSGI):
            self._ask_again(number, timeout)
        return self.wait_exit(timeout)

    def _ask_again(self, number: signal.Signals, timeout: float) -> None:
        """A uWSGI that starts misses signals, in its master or in a worker, and then runs on."""
        for _ in range(int(timeout / UWSGI_HEARS_SECONDS_MAX) - 1):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._started.wait(UWSGI_HEARS_SECONDS_MAX)
                return
            self.send(number)

    def kill(self) -> None:
        """SIGKILL to the daemon alone: its workers notice by themselves."""
        self._remember_descendants()
        self._started.kill()
        # Its log goes on: the workers write to it.
        self._started.wait(STOP_SECONDS_MAX)

    def kill_all(self) -> None:
        """SIGKILL to the daemon, so that it counts nothing, and then to all its children."""
        children = handles_below(self.pid)
        self.kill()
        for child in children:
            child.send(signal.SIGKILL)
            assert child.wait()
            child.close()

    def close(self) -> None:
        """Kills whatever is left, the daemon and all that it started."""
        if self._process is None:
            return
        self._remember_descendants()
        if self.running:
            self._process.kill()
        self._process.wait()
        for handle in self._left:
            handle.send(signal.SIGKILL)
            handle.wait()
            handle.close()
        self._left.clear()

    def _remember_descendants(self) -> None:
        known = {handle.pid for handle in self._left}
        for pid in descendants_of(self.pid):
            if pid not in known:
                with contextlib.suppress(ProcessLookupError):
                    self._left.append(ProcessHandle(pid))

    def describe(self) -> str:
        """The command, its log and its output, for a failure message."""
        log = "\n".join(f"  | {line}" for line in self.log[-200:]) or "  (empty)"
        output = "\n".join(f"  > {line}" for line in self.output[-50:])
        return f"$ {' '.join(self.arguments)}\n{log}\n{output}".rstrip()


@dataclass(frozen=True)
class Event:
    """One report of a task: `reporting.report(name, **fields)`."""

    name: str
    pid: int
    time: float
    monotonic: float
    fields: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        return self.fields[key]


Match: TypeAlias = "str | Callable[[Event], bool]"

# Between the reports, no pickle: up to here all have been read.
_MARK = b"mark"


class Events:
    """A datagram socket on which tasks report from any process, in the order of arrival."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._changed = threading.Condition()
        self._history: list[Event] = []
        self._pending: list[Event] = []
        self._asked = self._answered = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(os.fspath(path))
        self._delivery = Delivery("reports", self._append)
        self._thread = threading.Thread(target=self._receive, name="events", daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        while True:
            packet = self._socket.recv(1 << 20)
            if not packet:
                self._delivery.close()
                return
            self._delivery.put(None if packet == _MARK else Event(**pickle.loads(packet)))

    def _append(self, event: Event | None) -> None:
        with self._changed:
            if event is None:
                self._answered += 1
            else:
                self._history.append(event)
                self._pending.append(event)
            self._changed.notify_all()

    @property
    def history(self) -> list[Event]:
        """Every report that was sent before this call, also those that were waited for."""
        with self._changed:
            self._asked += 1
            asked = self._asked
        # It arrives behind all that was sent before it.
        self._send(_MARK)
        with self._changed:
            if not self._changed.wait_for(lambda: self._answered >= asked, WAIT_SECONDS_MAX):
                raise HarnessError("the reports are not read")
            return list(self._history)

    def wait(self, match: Match, timeout: float = WAIT_SECONDS_MAX) -> Event:
        """The first report of this name (or for which this holds) not yet waited for."""
        return self.collect(1, match, timeout)[0]

    def collect(
        self, count: int, match: Match = lambda _: True, timeout: float = WAIT_SECONDS_MAX
    ) -> list[Event]:
        """The first `count` such reports, in the order of arrival."""
        found = self._collect(count, match, timeout)
        dawdle()
        return found

    def _collect(self, count: int, match: Match, timeout: float) -> list[Event]:
        holds = (lambda event: event.name == match) if isinstance(match, str) else match
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                found = [event for event in self._pending if holds(event)][:count]
                if len(found) == count:
                    chosen = {id(event) for event in found}
                    self._pending = [event for event in self._pending if id(event) not in chosen]
                    return found
                left = deadline - time.monotonic()
                if left <= 0:
                    wanted = match if isinstance(match, str) else "that match"
                    seen = "\n".join(f"  {event}" for event in self._history[-50:])
                    raise HarnessError(
                        f"{len(found)} of {count} reports {wanted!r} within {timeout:g} s; "
                        f"{len(self._history)} in all:\n{seen or '  (none)'}"
                    )
                self._changed.wait(left)

    def close(self) -> None:
        """Ends the reading thread."""
        self._send(b"")
        self._thread.join()
        self._socket.close()

    def _send(self, packet: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(packet, os.fspath(self.path))


class Gate:
    """Holds tasks that call `reporting.pause(name)` until the test lets them go on."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        # Open for both, so that neither side waits for the other to open its end.
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def release(self, count: int = 1) -> None:
        """Lets `count` pauses end, the present ones or later ones."""
        os.write(self._fd, b"." * count)

    def close(self) -> None:
        """Ends every pause that is left with an error in its task."""
        os.close(self._fd)


class Project:
    """A temporary application: its modules, its spool, its events, and unspool called in it."""

    def __init__(self) -> None:
        # Not below pytest's own folder: its long name does not fit in a socket's address.
        self._folder = tempfile.TemporaryDirectory(prefix="unspool-")
        self.root = Path(self._folder.name).resolve()
        self.spool = self.root / "spool"
        self.events = Events(self.root / "events.sock")
        self._gates: dict[str, Gate] = {}
        self.env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("UNSPOOL_", "UWSGI_", "PYTHON", "VIRTUAL_ENV"))
        }
        # A module that is rewritten within a second must not be taken from its old bytecode.
        self.env["PYTHONDONTWRITEBYTECODE"] = "1"
        self.env["PYTHONPATH"] = os.fspath(SUPPORT)
        # What a daemon without a spool keeps; what a service manager gave this process is not its.
        self.env["XDG_STATE_HOME"] = os.fspath(self.root / "state")
        self.env.pop("STATE_DIRECTORY", None)
        self.env["UNSPOOL_TEST_ROOT"] = os.fspath(self.root)

    @property
    def producer_env(self) -> dict[str, str]:
        """The environment of a process that submits to this project's spool."""
        return {**self.env, "UNSPOOL_SPOOL": os.fspath(self.spool)}

    def write(self, name: str, source: str) -> Path:
        """Writes a module, an ini file or the like; the text may be indented as a whole."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source).lstrip("\n"), "utf-8")
        return path

    def gate(self, name: str) -> Gate:
        """The gate at which `reporting.pause(name)` waits; made before the task can reach it."""
        if name not in self._gates:
            self._gates[name] = Gate(self.root / f"{name}.gate")
        return self._gates[name]

    def daemon(self, *arguments: Argument, env: Mapping[str, str] | None = None) -> Daemon:
        """A daemon in this project's folder, not yet started."""
        return Daemon(*arguments, cwd=self.root, env={**self.env, **(env or {})})

    def run(
        self,
        *command: Argument,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        timeout: float = WAIT_SECONDS_MAX,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end in this project's folder."""
        done = subprocess.run(
            [os.fspath(part) for part in command],
            cwd=self.root,
            env=self.producer_env if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            raise HarnessError(
                f"{command} ended with status {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def unspool(
        self, *arguments: Argument, check: bool = True, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The command `unspool`, pointed at this project's spool."""
        return self.run(UNSPOOL, *arguments, check=check, env=env)

    def python(
        self, source: str, *arguments: str, check: bool = True, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A Python program in a process of its own, pointed at this project's spool."""
        return self.run(PYTHON, "-c", textwrap.dedent(source), *arguments, check=check, env=env)

    def tasks(self) -> list[Path]:
        """The pending task files, those in priority folders too, sorted."""
        return sorted(pending_tasks(self.spool))

    def wait_empty(self, timeout: float = WAIT_SECONDS_MAX) -> None:
        """Waits until no task is pending."""
        for path in self.tasks():
            wait_gone(path, timeout)

    def close(self) -> None:
        """Removes everything."""
        for gate in self._gates.values():
            gate.close()
        self.events.close()
        self._folder.cleanup()


def free_port() -> int:
    """A port of this machine that nobody has; it stays the same over restarts of a daemon."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def pending_tasks(spool: Path) -> Iterator[Path]:
    """The task files in a spool folder and in its priority folders."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(spool):
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in RESERVED_FOLDERS:
                    yield from pending_tasks(Path(entry.path))
            elif entry.name.startswith(TASK_PREFIX):
                yield Path(entry.path)


def wait_gone(path: Path, timeout: float = WAIT_SECONDS_MAX) -> None:
    """Waits until there is no such file; its folder may go with it."""
    try:
        watching = DirectoryWatch(path.parent)
    except FileNotFoundError:
        return
    with watching as watch:
        if not watch.wait(lambda: not path.exists(), timeout):
            raise HarnessError(f"{path} is still there after {timeout:g} s")


def wait_present(folder: Path, pattern: str, timeout: float = WAIT_SECONDS_MAX) -> Path:
    """Waits until the folder, which need not exist yet, has a file of this pattern."""
    with DirectoryWatch(folder.parent) as parent:
        if not parent.wait(folder.is_dir, timeout):
            raise HarnessError(f"no folder {folder} after {timeout:g} s")
    with DirectoryWatch(folder) as watch:
        if not watch.wait(lambda: any(folder.glob(pattern)), timeout):
            raise HarnessError(f"no {pattern} in {folder} after {timeout:g} s")
    return next(folder.glob(pattern))
