"""The commands that look at tasks, on a million tasks: what each takes, with and without a daemon.

The tasks are those of the backlog, on tmpfs, with one of our own among them. The best of several
calls counts, since the machine may have other work.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import backlog
from harness import UNSPOOL, HarnessError, Project
from spooling import submit

TASKS = 1_000_000
CALLS = 5
ALONE_SECONDS_MAX = 1.0
WITH_DAEMON_SECONDS_MAX = 0.1
SHARED_MEMORY = Path("/dev/shm")


def run(tasks: int, say: Callable[[str], None]) -> None:
    """Raises HarnessError if a bound is passed."""
    project = Project()
    with tempfile.TemporaryDirectory(prefix="unspool-", dir=SHARED_MEMORY) as folder:
        try:
            project.spool = Path(folder) / "spool"
            project.write("app.py", backlog.APPLICATION)
            backlog.empty(project, project.spool)
            task = submit(project, "hold", "--delay", "86400", "--priority", "5", number=1)
            backlog.fill(project.spool, tasks)
            say(f"{tasks} pending tasks on tmpfs:")
            problems = _measure(project, task, "without a daemon", ALONE_SECONDS_MAX, say)
            with backlog.running(project, project.spool):
                problems += _measure(project, task, "with one", WITH_DAEMON_SECONDS_MAX, say)
        finally:
            project.close()
    if problems:
        raise HarnessError("; ".join(problems))


def _measure(
    project: Project, task: Path, how: str, seconds_max: float, say: Callable[[str], None]
) -> list[str]:
    short = task.read_bytes().split(b"unspool1[id=", 1)[1][24:32].decode()
    commands = {
        "ls | head": ("ls", "--json"),
        "stats": ("stats",),
        f"show {short}": ("show", short),
        f"why {short}": ("why", short),
    }
    problems = []
    for title, words in commands.items():
        best = min(_seconds(project, words, head=words[0] == "ls") for _ in range(CALLS))
        say(f"  {title}, {how}: {best * 1e3:.0f} ms")
        if best > seconds_max:
            problems.append(f"{title} took {best:.3f} s {how}, bound {seconds_max} s")
    return problems


def _seconds(project: Project, words: tuple[str, ...], head: bool) -> float:
    """How long a command takes, or its first lines."""
    began = time.monotonic()
    with subprocess.Popen(
        [UNSPOOL, *words, "--spooler", project.spool],
        stdout=subprocess.PIPE,
        cwd=project.root,
        env=project.env,
        text=True,
    ) as process:
        assert process.stdout is not None
        if head:
            for _ in range(10):
                process.stdout.readline()
            process.stdout.close()
        else:
            process.stdout.read()
        process.wait()
    took = time.monotonic() - began
    if process.returncode != 0:
        raise HarnessError(f"unspool {' '.join(words)} ended with {process.returncode}")
    return took
