"""The floor of a submission: the bare system calls, in C where a compiler is found."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

from bench.side import Burst

SOURCE = Path(__file__).with_name("bare.c")
RUN_SECONDS_MAX = 120.0
THREAD_STRIDE = 10_000_000
DIGITS = 10


class Bare:
    """Create, write, rename of the bytes of one sample task, plainly or made durable."""

    def __init__(self, scratch: Path) -> None:
        self.program: Path | None = None
        self.description = "Python, os.* (no C compiler was found)"
        compiler = shutil.which("cc")
        if compiler is not None:
            program = scratch / "bare"
            build = [compiler, "-O2", "-pthread", "-o", str(program), str(SOURCE)]
            subprocess.run(build, check=True)
            self.program = program
            self.description = "C, compiled for this run"

    def plain(self, spool: Path, sample: Path, count: int) -> Burst:
        """Without any fsync, one thread."""
        _prepare(spool)
        if self.program is not None:
            return self._run("plain", spool, sample, count)
        writer = _Writer(spool, sample, durable=False)
        started = time.monotonic_ns()
        for number in range(count):
            writer.submit(number)
        return Burst(count, time.monotonic_ns() - started)

    def durable(self, spool: Path, sample: Path, threads: int, seconds: float) -> Burst:
        """With an fsync of the file and of the directory for each task."""
        _prepare(spool)
        if self.program is not None:
            return self._run("durable", spool, sample, threads, int(seconds * 1000))
        writer = _Writer(spool, sample, durable=True)
        counts = [0] * threads
        deadline = time.monotonic() + seconds

        def submit(index: int) -> None:
            while time.monotonic() < deadline:
                writer.submit(index * THREAD_STRIDE + counts[index])
                counts[index] += 1

        started = time.monotonic_ns()
        running = [threading.Thread(target=submit, args=(index,)) for index in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        return Burst(sum(counts), time.monotonic_ns() - started)

    def _run(self, kind: str, *arguments: object) -> Burst:
        command = [str(self.program), kind, *(str(argument) for argument in arguments)]
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, timeout=RUN_SECONDS_MAX
        )
        count, nanoseconds = done.stdout.split()
        return Burst(int(count), int(nanoseconds))


def _prepare(spool: Path) -> None:
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)


class _Writer:
    """The same calls from Python."""

    def __init__(self, spool: Path, sample: Path, *, durable: bool) -> None:
        self.content = sample.read_bytes()
        self.stem = sample.name[:-DIGITS]
        self.durable = durable
        self.spool = os.open(spool, os.O_RDONLY | os.O_DIRECTORY)

    def submit(self, number: int) -> None:
        name = f"{self.stem}{number:0{DIGITS}}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        file = os.open("." + name, flags, 0o600, dir_fd=self.spool)
        os.write(file, self.content)
        if self.durable:
            os.fsync(file)
        os.close(file)
        os.rename("." + name, name, src_dir_fd=self.spool, dst_dir_fd=self.spool)
        if self.durable:
            os.fsync(self.spool)
