"""The table of `make torture`: what each part did to a spool, and what that cost."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median

from torture.oracle import Verdict


@dataclass(frozen=True)
class Row:
    """What rounds of one fault did; a figure that the fault cannot have is None."""

    fault: str
    system: str
    # What was submitted; tasks that nobody acknowledged are not counted.
    rounds: int
    tasks: int
    # Acknowledged, and never run to the end.
    lost: int
    # Runs beyond the first that no failure of the task asked for.
    run_twice: int | None = None
    # Started with other bytes than were submitted.
    torn: int | None = None
    # Seconds until a process that is new since the fault runs a task, each time.
    recovery: tuple[float, ...] = ()
    note: str = ""

    @staticmethod
    def judged(
        fault: str,
        system: str,
        verdicts: Sequence[Verdict],
        recovery: Sequence[float] = (),
        *,
        rounds: int | None = None,
        note: str = "",
    ) -> Row:
        """What the verdicts come to, one of each round unless `rounds` says otherwise."""
        return Row(
            fault=fault,
            system=system,
            rounds=len(verdicts) if rounds is None else rounds,
            tasks=sum(verdict.acknowledged for verdict in verdicts),
            lost=sum(len(verdict.lost) for verdict in verdicts),
            run_twice=sum(verdict.extra for verdict in verdicts),
            torn=sum(verdict.torn for verdict in verdicts),
            recovery=tuple(recovery),
            note=note,
        )

    def cells(self) -> list[str]:
        """The texts of the columns."""
        seconds = ""
        if self.recovery:
            seconds = f"{median(self.recovery):.2f}, at most {max(self.recovery):.2f}"
        shown = ("-" if figure is None else f"{figure}" for figure in (self.run_twice, self.torn))
        counts = [str(self.rounds), str(self.tasks), str(self.lost), *shown]
        return [self.fault, self.system, *counts, seconds or "-", self.note]


HEAD = [
    "fault", "system", "rounds", "tasks", "lost", "run twice", "torn", "recovery in s", "note",
]  # fmt: skip
assert len(HEAD) == len(fields(Row))


def lines(rows: Iterable[Row]) -> list[str]:
    """The table in Markdown, aligned."""
    cells = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEAD))]

    def line(row: list[str]) -> str:
        padded = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return [line(HEAD), rule, *(line(row) for row in cells[1:])]


def machine() -> str:
    """The machine and the file system that figures are of, in a line."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    processors = len(os.sched_getaffinity(0))
    command = ["findmnt", "-n", "-o", "FSTYPE", "-T", tempfile.gettempdir()]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return (
        f"{processors} x {model[1] if model else platform.machine()}, Linux {platform.release()}, "
        f"Python {platform.python_version()}; spools on {found.stdout.strip() or 'unknown'} "
        f"where the fault does not name another file system"
    )
