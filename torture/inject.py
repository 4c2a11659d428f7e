"""System calls that fail: strace makes each call of the protocol fail, once and for ever.

Writes are cut short by a limit on the length of files, which strace cannot do. Once, a call fails
the first time that it is made, and works from then on; for ever, until strace is gone. A submitter
must not acknowledge what is not there, and must say what failed. A daemon must live, say what
failed, and have run all tasks soon after the calls work again.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import PYTHON, UNSPOOL, HarnessError

from torture.filesystems import NotRun
from torture.scene import NO_TASK, Scene
from torture.table import Row

ERRORS = ("ENOSPC", "EIO", "EMFILE", "EROFS", "EINTR")
# What a submitter asks of the system before it comes to its spool, and what cannot fail.
_NOT_PROTOCOL = re.compile(r"munmap|mmap|brk|exit|sig|prctl|futex|getpid|mprotect|madvise|uname")
# What the daemon does to a spool, and what its workers do.
DAEMON_CALLS = (
    "openat", "fcntl", "fstat", "newfstatat", "statx", "pread64", "pwrite64", "utimensat",
    "getdents64", "mkdirat", "renameat2", "fsync", "inotify_add_watch", "read",
)  # fmt: skip
WORKER_CALLS = ("pread64", "unlinkat", "fchdir")
# Lengths at which a write is cut short; the first ones are within the shortest task.
SHORT_BYTES = (0, 1, 40, 200, 4096, 8999)
_LIMITED = """
import os, resource, signal, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
# Python ignores SIGXFSZ, and so does what it becomes.
os.execv(sys.argv[2], sys.argv[2:])
"""
# How long a call fails that fails for ever.
FAILING_SECONDS = 0.7
# A call that is not made in that time is not made at all.
SEEN_SECONDS_MAX = 2.0
_ATTACH_SECONDS_MAX = 10.0


def need_strace() -> None:
    """Raises NotRun where processes cannot be traced."""
    if shutil.which("strace") is None:
        raise NotRun("not run: no strace (on Debian and Ubuntu: apt install strace)")
    done = subprocess.run(["strace", "-qq", "true"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotRun(f"not run: processes cannot be traced here: {done.stderr.strip()}")


@dataclass(frozen=True)
class Failure:
    """A call that fails: the first one that is made, or that number of them, and what it says."""

    call: str
    error: str
    number: int
    for_ever: bool

    def options(self) -> list[str]:
        """For strace."""
        when = f"{self.number}+" if self.for_ever else f"{self.number}"
        inject = f"inject={self.call}:error={self.error}:when={when}"
        return ["-e", f"trace={self.call}", "-e", inject]

    def __str__(self) -> str:
        return f"{self.call} {self.number}{'+' if self.for_ever else ''} {self.error}"


class Submissions:
    """The command that submits, with each of its calls failing in turn."""

    # A task in a new folder with a time, one that is written in place, a large one that is renamed.
    KINDS = (
        ("--durability=group", "--priority={n}", "--delay=0.01"),
        ("--durability=none",),
        ("--durability=file", "--body={body}"),
    )

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.trace = scene.project.root / "trace"
        self.body = scene.project.root / "body"
        self.body.write_bytes(bytes(9000))
        self.count = 0
        self.failed = 0
        self.acknowledged = 0

    def run(self, errors: Callable[[int], tuple[str, ...]]) -> None:
        """All calls; `errors` says which errors the n-th failure has."""
        number = 0
        for kind in self.KINDS:
            for call, first, last in self._calls(kind):
                for which in range(first, last + 1):
                    for error in errors(number):
                        for for_ever in (False, True):
                            # Interrupted for ever, no process can say so: it has to write that.
                            if not (for_ever and (call, error) == ("write", "EINTR")):
                                self._fail(kind, Failure(call, error, which, for_ever))
                    number += 1

    def _command(self, kind: tuple[str, ...]) -> tuple[str, list[str]]:
        self.count += 1
        name = f"i{self.count}"
        body = bytes(9000) if any("body" in option for option in kind) else b""
        options = [option.format(n=self.count, body=self.body) for option in kind]
        crc = f"crc={zlib.crc32(name.encode() + body):x}"
        return name, [os.fspath(UNSPOOL), "spool", *options, "f", f"id={name}", crc]

    def _calls(self, kind: tuple[str, ...]) -> list[tuple[str, int, int]]:
        """Each call of the protocol, and the numbers of its first and its last one."""
        name, command = self._command(kind)
        done = self.scene.project.run("strace", "-qq", "-o", self.trace, *command)
        self._note(name, done.stdout)
        before: dict[str, int] = {}
        total: dict[str, int] = {}
        started = False
        for line in self.trace.read_text().splitlines():
            call = line.partition("(")[0]
            started = started or f'"{self.scene.project.spool}"' in line
            total[call] = total.get(call, 0) + 1
            if not started:
                before[call] = total[call]
        return [
            (call, before.get(call, 0) + 1, count)
            for call, count in total.items()
            if count > before.get(call, 0) and not _NOT_PROTOCOL.search(call)
        ]

    def _note(self, name: str, path: str) -> None:
        self.acknowledged += 1
        with open(self.scene.project.root / "acknowledged-i", "a") as record:
            record.write(f"{name} - {path.strip()}\n")

    def _fail(self, kind: tuple[str, ...], failure: Failure) -> None:
        name, command = self._command(kind)
        before = set(self.scene.project.tasks())
        done = self.scene.project.run(
            "strace", "-qq", "-o", self.trace, *failure.options(), *command, check=False
        )
        if "INJECTED" not in self.trace.read_text():
            return
        self.failed += 1
        made = set(self.scene.project.tasks()) - before
        told = f"{failure}, {' '.join(kind)}: status {done.returncode}, {done.stdout}{done.stderr}"
        if done.returncode == 0:
            # Where its path cannot be written, the status says that it is there.
            path = os.fspath(made.pop()) if made else "missing"
            if done.stdout.strip() not in ((path, "") if failure.call == "write" else (path,)):
                raise HarnessError(f"acknowledged, and not there: {told}")
            self._note(name, path)
        elif not done.stderr.strip() and not (failure.call == "write" and failure.for_ever):
            raise HarnessError(f"nothing was said: {told}")
        elif made and "is submitted" not in done.stderr:
            raise HarnessError(f"refused, and there: {told}")

    def cut_short(self) -> None:
        """Files that cannot be longer than so much: the write that would pass it is cut short."""
        for kind in self.KINDS:
            for limit in SHORT_BYTES[: None if any("body" in option for option in kind) else 3]:
                _, command = self._command(kind)
                before = set(self.scene.project.tasks())
                done = self.scene.project.run(
                    PYTHON, "-c", _LIMITED, str(limit), *command, check=False
                )
                told = f"{limit} bytes, {' '.join(kind)}: {done.stdout}{done.stderr}"
                if done.returncode == 0 or not done.stderr.strip():
                    raise HarnessError(f"cut short, and not told: {told}")
                if set(self.scene.project.tasks()) != before:
                    raise HarnessError(f"cut short, and there: {told}")
                self.failed += 1


def submitter(errors: Callable[[int], tuple[str, ...]]) -> Row:
    """All calls of a submission; then a daemon must run what was acknowledged."""
    need_strace()
    scene = Scene()
    try:
        failing = Submissions(scene)
        failing.run(errors)
        failing.cut_short()
    except HarnessError:
        scene.project.close()
        raise
    with scene.running():
        scene.submit(1)
        scene.wait_gone()
        verdict = scene.finish(asides=True)
    return Row.judged(
        "failing call, submitter",
        "unspool",
        [verdict],
        rounds=failing.failed,
        note=f"{failing.failed - failing.acknowledged + len(Submissions.KINDS)} refused",
    )


class Daemons:
    """A daemon whose calls fail while it has all kinds of tasks."""

    TASKS = 8
    KINDS = ("quick", "fails", "retries", "urgent", "later")

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.trace = scene.project.root / "trace"
        self.failed = 0
        self.submitted = 0
        self.unused: list[str] = []
        self.recoveries: list[float] = []

    def fail(self, failure: Failure, pids: list[int]) -> None:
        """Has the calls of these processes fail."""
        scene = self.scene
        mark = scene.daemon.mark()
        with self._attached(failure, pids) as injected:
            scene.submit(self.TASKS - 1, kinds=self.KINDS)
            scene.submit(1, kinds=("fails",))
            self.submitted += self.TASKS
            # A new priority's folder, which has to be watched and scanned.
            (scene.project.spool / f"{self.submitted}").mkdir(mode=0o700)
            # A file that is no task, which has to be moved, into a folder to be made and flushed.
            shutil.rmtree(scene.project.spool / "corrupt", ignore_errors=True)
            (scene.project.spool / f"{NO_TASK}{self.submitted}").write_bytes(b"\x11")
            deadline = time.monotonic() + SEEN_SECONDS_MAX
            while not injected() and time.monotonic() < deadline:
                time.sleep(0.02)
            used = injected()
            if used and failure.for_ever:
                time.sleep(FAILING_SECONDS)
        works, said = time.monotonic(), scene.daemon.log[mark:]
        if used and failure.call == "fsync":
            # By design: what did not flush once is not trusted before a restart.
            if (status := scene.daemon.stop()) != 0:
                raise HarnessError(f"{failure}: status {status} at the stop")
            scene.start()
        if not used:
            self.unused.append(str(failure))
        self.failed += used
        scene.submit(1)
        self.submitted += 1
        try:
            scene.wait_ended(self.submitted)
            scene.wait_gone()
        except HarnessError as error:
            raise HarnessError(f"{failure}: {error}") from error
        self.recoveries.append(time.monotonic() - works)
        said = [line for line in said if " WARN " in line or " ERROR " in line]
        if used and failure.for_ever and failure.error != "EINTR" and not said:
            raise HarnessError(f"{failure}: nothing was said")

    @contextlib.contextmanager
    def _attached(self, failure: Failure, pids: list[int]) -> Iterator[Callable[[], bool]]:
        self.trace.write_text("")
        attach = [option for pid in pids for option in ("-p", str(pid))]
        command = ["strace", "-f", "-o", os.fspath(self.trace), *failure.options(), *attach]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
            try:
                wait_traced(pids, strace)
                yield lambda: "INJECTED" in self.trace.read_text()
            finally:
                # It lets go of them.
                strace.send_signal(signal.SIGINT)
                strace.communicate()


def wait_traced(pids: list[int], strace: subprocess.Popen[str]) -> None:
    """Waits until strace has all threads of these processes."""

    def traced(pid: int) -> bool:
        tasks = Path(f"/proc/{pid}/task")
        return all("TracerPid:\t0" not in (task / "status").read_text() for task in tasks.iterdir())

    deadline = time.monotonic() + _ATTACH_SECONDS_MAX
    while not all(traced(pid) for pid in pids):
        if strace.poll() is not None or time.monotonic() > deadline:
            raise HarnessError(f"strace does not attach: status {strace.poll()}")
        time.sleep(0.01)


def daemon(failures: list[tuple[Failure, bool]]) -> Row:
    """Failures of the daemon, or, where the second value says so, of its workers."""
    need_strace()
    scene = Scene()
    with scene.running():
        failing = Daemons(scene)
        for failure, of_workers in failures:
            own = scene.daemon
            failing.fail(failure, own.workers if of_workers else [own.pid])
        verdict = scene.finish()
    return Row.judged(
        "failing call, daemon",
        "unspool",
        [verdict],
        failing.recoveries,
        rounds=failing.failed,
        note=f"never called: {', '.join(failing.unused)}" if failing.unused else "",
    )


# Those of the calls that differ most in what follows, with an error that they can have.
_FEW = (
    ("openat", "EMFILE", False), ("newfstatat", "EIO", False), ("pread64", "EIO", False),
    ("pwrite64", "ENOSPC", False), ("getdents64", "EINTR", False), ("renameat2", "EROFS", False),
    ("fsync", "EIO", False), ("read", "EIO", False), ("unlinkat", "EROFS", True),
)  # fmt: skip


def few_failures() -> list[tuple[Failure, bool]]:
    """Some of the calls, for ever."""
    return [(Failure(call, error, 1, True), of_workers) for call, error, of_workers in _FEW]


def every_failure() -> list[tuple[Failure, bool]]:
    """Each call with each error, once and for ever."""
    return [
        (Failure(call, error, 1, for_ever), of_workers)
        for calls, of_workers in ((DAEMON_CALLS, False), (WORKER_CALLS, True))
        for call in calls
        for error in ERRORS
        for for_ever in (False, True)
    ]


def run(say: Callable[[str], None]) -> list[Row]:
    """Everything."""
    say("each system call fails, once and for ever")
    return [submitter(lambda _: ERRORS), daemon(every_failure())]
