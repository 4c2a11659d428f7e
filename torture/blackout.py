"""Power loss of a whole machine: a guest of QEMU is killed under load, with what its disk had not
flushed, and booted again.

As in `power`, but with the kernel, the file system and the disk's cache in it. One spool goes
through all rounds: each boot has the tasks that the one before left, and submits more until its
power is cut; the last one runs the rest. The control submits at the level `none`, and must lose
some: else the rounds prove nothing. The real uWSGI, which flushes nothing, is counted beside it.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from harness import HarnessError, Project

from torture.filesystems import make_image
from torture.machine import Machine, boot, need_qemu
from torture.oracle import Oracle, Verdict
from torture.power import CASES, Losses, outcome_of
from torture.systems import Plan, Unspool
from torture.table import Row
from torture.volatile import Disk

FILE_SYSTEMS = ("ext4", "xfs")
SIZES = {"ext4": "64M", "xfs": "320M"}
GUEST = Path(__file__).resolve().parent / "guest.py"
SUBMITTERS = 4
WORKERS = 2
TASK_MS = 60
LOAD_SECONDS = (0.5, 4.0)
# Emulated, a machine is slow.
BOOT_SECONDS_MAX = 240.0


class Blackout(Losses):
    """Boots of a machine that loses its power at the end of each."""

    flushes = sectors = corrupt = checked = 0

    def run(self) -> Row:
        """Raises HarnessError if a durable task was lost, or the control lost none."""
        need_qemu()
        project = Project()
        try:
            with tempfile.TemporaryDirectory(prefix="unspool-disk-") as folder:
                return self._row(self._boots(project, Path(folder)))
        except HarnessError as error:
            raise HarnessError(f"{self.kind}, seed {self.seed}: {error}") from error
        finally:
            project.close()

    def _row(self, verdict: Verdict) -> Row:
        checked = f"; {self.checked} times e2fsck" if self.checked else ""
        lost = outcome_of(self.system, self.levels, verdict)
        return Row.judged(
            f"power loss of a machine, {self.kind}{lost.levels}",
            self.system.name,
            [verdict],
            # With nothing left, it would be the time until the first submission.
            self.recoveries if lost.durable else (),
            rounds=self.rounds,
            note=f"{lost.note(self.corrupt, self.left)}; {self.flushes} flushes; "
            f"{self.sectors} sectors lost{checked}",
        )

    def _boots(self, project: Project, folder: Path) -> Verdict:
        oracle = Oracle(project.root)
        system = self.system(project, WORKERS)
        image = folder / "image"
        make_image(self.kind, image, SIZES[self.kind])
        disk = Disk(image, folder / "disk")
        try:
            for number in range(self.rounds):
                before = len(oracle.lines())
                plans = [
                    self.plan(project, f"s{number}-{count}", TASK_MS) for count in range(SUBMITTERS)
                ]
                self._boot(system, disk, plans)
                self.sectors += disk.lose_power(self.random)
                self._note_recovery(project, oracle, before, backlog=number > 0)
            before = len(oracle.lines())
            self._boot(system, disk, [])
            self._note_recovery(project, oracle, before, backlog=True)
            self.flushes = disk.flushes
        finally:
            disk.close()
        result = json.loads((project.root / "result.json").read_text())
        if result["status"] != 0:
            raise HarnessError(f"status {result['status']} at the stop")
        self.corrupt, self.left = result["corrupt"], result["left"]
        checked = project.root / "checked"
        self.checked = len(checked.read_text().splitlines()) if checked.exists() else 0
        return oracle.judge(kills_explain=False)

    def _boot(self, system: Unspool, disk: Disk, plans: list[Plan]) -> None:
        job = {"kind": self.kind, "submitters": [asdict(plan) for plan in plans]}
        with boot(system, disk, GUEST, job) as machine:
            if plans:
                self._load(machine, [Path(plan.record) for plan in plans])
            else:
                result = system.project.root / "result.json"
                machine.wait(result.exists, BOOT_SECONDS_MAX, "all tasks have run")

    def _note_recovery(self, project: Project, oracle: Oracle, before: int, backlog: bool) -> None:
        """From the start of a daemon to its first run, on the clock of its boot."""
        runs = oracle.lines()[before:]
        if backlog and runs:
            began = int((project.root / "began").read_text()) / 1e9
            self.recoveries.append(runs[0][3] - began)

    def _load(self, machine: Machine, records: list[Path]) -> None:
        """Until something was acknowledged, and a random time longer."""

        def acknowledged() -> bool:
            return any(path.exists() and path.stat().st_size for path in records)

        machine.wait(acknowledged, BOOT_SECONDS_MAX, "something was submitted")
        time.sleep(self.random.uniform(*LOAD_SECONDS))


def run(rounds: int, seed: int, say: Callable[[str], None]) -> list[Row]:
    """Both file systems: durable, the control, and the real uWSGI."""
    need_qemu()
    say(f"{rounds} losses of power of a machine on each of {', '.join(FILE_SYSTEMS)}, seed {seed}")
    return [
        Blackout(kind, levels, rounds, seed, system).run()
        for kind in FILE_SYSTEMS
        for levels, system in CASES
    ]
