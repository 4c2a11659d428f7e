"""What the tests of the daemon share: ways to submit, and what a task file says.

Tasks are submitted by the command or by a producer process, never by pytest's own process, which
would stay configured for the tests after it.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from harness import PYTHON, SUPPORT, TASK_PREFIX, Daemon, Project
from inotify import DirectoryWatch
from processes import WAIT_SECONDS_MAX

# Where a task file counts its failed attempts.
ATTEMPTS_OFFSET = 3


def submit(project: Project, function: str, *options: str, **pairs: object) -> Path:
    """`unspool spool [options] function key=value ...`; the path of the task."""
    arguments = [f"{key}={value}" for key, value in pairs.items()]
    done = project.unspool("spool", *options, function, *arguments)
    return Path(done.stdout.rstrip("\n"))


@dataclass(frozen=True)
class Submitted:
    """A task, and the moment on CLOCK_MONOTONIC at which its submission returned."""

    path: Path
    returned: float


class Producer:
    """A process that submits to a spool, the project's, for the length of a `with` block."""

    def __init__(self, project: Project, spool: Path | None = None) -> None:
        self._process = subprocess.Popen(
            [PYTHON, SUPPORT / "producer.py"],
            cwd=project.root,
            env={**project.producer_env, "UNSPOOL_SPOOL": os.fspath(spool or project.spool)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def many(self, messages: Iterable[dict[Any, Any]], durability: str = "none") -> list[Submitted]:
        """Submits one after the other."""
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None and answers is not None
        pickle.dump((list(messages), durability), requests)
        requests.flush()
        result = pickle.load(answers)
        if isinstance(result, Exception):
            raise result
        return [Submitted(Path(path), returned) for path, returned in result]

    def one(self, function: str, **pairs: object) -> Submitted:
        """Submits one call of a function."""
        return self.many([call(function, **pairs)])[0]

    def __enter__(self) -> Producer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait()


# A task module in which a function that is usually quick can be held.
QUICK_OR_HELD = """
    from uwsgidecorators import spool
    from reporting import pause, report

    VERSION = 1

    @spool
    def mark(args):
        report("mark", id=args.get("id"), version=VERSION)
        if "gate" in args:
            pause(args["gate"])
            report("mark ends", id=args.get("id"), version=VERSION)

    @spool
    def hold(args):
        report("hold")
        pause("hold")
"""


def hand_ahead(project: Project, producer: Producer, count: int) -> Submitted:
    """Has the only worker run a task of `QUICK_OR_HELD` with `count` others handed to it already.

    The function is known to be quick by then, so several tasks go to a worker in one packet. The
    first of them waits at the gate `ahead`; its id is `first`, the others are numbered.
    """
    project.gate("ahead")
    hold = project.gate("hold")
    producer.many([call("mark", id="warm") for _ in range(50)])
    project.events.collect(50, "mark")
    project.wait_empty()
    # What is submitted while the worker is busy with this one is handed out at its end.
    producer.one("hold")
    project.events.wait("hold")
    first, *_ = producer.many(
        [call("mark", id="first", gate="ahead"), *(call("mark", id=n) for n in range(count))]
    )
    hold.release()
    assert project.events.wait("mark")["id"] == "first"
    return first


def call(function: str, **pairs: object) -> dict[Any, Any]:
    """The message of a call of a decorated function."""
    return {"ud_spool_func": function, **pairs}


def foreign(pairs: dict[bytes, bytes], body: bytes = b"") -> bytes:
    """A task file as uWSGI writes it: without anything of unspool's."""
    packed = b"".join(
        len(part).to_bytes(2, "little") + part for pair in pairs.items() for part in pair
    )
    return b"\x11" + len(packed).to_bytes(2, "little") + b"\0" + packed + body


def publish(folder: Path, name: str, content: bytes, due: float | None = None) -> Path:
    """Writes a file aside and renames it into the spool, where it appears whole."""
    aside = folder / f".{name}"
    aside.write_bytes(content)
    if due is not None:
        os.utime(aside, (due, due))
    path = folder / f"{TASK_PREFIX}{name}"
    aside.rename(path)
    return path


def stop_without_complaints(daemon: Daemon) -> None:
    """Stops a daemon: its whole log has no warning and no error but that about the test's user."""
    assert daemon.stop() == 0
    lines = (line for line in daemon.log if " WARN " in line or " ERROR " in line)
    assert [line for line in lines if "running as root" not in line] == []


def wait_children(daemon: Daemon, count: int) -> None:
    """Waits until a daemon has so many children, the zygote among them: nothing tells of a fork."""
    ends = time.monotonic() + WAIT_SECONDS_MAX
    while len(children := daemon.children) != count:
        assert time.monotonic() < ends, children
        time.sleep(0.02)


def wait_attempts(path: Path, count: int) -> None:
    """Waits until so many attempts are noted: the log may tell of them a moment before."""
    with DirectoryWatch(path.parent) as watch:
        noted = watch.wait(lambda: attempts(path) == count, WAIT_SECONDS_MAX)
    assert noted, f"{attempts(path)} attempts, not {count}"


def attempts(path: Path) -> int:
    """How many attempts have failed, as the task's file says."""
    with open(path, "rb") as file:
        return file.read(ATTEMPTS_OFFSET + 1)[ATTEMPTS_OFFSET]
