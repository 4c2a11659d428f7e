"""Limits of the kernel, and clocks: descriptors run out, events are lost, times of files move.

The machine's clock is not touched: for a spool a step of it is that files are due earlier or later
than they were, which their modification times say as well.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from harness import PYTHON, Daemon, HarnessError
from processes import wait_ended

from torture.scene import Scene
from torture.systems import Unspool
from torture.table import Row

KINDS = ("quick", "fails", "retries", "urgent", "later")
TASKS = 60
# Enough for a daemon with two workers and three priorities, and few to hold tasks with.
FEW_DESCRIPTORS = 64
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")
# A scan that nothing asks for comes after 30 s: what is found before that was asked for.
OVERFLOW_SECONDS_MAX = 25.0
CLOCK_TASKS = 40
CLOCK_STEPS = 6


def _row(
    fault: str, rounds: int, scene: Scene, recovery: float | None = None, note: str = ""
) -> Row:
    verdict = scene.finish()
    recoveries = () if recovery is None else (recovery,)
    return Row.judged(fault, "unspool", [verdict], recoveries, rounds=rounds, note=note)


def daemon_descriptors() -> Row:
    """A daemon can open nothing for a while, and loses a worker meanwhile."""
    scene = Scene()
    with scene.running():
        scene.submit(TASKS, kinds=KINDS)
        scene.wait_gone()
        pid = scene.daemon.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        # One beyond those that are open now may have a lower number: none is free below this.
        used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
        lowest = next(number for number in range(len(used) + 1) if number not in used)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest, hard))
        scene.submit(TASKS, kinds=KINDS)
        scene.daemon.wait_log("cannot open any task.*Too many open files")
        victim = scene.daemon.workers[0]
        scene.oracle.note_kill([victim])
        os.kill(victim, signal.SIGKILL)
        wait_ended(victim)
        scene.daemon.wait_log(f"worker .*{victim}")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        restored = time.monotonic()
        scene.wait_ended(2 * TASKS)
        scene.wait_gone()
        recovery = scene.first_run_since(restored)
        return _row("no descriptor left, daemon", 1, scene, recovery)


class _Frugal(Unspool):
    """A daemon with few descriptors from its start."""

    def daemon(self) -> Daemon:
        """A daemon, not yet started."""
        made = super().daemon()
        limit = f"--nofile={FEW_DESCRIPTORS}:{FEW_DESCRIPTORS}"
        made.arguments = ["prlimit", limit, *made.arguments]
        return made


def few_descriptors() -> Row:
    """A daemon that never has more than a few: all runs, though not as many are handed ahead."""
    scene = Scene(system=_Frugal)
    with scene.running():
        began = time.monotonic()
        scene.submit(10 * TASKS, kinds=KINDS)
        scene.wait_ended(10 * TASKS)
        scene.wait_gone()
        recovery = scene.first_run_since(began)
        return _row(f"{FEW_DESCRIPTORS} descriptors, daemon", 1, scene, recovery)


def submitter_descriptors() -> Row:
    """A submitter can open nothing for a while: it is told, and goes on afterwards."""
    scene = Scene()
    with scene.running():
        env = {**scene.project.producer_env, "TORTURE_RECORD": str(scene.project.root)}
        done = scene.project.run(PYTHON, "-c", _SUBMITS_WITHOUT_DESCRIPTORS, env=env)
        if "Too many open files" not in done.stdout or "task not submitted" not in done.stdout:
            raise HarnessError(f"the submitter was told {done.stdout!r}")
        scene.wait_ended(2)
        scene.wait_gone()
        return _row("no descriptor left, submitter", 1, scene)


_SUBMITS_WITHOUT_DESCRIPTORS = """
import os, resource, sys, zlib
import unspool
record = open(os.environ["TORTURE_RECORD"] + "/acknowledged-x", "w", buffering=1)
def submit(name, level):
    unspool.spool(id=name, crc=f"{zlib.crc32(name.encode()):x}", durability=level)
    print(name, file=record)
submit("before", "group")
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
for level in ("none", "file", "group"):
    try:
        submit("while", level)
    except unspool.SpoolError as error:
        text = str(error)
    else:
        sys.exit("it got in")
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(text)
submit("after", "group")
"""


def lost_events() -> Row:
    """More events than the kernel keeps while the daemon is stopped: it has to look for itself."""
    count = int(QUEUE.read_text()) + 2000
    # In memory, where so many files are written in a second or two.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="unspool-", dir=memory) as folder:
        return _lost_events(Scene(Path(folder) / "spool"), count)


def _lost_events(scene: Scene, count: int) -> Row:
    with scene.running():
        scene.submit(TASKS)
        scene.wait_gone()
        scene.daemon.send(signal.SIGSTOP)
        try:
            scene.submit(count)
        finally:
            scene.daemon.send(signal.SIGCONT)
        woken = time.monotonic()
        scene.wait_gone()
        took = time.monotonic() - woken
        if took > OVERFLOW_SECONDS_MAX:
            raise HarnessError(f"{count} tasks took {took:.1f} s: they were not looked for at once")
        recovery = scene.first_run_since(woken)
        return _row("inotify overflows", 1, scene, recovery, f"all done after {took:.1f} s")


def moved_times(seed: int) -> Row:
    """The times of waiting tasks move by hours, back and forth; each runs once, when it is due."""
    choose = random.Random(seed)
    scene = Scene()
    with scene.running():
        now = int(time.time())
        for number in range(CLOCK_TASKS):
            # In the past is at once, as in uWSGI: not below.
            _submit_at(scene, f"c{number}", now + choose.randint(600, 6000))
        for _ in range(CLOCK_STEPS):
            waiting = scene.project.tasks()
            step = choose.choice((-1, 1)) * choose.randint(60, 3000)
            due = 0
            for path in waiting:
                when = path.stat().st_mtime + step
                due += when < now
                os.utime(path, (when, when))
            _wait_left(scene, len(waiting) - due)
        moved, waiting = time.monotonic(), scene.project.tasks()
        for path in waiting:
            os.utime(path, (now - 60, now - 60))
        scene.wait_ended(CLOCK_TASKS)
        scene.wait_gone()
        if scene.count("b") != CLOCK_TASKS:
            raise HarnessError("a task ran more than once, or not at all")
        # The last step may have left none.
        recovery = scene.first_run_since(moved) if waiting else None
        return _row("times of files move", CLOCK_STEPS, scene, recovery)


def _wait_left(scene: Scene, count: int) -> None:
    scene.wait(lambda: len(scene.project.tasks()) == count, f"{count} tasks are left")


def _submit_at(scene: Scene, name: str, at: int) -> None:
    crc = f"{zlib.crc32(name.encode()):x}"
    scene.project.unspool("spool", "--at", str(at), "f", f"id={name}", f"crc={crc}")
    with open(scene.project.root / "acknowledged-c", "a") as record:
        record.write(f"{name}\n")


def run(seed: int, say: Callable[[str], None]) -> list[Row]:
    """All of them."""
    say(f"descriptors, events and clocks, seed {seed}")
    return [
        daemon_descriptors(),
        few_descriptors(),
        submitter_descriptors(),
        lost_events(),
        moved_times(seed),
    ]
