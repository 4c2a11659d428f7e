"""Store and forward under fire: the link goes down and daemons are killed while tasks are relayed.

Every task that was submitted to the outbox must reach the receiving spool once and run; a task may
run twice only if a process that was killed had begun it, and each killed process explains one.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from harness import UNSPOOL, Daemon, HarnessError, Project, pending_tasks
from processes import children_of, wait_ended
from signing import make_key, write_keys

from torture.network import Link
from torture.oracle import Oracle
from torture.systems import Plan, Unspool
from torture.table import Row

WORKERS = 3
PORT = 3031
SENDER, RECEIVER = 0, 1
# What waits on a link that is cut finds out by itself after 30 s.
LONG_SECONDS = 33.0
PROGRESS_SECONDS_MAX = 120.0
DRAIN_SECONDS_MAX = 240.0
FAULTS = ("link", "sender", "receiver", "receiver and its workers")


class Relay:
    """One run."""

    def __init__(self, tasks: int, faults: int, seed: int, say: Callable[[str], None]) -> None:
        self.tasks, self.faults, self.seed, self.say = tasks, faults, seed, say
        self.random = random.Random(seed)
        self.link = Link()
        self.project = Project()
        self.oracle = Oracle(self.project.root)
        self.system = Unspool(self.project, WORKERS)
        self.address = f"{self.link.host(RECEIVER)}:{PORT}"
        self.outbox = self.project.root / "out" / self.address.replace(":", "=3A")
        self.keys = write_keys(self.project.root / "keys", make_key("both"))
        self.project.write(
            "sender.ini",
            f"[uwsgi]\nspooler = relay:{self.address}\nnetwork-outbox = {self.project.root}/out\n"
            f"network-keys = {self.keys}\n",
        )
        self.daemons: dict[int, list[Daemon]] = {SENDER: [], RECEIVER: []}
        self.submitter: subprocess.Popen[bytes] | None = None
        self.done: Counter[str] = Counter()

    def run(self) -> Row:
        """Raises HarnessError with what is wrong."""
        try:
            self._start(RECEIVER)
            self._start(SENDER)
            self.daemons[SENDER][-1].wait_log("relaying tasks")
            self._submit()
            for number in range(self.faults):
                self._wait_received(self.tasks * (number + 1) // (self.faults + 2))
                self._disturb(number)
            return self._finish()
        except HarnessError as error:
            raise HarnessError(f"seed {self.seed}: {error}\n{self._logs()}") from error
        finally:
            if self.submitter is not None:
                self.submitter.kill()
                self.submitter.communicate()
            for daemon in (*self.daemons[SENDER], *self.daemons[RECEIVER]):
                daemon.close()
            self.link.close()
            self.project.close()

    def _start(self, side: int) -> None:
        command = [os.fspath(UNSPOOL), "run", "sender.ini"]
        if side == RECEIVER:
            command = self.system.command(self.project.spool)
            command += [f"--socket={self.address}", f"--network-keys={self.keys}"]
        whole = (*self.link.within(side), *command)
        env = self.project.env
        daemon = Daemon(cwd=self.project.root, env=env, command=whole).start()
        self.daemons[side].append(daemon)

    def _submit(self) -> None:
        """Starts what submits to the outbox, at about the rate at which tasks are relayed."""
        record = os.fspath(self.project.root / "acknowledged-s")
        plan = Plan(
            name="s", seed=self.random.getrandbits(32), record=record, count=self.tasks,
            levels=("none", "none", "group"), kinds=("quick",) * 9 + ("urgent",), ms=3, bytes=3000,
        )  # fmt: skip
        env = {
            **self.project.env,
            "UNSPOOL_SPOOL": os.fspath(self.outbox),
            "TORTURE_SUBMITTER": json.dumps(asdict(plan)),
        }
        self.submitter = subprocess.Popen(
            self.system.submitter_command(self.outbox),
            cwd=self.project.root,
            env=env,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def received(self) -> int:
        """Ids in the log of those that were received."""
        folder = self.project.spool / ".unspool" / "seen"
        return sum(path.stat().st_size for path in folder.glob("[0-9]*")) // 24

    def _wait_received(self, count: int) -> None:
        deadline = time.monotonic() + PROGRESS_SECONDS_MAX
        while self.received() < count:
            self._check_alive()
            if time.monotonic() > deadline:
                raise HarnessError(f"{self.received()} of {count} tasks were received in time")
            time.sleep(0.005)

    def _check_alive(self) -> None:
        for side in (SENDER, RECEIVER):
            if not self.daemons[side][-1].running:
                raise HarnessError("a daemon ended by itself")

    def _disturb(self, number: int) -> None:
        # Each kind at least once, then what comes.
        fault = FAULTS[number] if number < len(FAULTS) else self.random.choice(FAULTS)
        time.sleep(self.random.uniform(0, 0.03))
        self.done[fault] += 1
        if fault == "link":
            self.link.set("down")
            is_long = self.faults >= 20 and self.done[fault] == 2
            time.sleep(LONG_SECONDS if is_long else self.random.uniform(0.05, 2))
            self.link.set("up")
            self.oracle.note_fault()
            return
        side = SENDER if fault == "sender" else RECEIVER
        daemon = self.daemons[side][-1]
        pids = [daemon.pid]
        if fault == FAULTS[-1]:
            pids += children_of(daemon.pid)
        self.oracle.note_kill(pids)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.oracle.note_fault()
        wait_ended(*pids)
        if self.random.random() < 0.5:
            # Away for a time, so that the sender has to try again.
            time.sleep(self.random.uniform(0, 1))
        self._start(side)

    def _finish(self) -> Row:
        assert self.submitter is not None
        try:
            _, said = self.submitter.communicate(timeout=DRAIN_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            raise HarnessError("the submitter does not end") from None
        if self.submitter.returncode != 0:
            raise HarnessError(f"the submitter failed: {said.decode()}")
        deadline = time.monotonic() + DRAIN_SECONDS_MAX
        while left := [*pending_tasks(self.outbox), *self._pending()]:
            self._check_alive()
            if time.monotonic() > deadline:
                raise HarnessError(f"{len(left)} tasks are left: {left[:3]}")
            time.sleep(0.05)
        for side in (SENDER, RECEIVER):
            if (status := self.daemons[side][-1].stop()) != 0:
                raise HarnessError(f"status {status} at the stop")
        return self._judge()

    def _pending(self) -> list[Path]:
        incoming = self.project.spool / ".unspool" / "incoming"
        return [*pending_tasks(self.project.spool), *incoming.glob("*")]

    def _judge(self) -> Row:
        received = self.received()
        verdict = self.oracle.check()
        for folder in (self.outbox, self.project.spool):
            if dead := [*folder.glob("dead/*"), *folder.glob("corrupt/*")]:
                raise HarnessError(f"given up: {dead[:3]}")
        # An id that was noted twice would have been stored twice.
        if received != verdict.acknowledged or verdict.acknowledged != self.tasks:
            raise HarnessError(f"{received} ids of {verdict.acknowledged} tasks were received")
        done = ", ".join(f"{count} x {fault}" for fault, count in sorted(self.done.items()))
        self.say(f"relayed {received} tasks, seed {self.seed}: {done}")
        return Row.judged(
            "relay: link down, daemons killed", "unspool", [verdict], self.oracle.recoveries(),
            rounds=self.faults, note=f"{verdict.in_flight} killed while they ran a task",
        )  # fmt: skip

    def _logs(self) -> str:
        daemons = [self.daemons[SENDER][-1:], self.daemons[RECEIVER][-1:]]
        return "\n".join(daemon.describe() for some in daemons for daemon in some)


def run(tasks: int, faults: int, seed: int, say: Callable[[str], None]) -> list[Row]:
    """The whole form."""
    say(f"{tasks} tasks relayed, {faults} disturbances, seed {seed}")
    return [Relay(tasks, faults, seed, say).run()]
