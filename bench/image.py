"""The file system that everything is measured on, and its name.

A root file system may be ext4 without a journal, where creating a file after others were removed
costs up to eight times as much. As root the benchmark therefore makes a journaled ext4 in a file
and mounts it for its own processes only; otherwise it uses the directory it is given and says what
that is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

IMAGE_BYTES = 4 << 30
# What must stay free on the disk that holds the image.
SPARE_BYTES = 1 << 30
UNMOUNT_SECONDS_MAX = 20.0

CLONE_NEWNS = 0x00020000
_libc = ctypes.CDLL(None, use_errno=True)


class Place(NamedTuple):
    """Where the measured files go."""

    path: Path
    # For the report: file system, journal, and how it came about.
    description: str


class ImageError(Exception):
    """The image could not be made; the text says at which step."""


def _run(*arguments: str) -> None:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        detail = (done.stderr or done.stdout).strip().replace("\n", "; ")
        raise ImageError(f"`{' '.join(arguments)}` failed: {detail}")


def sync(path: Path) -> None:
    """Writes back the file system of `path`, so that one measurement does not pay for another."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc.syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), "syncfs failed", str(path))
    finally:
        os.close(descriptor)


def describe(path: Path) -> str:
    """The file system of a directory, and whether it has a journal."""
    best = ("", "unknown file system", "")
    target = str(path.resolve())
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        mount = left.split()[4]
        kind, source = right.split()[:2]
        inside = mount == "/" or target == mount or target.startswith(mount + "/")
        if inside and len(mount) >= len(best[0]):
            best = (mount, kind, source)
    mount, kind, source = best
    if kind in ("ext3", "ext4"):
        return f"{kind} {'with' if _has_journal(path) else 'WITHOUT'} a journal ({source})"
    return f"{kind} ({source})"


def _has_journal(path: Path) -> bool:
    device = path.stat().st_dev
    link = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    name = link.resolve().name
    journals = Path("/proc/fs/jbd2")
    return journals.is_dir() and any(
        entry.name.startswith(f"{name}-") for entry in journals.iterdir()
    )


def _use_private_mounts() -> None:
    """Mounts of this process end with it, even if it is killed."""
    if _libc.unshare(CLONE_NEWNS) != 0:
        raise ImageError(f"unshare failed: {os.strerror(ctypes.get_errno())}")
    _run("mount", "--make-rprivate", "/")


@contextlib.contextmanager
def _mounted(base: Path) -> Iterator[Place]:
    if shutil.disk_usage(base).free < IMAGE_BYTES + SPARE_BYTES:
        needed = (IMAGE_BYTES + SPARE_BYTES) >> 30
        raise ImageError(f"less than {needed} GiB free in {base}")
    image = base / "ext4.img"
    mount = base / "mount"
    mount.mkdir()
    try:
        _run("fallocate", "-l", str(IMAGE_BYTES), str(image))
        # Everything initialised now: the kernel must not do it during a measurement. No discard:
        # it would make the file sparse again.
        options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
        _run("mkfs.ext4", "-q", "-F", "-i", "4096", "-E", options, str(image))
        _use_private_mounts()
        _run("mount", "-o", "loop", str(image), str(mount))
    finally:
        # The mount keeps the image open; without a name it cannot be left behind.
        image.unlink(missing_ok=True)
    try:
        work = mount / "work"
        work.mkdir()
        size = IMAGE_BYTES >> 30
        yield Place(work, f"{describe(work)}, a loop-mounted image of {size} GiB made for this run")
    finally:
        _unmount(mount)


def _unmount(mount: Path) -> None:
    deadline = time.monotonic() + UNMOUNT_SECONDS_MAX
    while True:
        try:
            return _run("umount", str(mount))
        except ImageError:
            # The kernel may still be closing files of a child that has just ended.
            if time.monotonic() > deadline:
                return _run("umount", "--lazy", str(mount))
            time.sleep(0.1)


@contextlib.contextmanager
def place(base: Path, given: Path | None) -> Iterator[Place]:
    """A fresh directory to measure in: in an image below `base`, or below the `given` one."""
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=given or base) as temporary:
        own = Path(temporary)
        with contextlib.ExitStack() as stack:
            if given is not None:
                chosen = Place(own, f"{describe(own)}, as asked by --directory")
            elif os.geteuid() != 0:
                chosen = Place(own, f"{describe(own)}; not root, so no image was made")
            else:
                try:
                    chosen = stack.enter_context(_mounted(own))
                except ImageError as error:
                    chosen = Place(own, f"{describe(own)}; no image was made: {error}")
            yield chosen
