"""What the kernel says about processes: descent, CPU time and resident memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """A process that cannot be taken for a later one with the same number."""

    pid: int
    started: int


class Cpu(NamedTuple):
    """CPU time of some processes so far."""

    # utime + stime, in clock ticks.
    ticks: int
    # The scheduler's own count, in nanoseconds; 0 on a kernel without it.
    nanoseconds: int


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may itself hold blanks and parentheses.
    return text[text.rindex(")") + 2 :].split()


def identify(pid: int) -> Process | None:
    """The process with this number, unless it is gone or only waits to be reaped."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    return Process(pid, int(fields[19]))


def is_alive(process: Process) -> bool:
    return identify(process.pid) == process


def tree(root: int) -> list[Process]:
    """`root` and its whole descent."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _stat(int(name))
            if fields is not None:
                children.setdefault(int(fields[1]), []).append(int(name))
    found: list[Process] = []
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        process = identify(pid)
        if process is not None:
            found.append(process)
        waiting.extend(children.get(pid, []))
    return found


def cpu(processes: list[Process]) -> Cpu:
    """CPU time used so far by these processes, all their threads included."""
    ticks = nanoseconds = 0
    for process in processes:
        fields = _stat(process.pid)
        if fields is None:
            continue
        ticks += int(fields[11]) + int(fields[12])
        for path in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
            try:
                nanoseconds += int(path.read_text().split()[0])
            except (OSError, ValueError, IndexError):
                continue
    return Cpu(ticks, nanoseconds)


def resident_bytes(pid: int) -> int:
    """Anonymous and file-backed memory that is in RAM, pages shared with others included."""
    total = 0
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("RssAnon", "RssFile"):
            total += int(rest.split()[0]) * 1024
    return total


def proportional_bytes(pid: int) -> int:
    """Memory in RAM, each shared page divided by the number of its users; 0 if not allowed."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
