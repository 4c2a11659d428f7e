"""A full disk: submissions are refused, what is there runs to its end, and then all goes on.

Tasks wait in workers while the file system is filled; it stays full until all tasks that were there
have run, failed and run again. Whatever a submitter is told then must be an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from torture.filesystems import FileSystem
from torture.scene import Scene
from torture.systems import RealUwsgi, Unspool
from torture.table import Row

FILE_SYSTEMS = ("ext4", "xfs", "btrfs", "tmpfs")
WORKERS = 2
BEFORE = 40
AFTER = 20
KINDS = ("quick", "fails", "retries", "later")
# Small ones, larger ones, those that are renamed and those that need a folder first.
REFUSED = (("quick", 0), ("quick", 6000), ("later", 0), ("urgent", 0))


def fill(kind: str, rounds: int, system: type[Unspool] = Unspool) -> Row:
    """Rounds on one file system; raises HarnessError with what is wrong."""
    verdicts, recoveries = [], []
    left = 0
    for _ in range(rounds):
        disk = FileSystem(kind)
        try:
            scene = Scene(disk.path / "spool", WORKERS, system)
            with scene.running():
                recoveries.append(_round(scene, disk))
                verdicts.append(scene.finish())
                left += len(scene.left())
        finally:
            disk.close()
    note = f"{left} empty files left" if left else ""
    return Row.judged(f"full disk, {kind}", system.name, verdicts, recoveries, note=note)


def _round(scene: Scene, disk: FileSystem) -> float:
    """Fills the disk once; the seconds after which a task of later ran."""
    scene.submit(WORKERS, kinds=("held",))
    scene.wait_begun(WORKERS)
    scene.submit(BEFORE, kinds=KINDS, bytes=6000)
    with disk.filled():
        _refused(scene)
        scene.let_go()
        scene.wait_ended(WORKERS + BEFORE)
        scene.wait_gone()
        _refused(scene)
    freed = time.monotonic()
    scene.submit(AFTER, kinds=KINDS, bytes=6000)
    scene.wait_ended(WORKERS + BEFORE + AFTER)
    scene.wait_gone()
    return scene.first_run_since(freed)


def _refused(scene: Scene) -> None:
    """None may be taken, and each error must say why."""
    levels = ("none", "file", "group") if type(scene.system) is Unspool else ("none",)
    for number, (kind, size) in enumerate(REFUSED):
        level = levels[number % len(levels)]
        scene.refused("No space left on device", kinds=(kind,), levels=(level,), bytes=size)


def run(rounds: int, say: Callable[[str], None]) -> list[Row]:
    """All file systems, unspool and then the real uWSGI."""
    say(f"{rounds} full disks on each of {', '.join(FILE_SYSTEMS)}")
    return [fill(kind, rounds, system) for system in (Unspool, RealUwsgi) for kind in FILE_SYSTEMS]
