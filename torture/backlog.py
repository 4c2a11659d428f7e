"""A million pending tasks: how long a daemon takes to start on them, and how much memory it has.

On tmpfs, and as root on a journaled ext4 in a loop-mounted image, as the benchmark makes it. The
files were written just before, so that their metadata is in memory; the best of three starts
counts, since the machine may have other work.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import backlog
from harness import HarnessError, Project

from bench import image

TASKS = 1_000_000
STARTS = 3
START_SECONDS_MAX = 5.0
RESIDENT_BYTES_MAX = 200e6
SHARED_MEMORY = Path("/dev/shm")
# A block, an inode and a name for each task, and a spare quarter.
IMAGE_BYTES = 7 << 30


def run(tasks: int, say: Callable[[str], None]) -> None:
    """Raises HarnessError if a bound is passed."""
    problems: list[str] = []
    image.IMAGE_BYTES = IMAGE_BYTES
    with tempfile.TemporaryDirectory(prefix="unspool-", dir=SHARED_MEMORY) as folder:
        problems += _measure("tmpfs", Path(folder), tasks, say)
    # The mount is seen by this process and its children alone.
    cache = Path(__file__).resolve().parent.parent / ".cache" / "torture"
    with image.place(cache, None) as place:
        problems += _measure(place.description, place.path, tasks, say)
    if problems:
        raise HarnessError("; ".join(problems))


def _measure(title: str, folder: Path, tasks: int, say: Callable[[str], None]) -> list[str]:
    project = Project()
    try:
        starts = backlog.measure(project, folder / "spool", tasks, STARTS)
    finally:
        project.close()
    load = os.getloadavg()[0]
    say(f"{tasks} pending tasks on {title} (load {load:.1f}):")
    for start in starts:
        say(
            f"  ready in {start.start_seconds:.2f} s (processor {start.cpu_seconds:.2f} s), "
            f"{start.resident_bytes / 1e6:.0f} MB, at most {start.peak_bytes / 1e6:.0f} MB "
            f"({start.bytes_each:.0f} bytes a task), files opened: {start.opened}, "
            f"descriptors: {start.descriptors}"
        )
    problems = []
    best = min(start.start_seconds for start in starts)
    if best > START_SECONDS_MAX:
        problems.append(f"{title}: the best start took {best:.2f} s, not {START_SECONDS_MAX:g}")
    peak = max(start.peak_bytes for start in starts)
    if peak > RESIDENT_BYTES_MAX:
        problems.append(f"{title}: {peak / 1e6:.0f} MB of memory, not {RESIDENT_BYTES_MAX / 1e6:g}")
    # The second start also finds the task that ran when the first daemon was killed.
    opened = max(start.opened for start in starts)
    if opened > 2:
        problems.append(f"{title}: {opened} files were opened, and one task had its turn")
    return problems
