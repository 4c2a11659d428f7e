"""Who knows what ran: a record that tasks write of each of their runs, and the judgement of it.

The record lies outside of the spool and is written with one call a line, so that no fault of the
spool's file system, and no death of a process, takes from it what had happened.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness import HarnessError

# Runs under unspool and under a real uWSGI. Lines of the record are `WHAT ID PROCESS NANOSECONDS`:
# b a run begins, f it fails on purpose, t its bytes are not those submitted, e it ends well.
APPLICATION = """
    import os
    import time
    import zlib

    import uwsgi

    ROOT = os.environ["UNSPOOL_TEST_ROOT"]
    RECORD = os.path.join(ROOT, "runs.log")
    # The names of processes, of which a fork makes a new one.
    NAMES = {}

    def process():
        pid = os.getpid()
        if pid not in NAMES:
            with open("/proc/self/stat") as stat:
                NAMES[pid] = f"{pid}.{stat.read().rpartition(')')[2].split()[19]}"
        return NAMES[pid]

    def note(what, name):
        # Opened anew: a uWSGI may close what its application holds.
        with open(RECORD, "ab", buffering=0) as record:
            record.write(f"{what} {name} {process()} {time.monotonic_ns()}\\n".encode())

    def handler(env):
        def value(key):
            found = env.get(key, env.get(key.encode(), b""))
            return found if isinstance(found, bytes) else found.encode()

        name = value("id").decode()
        note("b", name)
        if int(value("crc"), 16) != zlib.crc32(name.encode() + value("body")):
            note("t", name)
        time.sleep(int(value("ms") or b"0") / 1000)
        while value("kind") == b"held" and not os.path.exists(os.path.join(ROOT, "go")):
            time.sleep(0.005)
        if value("kind") in (b"fails", b"retries"):
            try:
                os.close(os.open(os.path.join(ROOT, "seen", name), os.O_CREAT | os.O_EXCL, 0o600))
            except FileExistsError:
                pass
            else:
                note("f", name)
                if value("kind") == b"fails":
                    raise RuntimeError("on purpose, once")
                return uwsgi.SPOOL_RETRY
        note("e", name)
        return uwsgi.SPOOL_OK

    uwsgi.spooler = handler
"""

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def process_name(pid: int) -> str | None:
    """A process as the record names it: its number, and when it started, in ticks since boot."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "backslashreplace")
    except OSError:
        return None
    return f"{pid}.{stat.rpartition(')')[2].split()[19]}"


@dataclass
class Run:
    """One run of a task."""

    process: str
    # As in the record, or b if its process never came to say more.
    outcome: str = "b"


@dataclass
class Verdict:
    """What a record comes to."""

    acknowledged: int
    lost: list[str]
    # How often tasks ran beyond what was asked for.
    extra: int
    # Runs with other bytes than were submitted, and those of acknowledged tasks.
    torn: int
    torn_acknowledged: list[str]
    # Runs more than once that no kill explains.
    unexplained: list[str]
    # Killed processes that had begun a task, and not ended it or not yet deleted it.
    in_flight: int

    def problems(self) -> list[str]:
        """What must not be."""
        found = []
        if self.lost:
            found.append(f"{len(self.lost)} acknowledged tasks never ran: {self.lost[:5]}")
        if self.torn_acknowledged:
            found.append(f"ran with other bytes than were submitted: {self.torn_acknowledged[:10]}")
        if self.unexplained:
            found.append(
                f"{len(self.unexplained)} tasks ran again without a kill in their run: "
                f"{self.unexplained[:10]}"
            )
        return found


class Oracle:
    """The record of one project."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.record = root / "runs.log"
        (root / "seen").mkdir(exist_ok=True)
        # Processes that were killed, and when, on the monotonic clock and in ticks since boot.
        self.killed: set[str] = set()
        self.faults: list[tuple[float, float]] = []

    def lines(self) -> list[tuple[str, str, str, float]]:
        """The record: what, which task, which process, and the second on the monotonic clock."""
        if not self.record.exists():
            return []
        parts = (line.split() for line in self.record.read_text().splitlines())
        return [(what, name, process, int(ns) / 1e9) for what, name, process, ns in parts]

    def acknowledged(self) -> dict[str, str]:
        """The tasks whose submission returned, and what the submitter said of each."""
        found: dict[str, str] = {}
        for path in sorted(self.root.glob("acknowledged-*")):
            # A submitter may have been killed in a write: a line counts with its end.
            whole = path.read_text().rpartition("\n")[0]
            for line in whole.splitlines():
                name, _, said = line.partition(" ")
                found[name] = said
        return found

    def note_kill(self, pids: Iterable[int]) -> None:
        """Call before SIGKILL: which processes can be in a run then."""
        self.killed |= {name for pid in pids if (name := process_name(pid))}

    def note_fault(self) -> None:
        """Call after a fault: recovery counts from here."""
        self.faults.append(
            (time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_SECOND)
        )

    def recoveries(self) -> tuple[float, ...]:
        """From each fault on, the time until a process that started after it began a task.

        A fault after which none did before the next fault is left out.
        """
        begun = [(at, float(process.split(".")[1])) for what, _, process, at in self.lines()
                 if what == "b"]  # fmt: skip
        ends = [at for at, _ in self.faults[1:]] + [float("inf")]
        found = []
        for (fault, ticks), end in zip(self.faults, ends, strict=True):
            after = [at for at, start in begun if fault <= at < end and start >= int(ticks)]
            if after:
                found.append(min(after) - fault)
        return tuple(found)

    def runs(self) -> dict[str, list[Run]]:
        """The runs of each task by its name, in their order."""
        found: defaultdict[str, list[Run]] = defaultdict(list)
        for what, name, process, _ in self.lines():
            if what == "b":
                found[name].append(Run(process))
            elif what in "fe":
                next(run for run in reversed(found[name]) if run.process == process).outcome = what
        return found

    def judge(self, kills_explain: bool = True) -> Verdict:
        """Judges the record when nothing runs any more and no task is left.

        A task may run again only if its run before was that of a killed process, and each killed
        process explains one such run: it had one task. After a loss of power any task may.
        """
        runs, acknowledged = self.runs(), self.acknowledged()
        unexplained: list[str] = []
        charged: set[str] = set()
        extra = 0
        for name, of_task in runs.items():
            # Neither the last run, nor those that failed on purpose, asked for another.
            again = [run.process for run in of_task[:-1] if run.outcome != "f"]
            extra += len(again)
            for process in again if kills_explain else ():
                if process not in self.killed or process in charged:
                    unexplained.append(f"{name} by {[run.process for run in of_task]}")
                charged.add(process)
        torn = [name for what, name, *_ in self.lines() if what == "t"]
        last = {process: what for what, _, process, _ in self.lines()}
        return Verdict(
            acknowledged=len(acknowledged),
            lost=[
                f"{name} {said}"
                for name, said in acknowledged.items()
                if all(run.outcome != "e" for run in runs.get(name, []))
            ],
            extra=extra,
            torn=len(torn),
            torn_acknowledged=sorted(set(torn) & set(acknowledged)),
            unexplained=unexplained,
            in_flight=sum(
                process in charged or last.get(process) == "b" for process in self.killed
            ),
        )

    def check(self, kills_explain: bool = True) -> Verdict:
        """Judges, and raises HarnessError if anything is wrong."""
        verdict = self.judge(kills_explain)
        if problems := verdict.problems():
            raise HarnessError("; ".join(problems))
        return verdict
