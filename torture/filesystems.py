"""File systems to break: made in a file, mounted through a loop device, and cut off or filled."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from harness import HarnessError

# EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are one number and one argument.
_SHUTDOWN = 0x8004587D
# Without a flush of the log: what was not made durable is gone, as with the power.
_WITHOUT_LOG_FLUSH = 2
# The smallest that their makers make, or nearly so. Images have holes.
_SIZES = {"ext4": "32M", "xfs": "320M", "btrfs": "32M", "tmpfs": "2M"}
_UNMOUNT_SECONDS_MAX = 10.0
# What files are filled with, the larger first. Small ones are one write each: where a file system
# has room of its own for names, they fill that too.
_FILL_BYTES = (1 << 20, 1 << 14, 1500, 100)
_SMALL_BYTES = 1500


class NotRun(Exception):
    """This machine cannot do it; the text says why."""


def need(kind: str) -> None:
    """Raises NotRun where a file system of this kind cannot be made or mounted."""
    if os.geteuid() != 0:
        raise NotRun("not run: only root can mount")
    if kind == "tmpfs":
        return
    if shutil.which(f"mkfs.{kind}") is None:
        package = {"ext4": "e2fsprogs", "xfs": "xfsprogs", "btrfs": "btrfs-progs"}[kind]
        raise NotRun(
            f"not run: mkfs.{kind} is missing (on Debian and Ubuntu: apt install {package})"
        )
    if not Path("/dev/loop-control").exists():
        raise NotRun("not run: this machine has no loop devices")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HarnessError(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip()


def make_image(kind: str, image: Path, size: str) -> None:
    """A fresh file system in a file with holes."""
    need(kind)
    _run("truncate", "-s", size, os.fspath(image))
    force = {"ext4": ["-q", "-F"], "xfs": ["-q"], "btrfs": ["-q", "--mixed"]}[kind]
    _run(f"mkfs.{kind}", *force, os.fspath(image))


class FileSystem:
    """A fresh file system at `path`; `close` removes it."""

    def __init__(self, kind: str, *options: str, size: str | None = None) -> None:
        need(kind)
        self.kind = kind
        self.options = options
        self._size = size or _SIZES[kind]
        self._folder = tempfile.TemporaryDirectory(prefix="unspool-fs-")
        self.path = Path(self._folder.name) / "mnt"
        self.path.mkdir()
        self._image = Path(self._folder.name) / "image"
        self._mounted = False
        try:
            if kind != "tmpfs":
                make_image(kind, self._image, self._size)
            self.mount()
        except HarnessError as error:
            self.close()
            # Not root's own user namespace, or a kernel without this file system.
            if "permission denied" in str(error) or "unknown filesystem" in str(error):
                raise NotRun(f"not run: {error}") from error
            raise

    def mount(self) -> None:
        """Mounts it, which replays its journal."""
        if self.kind == "tmpfs":
            options = ",".join([f"size={self._size}", *self.options])
            _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", os.fspath(self.path))
        else:
            options = ",".join(["loop", *self.options])
            _run("mount", "-t", self.kind, "-o", options, os.fspath(self._image),
                 os.fspath(self.path))  # fmt: skip
        self._mounted = True

    def unmount(self) -> None:
        """Unmounts it, once the last of the processes that were killed has let go of it.

        As long as it is mounted in another mount namespace, which copied those of this one, the
        next mount would be of the same file system and not of what the disk has.
        """
        deadline = time.monotonic() + _UNMOUNT_SECONDS_MAX
        while True:
            try:
                _run("umount", os.fspath(self.path))
            except HarnessError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                self._mounted = False
                break
        while self.kind != "tmpfs" and _run("losetup", "-j", os.fspath(self._image)):
            if time.monotonic() > deadline:
                raise HarnessError(f"{self.path} is still mounted in another mount namespace")
            time.sleep(0.02)

    def cut_power(self) -> None:
        """From now on nothing reaches the image, and what was not flushed never does."""
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(folder, _SHUTDOWN, struct.pack("=I", _WITHOUT_LOG_FLUSH))
        finally:
            os.close(folder)

    def fail(self) -> None:
        """Has an ext4 that is mounted with `errors=remount-ro` find an error in itself."""
        device = Path(_run("findmnt", "-n", "-o", "SOURCE", os.fspath(self.path))).name
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("a test\n")

    def repair(self) -> None:
        """Checks an unmounted ext4 that had found an error."""
        done = subprocess.run(
            ["e2fsck", "-f", "-y", os.fspath(self._image)],
            capture_output=True,
            text=True,
            check=False,
        )
        # 1 says that errors were found and repaired.
        if done.returncode not in (0, 1):
            raise HarnessError(f"e2fsck: status {done.returncode}: {done.stdout}")

    def sync(self) -> None:
        """Writes back what is in memory of this file system alone."""
        _run("sync", "-f", os.fspath(self.path))

    @contextlib.contextmanager
    def filled(self) -> Iterator[None]:
        """Without room for anything, neither for data nor for another file, until the block ends.

        What others free meanwhile is taken at once.
        """
        files: list[Path] = []
        over = threading.Event()

        def keep_full() -> None:
            while not over.wait(0.02):
                self._fill(files)

        self.sync()
        self._fill(files)
        # What is reserved for what is in memory only is counted when that is written.
        self.sync()
        self._fill(files)
        keeper = threading.Thread(target=keep_full, daemon=True)
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()
            for path in files:
                path.unlink()
            self.sync()

    def _fill(self, files: list[Path]) -> None:
        """Fills it to the last byte, and until not even a small file can be made."""
        for size in _FILL_BYTES:
            while True:
                path = self.path / f"ballast-{len(files)}"
                try:
                    with open(path, "xb", buffering=0) as file:
                        files.append(path)
                        while file.write(bytes(size)) == size and size > _SMALL_BYTES:
                            pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    break

    def close(self) -> None:
        """Unmounts and removes it."""
        try:
            if self._mounted:
                self.unmount()
        finally:
            self._folder.cleanup()
