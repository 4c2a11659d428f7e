"""A file system that fails under load and stays there: read-only, or shut down.

The daemon must live, say what it cannot do, refuse nothing of another spool, and stop when it is
told to. Then the file system is repaired and mounted, and another daemon runs what is there. The
real uWSGI, which flushes nothing, is counted beside it.
"""

from __future__ import annotations

import subprocess
import time
import zlib
from collections.abc import Callable

from harness import HarnessError

from torture.filesystems import FileSystem
from torture.oracle import Verdict
from torture.scene import REFUSED, Scene, end
from torture.systems import RealUwsgi, Unspool
from torture.table import Row

# How a file system fails, and what a submitter is told.
READ_ONLY = "turns read-only"
SHUT_DOWN = "is shut down"
CASES = (("ext4", READ_ONLY), ("ext4", SHUT_DOWN), ("xfs", SHUT_DOWN))
TOLD = {READ_ONLY: "Read-only file system", SHUT_DOWN: "Input/output error"}
KINDS = {Unspool: ("quick", "fails", "urgent"), RealUwsgi: ("quick", "fails")}
WORKERS = 2
SUBMITTERS = 3
LOAD_SECONDS = 0.5
# How long the daemon goes on with a spool that it cannot use.
FAILED_SECONDS = 1.5


def fail(kind: str, how: str, rounds: int, system: type[Unspool] = Unspool) -> Row:
    """Rounds on one file system; raises HarnessError with what is wrong."""
    judged = [_round(kind, how, system) for _ in range(rounds)]
    verdicts, recoveries = zip(*judged, strict=True)
    return Row.judged(f"{kind} {how}", system.name, verdicts, recoveries)


def _round(kind: str, how: str, system: type[Unspool]) -> tuple[Verdict, float]:
    # Errors of an ext4 are told to the kernel's log and to nobody else unless it says so.
    disk = FileSystem(kind, *(["errors=remount-ro"] if kind == "ext4" else []))
    try:
        scene = Scene(disk.path / "spool", WORKERS, system)
        sound = scene.project.root / "sound"
        sound.mkdir(mode=0o700)
        scene.system.options = (f"--spooler={sound}",)
        with scene.running():
            submitters = [
                scene.submitter(
                    100_000,
                    levels=("file", "group"),
                    kinds=KINDS[system],
                    ms=20,
                    # What flushes nothing would submit more than can be run in this time.
                    pause=0.0 if system is Unspool else 0.02,
                )
                for _ in range(SUBMITTERS)
            ]
            scene.wait_begun(1)
            # The load, not a wait for something.
            time.sleep(LOAD_SECONDS)
            # The pages of what the daemon maps are then as the disk has them.
            disk.sync()
            disk.fail() if how == READ_ONLY else disk.cut_power()
            _all_are_told(submitters)
            _goes_on(scene, sound.name, TOLD[how])
            if (status := scene.daemon.stop()) != 0:
                raise HarnessError(f"status {status} at the stop")
            disk.unmount()
            if how == READ_ONLY:
                disk.repair()
            disk.mount()
            orphans = scene.orphans()
            began = time.monotonic()
            scene.start()
            scene.wait_gone()
            recovery = scene.first_run_since(began)
            # What was done and could not be deleted is done again.
            verdict = scene.finish(
                kills_explain=False, asides=True, orphans=orphans, must_hold=system is Unspool
            )
            return verdict, recovery
    finally:
        disk.close()


def _all_are_told(submitters: list[subprocess.Popen[bytes]]) -> None:
    for process in submitters:
        status, said = end(process)
        if status != REFUSED:
            raise HarnessError(f"a submitter ended with status {status}: {said}")


def _goes_on(scene: Scene, sound: str, told: str) -> None:
    """The failed spool refuses, the sound one works, the daemon lives."""
    for level in ("none", "group"):
        scene.refused(told, levels=(level,))
    ends = time.monotonic() + FAILED_SECONDS
    while time.monotonic() < ends:
        done = scene.count("e")
        name = f"x{done}"
        pairs = (f"id={name}", f"crc={zlib.crc32(name.encode()):x}")
        scene.project.unspool("spool", "--spooler", scene.project.root / sound, "quick", *pairs)
        scene.wait(lambda done=done: scene.count("e") > done, "the other spool works")  # type: ignore[misc]


def run(rounds: int, say: Callable[[str], None]) -> list[Row]:
    """All of `CASES`, unspool and then the real uWSGI."""
    say(f"{rounds} times each: {', '.join(' '.join(case) for case in CASES)}")
    return [fail(*case, rounds, system) for system in (Unspool, RealUwsgi) for case in CASES]
