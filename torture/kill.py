"""SIGKILL at random: daemons, workers, submitters and everything at once, while tasks run.

Acknowledged tasks must all have run when it is over. A task may have run twice only if a process
that was killed had begun it, and each killed process explains one such task.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from harness import Daemon, HarnessError, Project
from processes import children_of, wait_ended

from torture.oracle import Oracle
from torture.systems import Plan, RealUwsgi, Unspool
from torture.table import Row

WORKERS = 3
SUBMITTERS = 3
# How long the tasks of a round may take to be submitted.
ROUND_SECONDS_MAX = 60.0
DRAIN_SECONDS_MAX = 120.0
VICTIMS = ("daemon", "worker", "worker", "submitter", "everything")


@dataclass
class Served:
    """One of the systems on the directory, and its daemons: the last one lives."""

    system: Unspool
    daemons: list[Daemon]

    @property
    def daemon(self) -> Daemon:
        """The one that lives."""
        return self.daemons[-1]


class Kill:
    """One run. With several systems, all of them work on one directory and all are killed."""

    def __init__(
        self,
        rounds: int,
        tasks: int,
        seed: int,
        systems: tuple[type[Unspool], ...],
        say: Callable[[str], None],
    ) -> None:
        self.rounds, self.tasks, self.seed, self.say = rounds, tasks, seed, say
        self.random = random.Random(seed)
        self.project = Project()
        self.oracle = Oracle(self.project.root)
        self.served = [Served(kind(self.project, WORKERS), []) for kind in systems]
        self.kinds = tuple(
            kind for kind in self.served[0].system.kinds
            if all(kind in served.system.kinds for served in self.served)
        )  # fmt: skip
        self.submitters: list[tuple[Unspool, subprocess.Popen[bytes]]] = []
        self.started = 0
        self.kills: Counter[str] = Counter()

    def run(self) -> Row:
        """Raises HarnessError with what is wrong."""
        try:
            for served in self.served:
                self._start(served)
            for number in range(SUBMITTERS):
                self._submitter(self.served[number % len(self.served)].system)
            for number in range(self.rounds):
                self._round(number)
            self._drain()
            return self._row()
        except HarnessError as error:
            raise HarnessError(f"seed {self.seed}: {error}") from error
        finally:
            for _, process in self.submitters:
                self._end(process)
            for served in self.served:
                for daemon in served.daemons:
                    daemon.close()
            self.project.close()

    def _start(self, served: Served) -> None:
        daemon = served.system.daemon().start()
        served.daemons.append(daemon)

    def _submitter(self, system: Unspool) -> None:
        self.started += 1
        name = f"s{self.started}"
        plan = Plan(
            name=name,
            seed=self.random.getrandbits(32),
            record=os.fspath(self.project.root / f"acknowledged-{name}"),
            count=self.tasks,
            pause=0.002,
            levels=("none", "none", "file", "group"),
            kinds=self.kinds,
            ms=10,
            bytes=6000,
        )
        self.submitters.append((system, system.submitter(plan)))

    def _submitted(self) -> int:
        """How many tasks were acknowledged."""
        return sum(
            path.read_bytes().count(b"\n") for path in self.project.root.glob("acknowledged-*")
        )

    def _round(self, number: int) -> None:
        """Waits for this round's share of tasks, then kills at a moment that nothing decides."""
        wanted = self.tasks * (number + 1) // self.rounds
        deadline = time.monotonic() + ROUND_SECONDS_MAX
        while self._submitted() < wanted:
            self._restart()
            if time.monotonic() > deadline:
                raise HarnessError(f"round {number}: {self._submitted()} of {wanted} submitted")
            time.sleep(0.01)
        time.sleep(self.random.uniform(0, 0.03))
        for served in self.served:
            if not served.daemon.running:
                raise HarnessError(f"a daemon ended by itself\n{served.daemon.describe()}")
        victim = self.random.choice(VICTIMS)
        if victim == "submitter":
            self._kill([self.random.choice(self.submitters)[1].pid])
        elif victim == "worker":
            served = self.random.choice(self.served)
            if workers := served.system.workers_of(served.daemon):
                self._kill([self.random.choice(workers)])
        elif victim == "daemon":
            served = self.random.choice(self.served)
            # Those that have the log of a uWSGI are its children too: they go on alone for a time.
            self._kill([served.daemon.pid])
        else:
            pids = [process.pid for _, process in self.submitters]
            for served in self.served:
                pids += [served.daemon.pid, *children_of(served.daemon.pid)]
            self._kill(pids)
        self.kills[victim] += 1
        self._restart()

    def _kill(self, pids: list[int]) -> None:
        self.oracle.note_kill(pids)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.oracle.note_fault()
        wait_ended(*pids)

    def _restart(self) -> None:
        """Starts anew what was killed, as a service manager would."""
        for served in self.served:
            if not served.daemon.running:
                self._start(served)
        for entry in list(self.submitters):
            system, process = entry
            status = process.poll()
            if status is None:
                continue
            self.submitters.remove(entry)
            said = self._end(process)
            if status != -signal.SIGKILL:
                raise HarnessError(f"a submitter ended with status {status}: {said}")
            self._submitter(system)

    def _end(self, process: subprocess.Popen[bytes]) -> str:
        with process:
            process.kill()
            return "" if process.stderr is None else process.stderr.read().decode()

    def _drain(self) -> None:
        for _, process in self.submitters:
            self._end(process)
        self.submitters.clear()
        deadline = time.monotonic() + DRAIN_SECONDS_MAX
        while left := self._left():
            if time.monotonic() > deadline:
                logs = "\n".join(served.daemon.describe() for served in self.served)
                raise HarnessError(f"{len(left)} tasks are left: {left[:5]}\n{logs}")
            time.sleep(0.05)
        for served in self.served:
            if (status := served.daemon.stop()) != 0:
                raise HarnessError(f"status {status} at the stop\n{served.daemon.describe()}")

    def _left(self) -> list[str]:
        """Tasks that are not run. A uWSGI leaves the empty files of killed submitters for ever."""
        tasks = self.project.tasks()
        if not any(type(served.system) is Unspool for served in self.served):
            with contextlib.suppress(FileNotFoundError):
                tasks = [path for path in tasks if path.stat().st_size]
        return [str(path) for path in tasks]

    def _row(self) -> Row:
        verdict = self.oracle.check()
        spool = self.project.spool
        alone = all(type(served.system) is Unspool for served in self.served)
        if alone and verdict.torn:
            raise HarnessError(f"{verdict.torn} runs had other bytes than were submitted")
        # A submitter that dies between two calls leaves a file without a byte, and a uWSGI's, which
        # writes in place in several, one cut at any of them. Neither was acknowledged.
        corrupt = [path.stat().st_size for path in (spool / "corrupt").glob("*")]
        if (alone and any(corrupt)) or len(corrupt) > self.started:
            raise HarnessError(f"in corrupt/ are files of these sizes: {corrupt}")
        if dead := list((spool / "dead").glob("*")):
            raise HarnessError(f"in dead/ are {len(dead)} tasks: {dead[:5]}")
        kills = ", ".join(f"{count} {name}" for name, count in sorted(self.kills.items()))
        return Row.judged(
            "SIGKILL",
            " and ".join(served.system.name for served in self.served),
            [verdict],
            self.oracle.recoveries(),
            rounds=self.rounds,
            note=f"{verdict.in_flight} in flight at kills; killed: {kills}",
        )


def run(rounds: int, tasks: int, seed: int, say: Callable[[str], None]) -> list[Row]:
    """All rounds on unspool, then on the real uWSGI, then on both with two daemons of unspool."""
    say(f"{rounds} rounds of SIGKILL, {tasks} tasks, seed {seed}")
    return [
        Kill(rounds, tasks, seed, systems, say).run()
        for systems in ((Unspool,), (RealUwsgi,), (Unspool, Unspool, RealUwsgi))
    ]
