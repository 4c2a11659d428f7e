"""Fuzzing: the targets of `fuzz/`, built with coverage counters on stable Rust, so long each.

A target starts from seeds: what `seeds` of that crate makes, and configurations of the tests. What
it finds on the way lies in `target/fuzz/corpus` and is where the next long run goes on. An input
that crashes, hangs or takes too much memory is kept in `target/fuzz/crashes`, and is a failure.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = ROOT / "fuzz/Cargo.toml"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
WORK = TARGET / "fuzz"

# Fails on purpose.
CANARY = "canary"
# Where the tests have configurations, by the target of their endings.
CONFIGURATIONS = ("tests/interop/config_corpus", "crates/unspool-config/tests", "examples")
ENDINGS = {".ini": "ini", ".yaml": "yaml", ".yml": "yaml", ".xml": "xml", ".json": "json"}

# What cargo-fuzz sets, but for the sanitizers: those need another compiler, and nearly all of what
# is fuzzed is safe Rust.
COVERAGE = (
    "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
    " -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
    " -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
)
INPUT_SECONDS_MAX = 10
SEED_BYTES_MAX = 16 * 1024
MEMORY_MIB_MAX = 2048
# A target without instrumentation counts a handful.
EDGES_MIN = 25
# How long beyond its time a target may take to stop.
STOP_SECONDS_MAX = 120


class FuzzError(Exception):
    """A target failed, or fuzzing could not be done."""


@dataclass
class Figures:
    """What one target did."""

    target: str
    seeds: int
    executions: int
    per_second: int
    edges: int
    memory_mib: int

    def __str__(self) -> str:
        return (
            f"{self.target:<17} {self.seeds:>5} {self.executions:>11} {self.per_second:>8}"
            f" {self.edges:>6} {self.memory_mib:>6}"
        )


TABLE_HEAD = (
    f"{'target':<17} {'seeds':>5} {'executions':>11} {'a second':>8} {'edges':>6} {'MiB':>6}"
)


def targets() -> list[str]:
    """The names of all targets but the one that fails on purpose."""
    names = sorted(path.stem for path in (ROOT / "fuzz/fuzz_targets").glob("*.rs"))
    return [name for name in names if name != CANARY]


def build() -> Path:
    """Builds all targets; the folder with them."""
    if not shutil.which(os.environ.get("CXX", "c++")):
        raise FuzzError("libFuzzer needs a C++ compiler: on Debian and Ubuntu: apt install g++")
    version = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    host = version.split("host: ")[1].split()[0]
    # With the machine named, build scripts and macros are left as they are.
    command = ["cargo", "build", "--release", "--target", host]
    flags = f"{os.environ.get('RUSTFLAGS', '')} {COVERAGE}".strip()
    environment = {**os.environ, "RUSTFLAGS": flags, "CARGO_TARGET_DIR": str(TARGET)}
    subprocess.run(
        [*command, "--manifest-path", str(MANIFEST)], env=environment, cwd=ROOT, check=True
    )
    return TARGET / host / "release"


def make_seeds(binaries: Path) -> Path:
    """A folder with a folder of seeds for each target."""
    seeds = WORK / "seeds"
    shutil.rmtree(seeds, ignore_errors=True)
    subprocess.run([str(binaries / "seeds"), str(seeds)], check=True)
    for folder in CONFIGURATIONS:
        for path in sorted((ROOT / folder).rglob("*")):
            ending = ENDINGS.get(path.suffix)
            if ending is None or path.stat().st_size > SEED_BYTES_MAX:
                continue
            made = seeds / f"config_{ending}"
            made.mkdir(exist_ok=True)
            number = len(list(made.iterdir()))
            (made / f"{number}-{path.name}").write_bytes(path.read_bytes())
    return seeds


def run_target(
    binary: Path, seeds: Path, seconds: float, corpus: Path | None, crashes: Path
) -> Figures:
    """Runs a target; `corpus` is where it goes on and what it adds to."""
    target = binary.name
    kept = crashes / target
    kept.mkdir(parents=True, exist_ok=True)
    before = set(kept.iterdir())
    # Files of the targets are in memory: nothing of them has to survive.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as scratch:
        folders = [Path(scratch) / "corpus"] if corpus is None else [corpus / target]
        folders[0].mkdir(parents=True, exist_ok=True)
        if (seeds / target).exists():
            folders.append(seeds / target)
        count = sum(len(list(folder.iterdir())) for folder in folders)
        options = [
            f"-max_total_time={max(1, round(seconds))}",
            f"-timeout={INPUT_SECONDS_MAX}",
            f"-rss_limit_mb={MEMORY_MIB_MAX}",
            f"-artifact_prefix={kept}/",
            "-print_final_stats=1",
        ]
        command = [str(binary), *options, *map(str, folders)]
        try:
            done = subprocess.run(
                command,
                env={**os.environ, "TMPDIR": scratch},
                cwd=scratch,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds + STOP_SECONDS_MAX,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise FuzzError(f"{target}: does not stop") from error
    found = sorted(set(kept.iterdir()) - before)
    if done.returncode != 0 or found:
        raise FuzzError(crash_report(binary, done, found))
    return figures(target, count, done.stderr)


def crash_report(binary: Path, done: subprocess.CompletedProcess[str], found: list[Path]) -> str:
    """What failed, on which input, and how to see it again."""
    reason = re.search(r"panicked at [^\n]*\n[^\n]*|memory allocation of [^\n]*", done.stderr)
    other = re.search(r"ERROR: libFuzzer: [^\n]*", done.stderr)
    said = reason or other
    lines = [f"{binary.name}: {said[0] if said else f'status {done.returncode}'}"]
    for path in found:
        lines += [f"  input: {path}", f"  again: {shlex.join([str(binary), str(path)])}"]
    if not found:
        lines.append(done.stderr[-2000:])
    return "\n".join(lines)


def figures(target: str, seeds: int, log: str) -> Figures:
    """What libFuzzer says at its end."""

    def number(pattern: str) -> int:
        found = re.findall(pattern, log)
        if not found:
            raise FuzzError(f"{target}: no figures in its output:\n{log[-2000:]}")
        return int(found[-1])

    made = Figures(
        target,
        seeds,
        executions=number(r"stat::number_of_executed_units:\s+(\d+)"),
        per_second=number(r"stat::average_exec_per_sec:\s+(\d+)"),
        edges=number(r" cov: (\d+)"),
        memory_mib=number(r"stat::peak_rss_mb:\s+(\d+)"),
    )
    if made.edges < EDGES_MIN or made.executions <= seeds:
        raise FuzzError(f"{target}: it hardly ran, or without counters:\n{made}")
    return made


def check_canary(binaries: Path, seeds: Path) -> str:
    """Has the target that fails on purpose fail; its report."""
    with tempfile.TemporaryDirectory() as crashes:
        try:
            run_target(binaries / CANARY, seeds, 60, None, Path(crashes))
        except FuzzError as error:
            report = str(error)
            path = re.search(r"input: (.+)", report)
            again = re.search(r"again: (.+)", report)
            if "the canary was found" not in report or path is None or again is None:
                raise
            if not Path(path[1]).read_bytes().startswith(b"crash"):
                raise
            if subprocess.run(shlex.split(again[1]), capture_output=True, check=False).returncode:
                return report
            raise
    raise FuzzError("the target that fails on purpose did not: no finding can be trusted")


def run(seconds: float, only: list[str], note: Callable[[str], None]) -> list[Figures]:
    """Builds, then runs all targets or those named, so long each; two at a time on two cores."""
    unknown = set(only) - set(targets())
    if unknown:
        raise FuzzError(f"no target {', '.join(sorted(unknown))}; there are: {' '.join(targets())}")
    binaries = build()
    seeds = make_seeds(binaries)
    check_canary(binaries, seeds)
    # A run of seconds takes the same way each time.
    corpus = WORK / "corpus" if seconds >= 10 else None
    done: list[Figures] = []
    failed: list[str] = []
    note(TABLE_HEAD)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        runs = [
            pool.submit(run_target, binaries / name, seeds, seconds, corpus, WORK / "crashes")
            for name in only or targets()
        ]
        for future in runs:
            try:
                done.append(future.result())
                note(str(done[-1]))
            except FuzzError as error:
                failed.append(str(error))
                note(failed[-1])
    if failed:
        raise FuzzError(f"{len(failed)} of {len(runs)} targets failed:\n" + "\n".join(failed))
    return done
