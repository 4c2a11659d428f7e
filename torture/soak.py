"""The soak: everything at once, for minutes, with reloads and kills; then nothing may be left.

Timers, a cron, messages to mules, and tasks that succeed, fail once, take long, raise signals and
register handlers run while the application is reloaded every few seconds and workers, mules and
zygotes are killed. At the end every task must have run, and descriptors, processes, files and
memory of the daemon must be what they were after the first minute.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness import Daemon, HarnessError, Project
from processes import children_of
from spooling import Producer

from torture.table import Row

APPLICATION = """
    import os
    import time

    import uwsgi
    from uwsgidecorators import cron, mstimer, mulefunc, postfork, spool, spoolraw, timer

    ROOT = os.environ["UNSPOOL_TEST_ROOT"]
    # Some memory to be shared, as in a real application.
    BALLAST = [bytes(1000) for _ in range(2000)]

    def note(name, text):
        # One write, so that lines of several processes do not mix.
        with open(os.path.join(ROOT, name), "ab", buffering=0) as file:
            file.write(text.encode() + b"\\n")

    @spool
    def quick(args):
        note("ran", args["id"])

    @spool
    def fails_once(args):
        mark = os.path.join(ROOT, "seen", args["id"])
        if not os.path.exists(mark):
            open(mark, "w").close()
            raise RuntimeError("once")
        os.unlink(mark)
        note("ran", args["id"])

    @spool
    def slow(args):
        time.sleep(0.3)
        note("ran", args["id"])

    @spool
    def raises_signals(args):
        uwsgi.signal(200)
        tell_mule(args["id"])
        note("ran", args["id"])

    @spoolraw
    def registers(args):
        for number in range(100, 110):
            if not uwsgi.signal_registered(number):
                uwsgi.register_signal(number, "", lambda number: note("late", str(number)))
                uwsgi.add_ms_timer(number, 500)
                break
        note("ran", args["id"])
        return uwsgi.SPOOL_OK

    @mulefunc
    def tell_mule(text):
        note("mule", text)

    @timer(1)
    def every_second(number):
        note("ticks", "timer")

    @mstimer(100)
    def often(number):
        note("ticks", "mstimer")

    @cron(-1, -1, -1, -1, -1)
    def every_minute(number):
        note("ticks", "cron")

    uwsgi.register_signal(200, "", lambda number: note("ticks", "signal"))
"""

KINDS = ("quick", "quick", "quick", "quick", "fails_once", "slow", "raises_signals", "registers")
WORKERS = 3
RELOAD_SECONDS = 5.0
KILL_SECONDS = 3.0
BATCH_SECONDS = 0.25
SETTLE_SECONDS_MAX = 90.0
# Memory that allocators and logs may take without it being a leak.
GROWTH_KIB_MAX = 2048


@dataclass(frozen=True)
class Sample:
    """What the daemon holds at a moment of rest."""

    descriptors: int
    threads: int
    children: int
    resident_kib: int
    internal_files: int

    def __str__(self) -> str:
        return (
            f"{self.descriptors} descriptors, {self.threads} threads, {self.children} children, "
            f"{self.resident_kib} KiB, {self.internal_files} internal files"
        )


@dataclass
class Counts:
    """What was done to the daemon."""

    submitted: set[str] = field(default_factory=set)
    # Tasks that send a message to a mule.
    told: set[str] = field(default_factory=set)
    reloads: int = 0
    kills: dict[str, int] = field(default_factory=dict)


def sample(daemon: Daemon, project: Project) -> Sample:
    """Looks at the daemon; it must be at rest."""
    process = Path("/proc") / str(daemon.pid)
    status = dict(
        line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line
    )
    internal = project.spool / ".unspool"
    return Sample(
        descriptors=len(os.listdir(process / "fd")),
        threads=int(status["Threads"]),
        children=len(children_of(daemon.pid)),
        resident_kib=int(status["VmRSS"].split()[0]),
        internal_files=sum(len(files) for _, _, files in os.walk(internal)),
    )


class Soak:
    """One run."""

    def __init__(self, seconds: float, seed: int, say: Callable[[str], None]) -> None:
        self.seconds = seconds
        self.random = random.Random(seed)
        self.say = say
        self.counts = Counts()
        self.project = Project()
        (self.project.root / "seen").mkdir()
        self.project.write("app.py", APPLICATION)
        self.daemon = self.project.daemon(
            "--spooler",
            self.project.spool,
            "--spooler-processes",
            str(WORKERS),
            "--spooler-frequency",
            "0.5",
            "--spooler-import",
            "app",
            "--mules",
            "2",
            "--spooler-quiet",
        )

    def run(self) -> Row:
        """Raises HarnessError with what is wrong."""
        try:
            self.daemon.start().wait_ready()
            self._load(min(60.0, self.seconds / 4))
            first = self._rest()
            self.say(f"after the warm-up: {first}")
            self._load(self.seconds - min(60.0, self.seconds / 4))
            last = self._rest()
            self.say(f"at the end:        {last}")
            self._judge(first, last)
            self._stop()
            return self._row()
        finally:
            self.daemon.close()
            self.project.close()

    def _load(self, seconds: float) -> None:
        began = time.monotonic()
        reload_at = began + RELOAD_SECONDS
        kill_at = began + KILL_SECONDS
        with Producer(self.project) as producer:
            while (now := time.monotonic()) < began + seconds:
                self._submit(producer)
                if now >= reload_at:
                    self.daemon.send(signal.SIGHUP)
                    self.counts.reloads += 1
                    reload_at = now + RELOAD_SECONDS
                if now >= kill_at:
                    self._kill()
                    kill_at = now + KILL_SECONDS * self.random.uniform(0.5, 1.5)
                if not self.daemon.running:
                    raise HarnessError(f"the daemon ended\n{self.daemon.describe()}")
                # The pace of the load, not a wait for something.
                time.sleep(BATCH_SECONDS)

    def _submit(self, producer: Producer) -> None:
        messages = []
        for _ in range(self.random.randint(1, 20)):
            name = f"{len(self.counts.submitted)}"
            self.counts.submitted.add(name)
            kind = self.random.choice(KINDS)
            message = {"ud_spool_func": kind, "id": name}
            if kind == "raises_signals":
                self.counts.told.add(name)
            if self.random.random() < 0.2:
                message["priority"] = str(self.random.randint(0, 3))
            if self.random.random() < 0.1:
                message["at"] = str(int(time.time()) + self.random.randint(0, 3))
            messages.append(message)
        producer.many(messages)

    def _kill(self) -> None:
        victims = children_of(self.daemon.pid)
        if not victims:
            return
        victim = self.random.choice(victims)
        try:
            name = Path(f"/proc/{victim}/comm").read_text().strip()
            os.kill(victim, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            return
        self.counts.kills[name] = self.counts.kills.get(name, 0) + 1

    def _rest(self) -> Sample:
        """Waits until all tasks are done and the processes are those that there should be."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while self.project.tasks():
            if time.monotonic() > deadline:
                left = [str(path) for path in self.project.tasks()[:10]]
                raise HarnessError(f"tasks are left: {left}\n{self.daemon.describe()}")
            time.sleep(0.2)
        self.daemon.reload()
        # Old generations end; what is counted must hold still.
        before = sample(self.daemon, self.project)
        while time.monotonic() < deadline:
            time.sleep(2)
            now = sample(self.daemon, self.project)
            if (now.descriptors, now.children) == (before.descriptors, before.children):
                return now
            before = now
        raise HarnessError(f"descriptors and processes do not settle: {before}")

    def _judge(self, first: Sample, last: Sample) -> None:
        ran = self._lines("ran")
        lost = self.counts.submitted - set(ran)
        self.say(
            f"{len(self.counts.submitted)} tasks, {len(ran) - len(set(ran))} runs more than tasks, "
            f"{self.counts.reloads} reloads, kills {self.counts.kills}"
        )
        ticks = self._lines("ticks")
        said = {name: ticks.count(name) for name in sorted(set(ticks))}
        messages = f"{len(self._lines('mule'))} of {len(self.counts.told)} messages"
        self.say(f"ticks {said}, {messages} handled by mules")
        problems = []
        # What a mule handles when it is killed is not handled again.
        missed = self.counts.told - set(self._lines("mule"))
        if len(missed) > sum(self.counts.kills.values()):
            problems.append(f"{len(missed)} messages to mules are missing: {sorted(missed)[:10]}")
        if lost:
            problems.append(f"{len(lost)} tasks never ran: {sorted(lost)[:10]}")
        for name in ("descriptors", "threads", "children", "internal_files"):
            if getattr(last, name) > getattr(first, name):
                problems.append(f"{name}: {getattr(first, name)}, then {getattr(last, name)}")
        if last.resident_kib > first.resident_kib + GROWTH_KIB_MAX:
            problems.append(f"memory: {first.resident_kib} KiB, then {last.resident_kib} KiB")
        for name in ("timer", "mstimer", "signal"):
            if name not in said:
                problems.append(f"no tick of {name}")
        if problems:
            raise HarnessError("; ".join(problems) + "\n" + self.daemon.describe())

    def _row(self) -> Row:
        ran = self._lines("ran")
        return Row(
            fault="soak: load, reloads, SIGKILL",
            system="unspool",
            rounds=self.counts.reloads + sum(self.counts.kills.values()),
            tasks=len(self.counts.submitted),
            lost=len(self.counts.submitted - set(ran)),
            run_twice=len(ran) - len(set(ran)),
        )

    def _lines(self, name: str) -> list[str]:
        path = self.project.root / name
        return path.read_text().split() if path.exists() else []

    def _stop(self) -> None:
        status = self.daemon.stop()
        if status != 0:
            raise HarnessError(f"status {status} at the stop\n{self.daemon.describe()}")
        internal = self.project.spool / ".unspool" / "daemons"
        left = os.listdir(internal) if internal.exists() else []
        if left:
            raise HarnessError(f"left behind in {internal}: {left}")
