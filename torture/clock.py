"""A machine's clock is set back and forth by hours, in a guest of QEMU: delayed tasks, waits for
another attempt, crons and timers.

Nothing may be lost or run twice, and nothing late more than it must be: a task without a time is
due when it is submitted, one that is to run again after its wait, and one with a time once the wall
clock has come there, whatever the clock did meanwhile. Lateness is measured on the monotonic clock.
A cron fires once in each minute that begins; timers know no wall clock.
"""

from __future__ import annotations

import itertools
import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from harness import HarnessError, Project

from torture.filesystems import make_image
from torture.machine import boot, need_qemu
from torture.oracle import Oracle
from torture.systems import MODULE, RealUwsgi, Unspool
from torture.table import Row
from torture.volatile import Disk

GUEST = Path(__file__).resolve().parent / "guest_clock.py"
WORKERS = 2
# A wait that most steps come into, and that is not over with one.
FREQUENCY_SECONDS = 3.0
# Emulated, a machine is slow.
LATE_SECONDS = 8.0
# A task that a worker has already runs, wherever the clock is set meanwhile.
HANDED_SECONDS = 3.0
ROUNDING_SECONDS = 0.05
HOURS_MAX = 6
# Crons that a step back by no more would fire again do not.
BACK_MINUTES_MAX = 60
TIMER_SECONDS = 2
RUN_SECONDS_MAX = 900.0

APPLICATION = f"""
    import time

    from uwsgidecorators import cron, timer

    import uwsgi
    from {MODULE} import handler, note

    # Not the one of the decorators.
    uwsgi.spooler = handler

    @cron(-1, -1, -1, -1, -1, target="spooler")
    def minute(signum):
        note("c", int(time.time()) // 60)

    @timer({TIMER_SECONDS}, target="spooler")
    def tick(signum):
        note("i", "timer")
"""
IMPORTED = "clock_app"


class Steps:
    """What the clock did: where it stood beside the monotonic one, from when on, in seconds."""

    def __init__(self, offsets: list[tuple[int, int]]) -> None:
        self._parts = [(since / 1e9, offset / 1e9) for since, offset in offsets]

    def wall(self, at: float) -> float:
        """The wall clock at a time of the monotonic one."""
        return at + next(offset for since, offset in reversed(self._parts) if since <= at)

    def since_step(self, at: float) -> float:
        """Seconds since the clock was set last."""
        return at - max(since for since, _ in self._parts if since <= at)

    def latest_start(self, due: float, submitted: float, patience: float) -> float:
        """The time by which a task must have begun that is due at a time of the wall clock: once it
        was due for so long without a break.
        """
        ends = [since for since, _ in self._parts[1:]] + [float("inf")]
        for (since, offset), end in zip(self._parts, ends, strict=True):
            begin = max(since, submitted, due - offset)
            if end - begin >= patience:
                return begin + patience
        raise HarnessError(f"the clock never stood at {due}")

    def minutes(self, until: float) -> tuple[Counter[int], list[tuple[int, float]]]:
        """How often a cron of each minute may fire; and which began, and when: in those it must."""
        most: Counter[int] = Counter()
        begun: list[tuple[int, float]] = []
        ends = [since for since, _ in self._parts[1:]] + [until]
        last = int(self._parts[0][1] + self._parts[0][0]) // 60
        for (since, offset), end in zip(self._parts, ends, strict=True):
            first, final = int(since + offset) // 60, int(end + offset) // 60
            for minute in range(first, final + 1):
                if last - BACK_MINUTES_MAX <= minute <= last:
                    continue
                last = minute
                most[minute] += 1
                if minute > first and end - (minute * 60 - offset) >= LATE_SECONDS:
                    begun.append((minute, minute * 60 - offset))
        return most, begun


class Clock:
    """One boot of one system."""

    def __init__(self, steps: int, seed: int, system: type[Unspool]) -> None:
        self.seed, self.system = seed, system
        choose = random.Random(seed)
        # Both ways, by hours; one by less than crons look back.
        self.steps = [
            sign * choose.randint(3700, HOURS_MAX * 3600)
            for sign in itertools.islice(itertools.cycle((1, -1, -1, 1)), steps)
        ]
        self.steps[steps // 2] = -choose.randint(600, BACK_MINUTES_MAX * 60 - 120)

    def run(self) -> Row:
        """Raises HarnessError if anything was lost, ran twice, was early or late."""
        need_qemu()
        project = Project()
        try:
            with tempfile.TemporaryDirectory(prefix="unspool-disk-") as folder:
                return self._row(project, Path(folder))
        except HarnessError as error:
            raise HarnessError(f"{self.system.name}, seed {self.seed}: {error}") from error
        finally:
            project.close()

    def _row(self, project: Project, folder: Path) -> Row:
        oracle = Oracle(project.root)
        project.write(f"{IMPORTED}.py", APPLICATION)
        options = (f"--spooler-import={IMPORTED}", "--spooler-harakiri=60")
        system = self.system(project, WORKERS, *options)
        if self.system is Unspool:
            system.options += (f"--spooler-frequency={FREQUENCY_SECONDS}",)
        make_image("ext4", folder / "image", "64M")
        disk = Disk(folder / "image", folder / "disk")
        result = project.root / "result.json"
        try:
            job = {"kind": "ext4", "submitters": [], "steps": self.steps, "seed": self.seed}
            with boot(system, disk, GUEST, job) as machine:
                machine.wait(result.exists, RUN_SECONDS_MAX, "all tasks have run")
        finally:
            disk.close()
        told = json.loads(result.read_text())
        if told["status"] != 0 or told["left"]:
            raise HarnessError(f"at the end: {told}")
        verdict = oracle.check()
        offsets = json.loads((project.root / "clock.json").read_text())
        late, problems = self._times(oracle, Steps(offsets))
        if self.system is Unspool and problems:
            raise HarnessError(f"{len(problems)} at a wrong time: {'; '.join(problems[:8])}")
        return Row.judged(
            "clock set back and forth",
            self.system.name,
            [verdict],
            rounds=len(self.steps),
            note=f"{len(problems)} early, late or missed; longest delay {max(late):.1f} s",
        )

    def _times(self, oracle: Oracle, steps: Steps) -> tuple[list[float], list[str]]:
        """How late each run was, and what was at a wrong time."""
        lines = oracle.lines()
        late, problems = [], []
        begun: dict[str, list[float]] = {}
        failed = {name: at for what, name, _, at in lines if what == "f"}
        for what, name, _, at in lines:
            if what == "b":
                begun.setdefault(name, []).append(at)
        for name, said in oracle.acknowledged().items():
            kind, due_text, ns = said.split()
            due, submitted = int(due_text), int(ns) / 1e9
            first, *again = begun[name]
            latest = submitted + LATE_SECONDS
            if due:
                latest = steps.latest_start(due, submitted, LATE_SECONDS)
                early = due - steps.wall(first)
                if early > ROUNDING_SECONDS and steps.since_step(first) > HANDED_SECONDS:
                    problems.append(f"{name}, due at {due}: {early:.1f} s early")
            late.append(first - latest + LATE_SECONDS)
            for second in again:
                waited = second - failed[name]
                late.append(waited - FREQUENCY_SECONDS)
                if self.system is Unspool and late[-1] < -ROUNDING_SECONDS:
                    problems.append(f"{name}, again: {-late[-1]:.1f} s early")
            if (worst := max(late[-1 - len(again) :])) > LATE_SECONDS:
                problems.append(f"{name}, {kind} {due}: {worst:.1f} s late")
        return late, problems + _signals(lines, steps)


def _signals(lines: list[tuple[str, str, str, float]], steps: Steps) -> list[str]:
    """Minutes without their cron, or with too many; pauses of the timer."""
    problems = []
    crons = [(int(name), at) for what, name, _, at in lines if what == "c"]
    most, begun = steps.minutes(lines[-1][3])
    # Until a daemon is ready it fires nothing.
    ready = lines[0][3]
    for minute, at in begun:
        if at > ready and not any(m == minute and at <= c <= at + LATE_SECONDS for m, c in crons):
            problems.append(f"no cron in minute {minute}")
    fired = Counter(minute for minute, _ in crons)
    problems += [
        f"{count} crons in minute {minute}, not {most[minute]}"
        for minute, count in fired.items()
        if count > most[minute]
    ]
    ticks = [at for what, _, _, at in lines if what == "i"]
    pauses = (later - earlier for earlier, later in itertools.pairwise(ticks))
    if (pause := max(pauses, default=0.0)) > TIMER_SECONDS + LATE_SECONDS or not ticks:
        problems.append(f"{len(ticks)} ticks of a timer, with a pause of {pause:.1f} s")
    return problems


def run(steps: int, seed: int, say: Callable[[str], None]) -> list[Row]:
    """Unspool and then the real uWSGI."""
    need_qemu()
    say(f"a machine's clock is set {steps} times, seed {seed}")
    return [Clock(steps, seed, system).run() for system in (Unspool, RealUwsgi)]
