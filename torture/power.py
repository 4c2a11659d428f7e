"""Power loss on a journaled file system: it is shut down under load, and mounted again.

The ioctl stops a file system without a flush of its journal: what the next mount finds is what the
disk would have had. A round submits while two workers run what they can; then the power goes, all
processes are killed, and after the mount another daemon runs the rest. A task that was acknowledged
at a durable level must have run. The control submits at the level `none`, and must lose some: else
the rounds prove nothing. The real uWSGI, which flushes nothing, is counted beside it.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from harness import Daemon, HarnessError, Project
from processes import children_of, wait_ended

from torture.filesystems import FileSystem
from torture.oracle import Oracle, Verdict
from torture.systems import Plan, RealUwsgi, Unspool
from torture.table import Row

FILE_SYSTEMS = ("ext4", "xfs")
SUBMITTERS = 4
WORKERS = 2
# Few enough in a round that the rest is run in no time, enough to leave a backlog.
TASK_MS = 60
LOAD_SECONDS = (0.3, 1.0)
DRAIN_SECONDS_MAX = 60.0
# A uWSGI that ran nothing for so long does not run what is left.
QUIET_SECONDS = 4.0
REAL_KINDS = ("quick", "quick", "later")
# Durable, the control, and what promises nothing.
CASES: tuple[tuple[tuple[str, ...], type[Unspool]], ...] = (
    (("file", "group"), Unspool),
    (("none",), Unspool),
    (("none",), RealUwsgi),
)


@dataclass(frozen=True)
class Outcome:
    """What losses of power did to what was acknowledged, and what that says."""

    durable: bool
    control: bool
    levels: str

    def note(self, corrupt: int, left: int) -> str:
        """The note of a row: what became of files that were cut."""
        cut = f"{corrupt} in corrupt/" if self.levels else f"{left} cut files left"
        return f"control: must lose; {cut}" if self.control else cut


def outcome_of(system: type[Unspool], levels: tuple[str, ...], *verdicts: Verdict) -> Outcome:
    """Raises HarnessError if a durable task was lost, a torn one ran, or the control lost none."""
    ours = system is Unspool
    control = ours and "none" in levels
    outcome = Outcome(ours and not control, control, f", {' and '.join(levels)}" if ours else "")
    if outcome.durable and (found := [p for verdict in verdicts for p in verdict.problems()]):
        raise HarnessError("; ".join(found))
    if control and not any(verdict.lost for verdict in verdicts):
        tasks = sum(verdict.acknowledged for verdict in verdicts)
        raise HarnessError(f"the control lost none of {tasks}; nothing is proven")
    if ours and (torn := sum(verdict.torn for verdict in verdicts)):
        raise HarnessError(f"{torn} torn")
    return outcome


class Losses:
    """Losses of power on one file system, of one kind of durability."""

    def __init__(
        self, kind: str, levels: tuple[str, ...], rounds: int, seed: int,
        system: type[Unspool] = Unspool,
    ) -> None:  # fmt: skip
        self.kind, self.levels, self.rounds, self.seed = kind, levels, rounds, seed
        self.system = system
        self.random = random.Random(seed)
        self.recoveries: list[float] = []
        self.left = 0

    def plan(self, project: Project, name: str, ms: int) -> Plan:
        """What one submitter does, whose tasks take so long."""
        return Plan(
            name=name,
            seed=self.random.getrandbits(32),
            record=os.fspath(project.root / f"acknowledged-{name}"),
            count=300,
            levels=self.levels,
            kinds=("quick", "quick", "urgent", "later") if self.system is Unspool else REAL_KINDS,
            ms=ms,
            bytes=6000,
        )


class Power(Losses):
    """Rounds of the shutdown ioctl."""

    def run(self) -> Row:
        """Raises HarnessError if a durable task was lost, or the control lost none."""
        try:
            verdicts, corrupt = zip(*(self._round() for _ in range(self.rounds)), strict=True)
            outcome = outcome_of(self.system, self.levels, *verdicts)
        except HarnessError as error:
            raise HarnessError(f"{self.kind}, seed {self.seed}: {error}") from error
        return Row.judged(
            f"power loss, {self.kind}{outcome.levels}",
            self.system.name,
            verdicts,
            self.recoveries,
            note=outcome.note(sum(corrupt), self.left),
        )

    def _round(self) -> tuple[Verdict, int]:
        project = Project()
        daemons: list[Daemon] = []
        submitters: list[subprocess.Popen[bytes]] = []
        disk = FileSystem(self.kind)
        try:
            project.spool = disk.path / "spool"
            oracle = Oracle(project.root)
            system = self.system(project, WORKERS)
            daemons.append(system.daemon().start())
            system.wait_ready(daemons[0])
            # The spool is older than the load.
            disk.sync()
            for count in range(SUBMITTERS):
                submitters.append(system.submitter(self.plan(project, f"s{count}", TASK_MS)))
            self._load(project)
            disk.cut_power()
            self._kill([*(process.pid for process in submitters), daemons[0].pid])
            daemons[0].close()
            disk.unmount()
            disk.mount()
            began = time.monotonic()
            daemons.append(system.daemon().start())
            system.wait_ready(daemons[1])
            self._drain(project, oracle, daemons[1])
            self._note_recovery(oracle, began)
            verdict = oracle.judge(kills_explain=False)
            return verdict, len(list((project.spool / "corrupt").glob("*")))
        finally:
            for process in submitters:
                with process:
                    process.kill()
            for daemon in daemons:
                daemon.close()
            project.close()
            disk.close()

    def _load(self, project: Project) -> None:
        """Until something was acknowledged, and a random time longer."""
        deadline = time.monotonic() + 20.0
        records = [project.root / f"acknowledged-s{number}" for number in range(SUBMITTERS)]
        while not any(path.exists() and path.stat().st_size for path in records):
            if time.monotonic() > deadline:
                raise HarnessError(f"{self.kind}: nothing was submitted")
            time.sleep(0.005)
        time.sleep(self.random.uniform(*LOAD_SECONDS))

    def _kill(self, pids: list[int]) -> None:
        every = [*pids, *(child for pid in pids for child in children_of(pid))]
        for pid in every:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_ended(*every)

    def _drain(self, project: Project, oracle: Oracle, daemon: Daemon) -> None:
        """Until no task is left. Those of a uWSGI that were cut stay, and do not run."""
        deadline = time.monotonic() + DRAIN_SECONDS_MAX
        before, since = None, time.monotonic()
        while left := project.tasks():
            now = time.monotonic()
            if now > deadline:
                raise HarnessError(f"{len(left)} tasks are left: {left[:5]}\n{daemon.describe()}")
            if (state := (sorted(left), len(oracle.lines()))) != before:
                before, since = state, now
            if self.system is not Unspool and now - since > QUIET_SECONDS:
                self.left += len(left)
                break
            time.sleep(0.02)
        if (status := daemon.stop()) != 0:
            raise HarnessError(f"status {status} at the stop\n{daemon.describe()}")

    def _note_recovery(self, oracle: Oracle, began: float) -> None:
        after = [at for what, _, _, at in oracle.lines() if what == "b" and at > began]
        if after:
            self.recoveries.append(min(after) - began)


def run(rounds: int, seed: int, say: Callable[[str], None]) -> list[Row]:
    """Both file systems: durable, the control, and the real uWSGI."""
    say(f"{rounds} losses of power on each of {', '.join(FILE_SYSTEMS)}, seed {seed}")
    return [
        Power(kind, levels, rounds, seed, system).run()
        for kind in FILE_SYSTEMS
        for levels, system in CASES
    ]
