"""Virtual machines that lose their power: QEMU with a kernel of Debian's and this machine's files.

The guest sees this machine's root read-only and one project's folder for writing, both through
virtiofs, at the paths that they have here, and runs a program of this machine in them. What it
writes there is there when its call returns; its disk is one of `volatile`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from harness import HarnessError

from torture.filesystems import NotRun
from torture.systems import Unspool
from torture.volatile import Disk

# What `tools/system_tools.sh machine` unpacks there.
PARTS = Path(__file__).resolve().parent.parent / "target" / "torture-machine"
QEMU = "qemu-system-x86_64"
VIRTIOFSD = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")
MODULES = ("virtio_pci", "virtio_blk", "virtiofs", "xfs", "crc32c_generic")
MEMORY = "768M"
# Where a guest mounts its disk.
DISK = "/tmp/disk"
_START_SECONDS_MAX = 20.0

INIT = """#!/bin/sh
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
for module in {modules}; do insmod /modules/$module.ko; done
mount -t virtiofs root /rw && mount --bind /rw /new && mount -o remount,bind,ro /new || poweroff -f
for folder in tmp run dev; do mount -t tmpfs tmpfs /new/$folder; done
mount --move /dev /new/dev; mkdir -p /new/dev/shm; mount -t tmpfs tmpfs /new/dev/shm
mount -t proc proc /new/proc; mount -t sysfs sys /new/sys
mkdir -p /new{project}; mount --bind /rw{project} /new{project}
exec </new/dev/null >/new{project}/guest.log 2>&1
chroot /new /usr/bin/env -C {project} {command}
sync; poweroff -f
"""


def need_qemu() -> None:
    """Raises NotRun where no machine can be started."""
    if shutil.which(QEMU) is None or not any(map(os.path.exists, VIRTIOFSD)):
        raise NotRun(f"not run: no {QEMU} with virtiofsd (on Debian: apt install qemu-system-x86)")
    if not list(PARTS.glob("boot/vmlinuz-*")) or not (PARTS / "bin/busybox").exists():
        raise NotRun(f"not run: no kernel in {PARTS} (tools/system_tools.sh machine gets it)")
    if os.geteuid() != 0:
        raise NotRun("not run: only root can share its files with a machine")


class Machine:
    """A machine that runs a command in a project's folder, and then turns itself off.

    It is emulated: hardware's help is not the same everywhere, and fails where this runs in a
    machine that is one itself.
    """

    def __init__(self, project: Path, disk: Disk, command: list[str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="unspool-vm-")
        folder = Path(self._folder.name)
        self._console, self._errors = folder / "console", folder / "errors"
        initrd = folder / "initrd"
        initrd.write_bytes(_initrd(project, command))
        disk.serve()
        self._files = self._share(folder / "fs")
        kernel = next(PARTS.glob("boot/vmlinuz-*"))
        with open(self._errors, "wb") as errors:
            self._qemu = self._start(kernel, initrd, disk, errors)

    def _start(
        self, kernel: Path, initrd: Path, disk: Disk, errors: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", MEMORY,
                "-object", f"memory-backend-memfd,id=memory,size={MEMORY},share=on",
                "-machine", "pc,memory-backend=memory",
                "-kernel", kernel, "-initrd", initrd,
                "-append", "console=ttyS0 quiet panic=-1 rdinit=/init",
                "-serial", f"file:{self._console}",
                "-chardev", f"socket,id=files,path={initrd.with_name('fs')}",
                "-device", "vhost-user-fs-pci,chardev=files,tag=root",
                "-drive", f"file=nbd+unix:///?socket={disk.path},if=none,id=disk,format=raw,"
                          "cache=writeback",
                "-device", "virtio-blk-pci,drive=disk",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
        )  # fmt: skip

    def _share(self, path: Path) -> subprocess.Popen[bytes]:
        program = next(filter(os.path.exists, VIRTIOFSD))
        served = subprocess.Popen(
            [program, f"--socket-path={path}", "-o", "source=/,sandbox=chroot,cache=auto"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS_MAX
        while not path.exists():
            if served.poll() is not None or time.monotonic() > deadline:
                served.kill()
                served.wait()
                raise HarnessError("virtiofsd does not start")
            time.sleep(0.01)
        return served

    def wait(self, holds: Callable[[], bool], seconds: float, what: str) -> None:
        """Waits until that is so, while the machine runs."""
        deadline = time.monotonic() + seconds
        while not holds():
            # It may have turned itself off just after.
            if self._qemu.poll() is not None and not holds():
                raise HarnessError(f"the machine is off, before {what}\n{self.said()}")
            if time.monotonic() > deadline:
                raise HarnessError(f"not within {seconds:g} s: {what}\n{self.said()}")
            time.sleep(0.01)

    def cut_power(self) -> None:
        """Kills it; what it shared is whole when this returns."""
        self._qemu.kill()
        self._qemu.wait()
        try:
            self._files.wait(_START_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._files.kill()
            self._files.wait()

    def said(self) -> str:
        """What QEMU and the console say."""
        paths = [path for path in (self._errors, self._console) if path.exists()]
        return "\n".join(path.read_text("utf-8", "backslashreplace") for path in paths)

    def close(self) -> None:
        """Ends it."""
        self.cut_power()
        self._folder.cleanup()


@contextlib.contextmanager
def boot(system: Unspool, disk: Disk, program: Path, job: dict[str, Any]) -> Iterator[Machine]:
    """A machine that runs a daemon and a program of ours. Whatever fails is told with its log."""
    root, spool = system.project.root, Path(DISK) / "spool"
    told = {
        "disk": DISK,
        "spool": os.fspath(spool),
        "env": system.project.env,
        "daemon": system.command(spool),
        "ready": system.ready,
        "ready_count": system.workers if system.ready_each else 1,
        "may_leave": type(system) is not Unspool,
        "submitter": system.submitter_command(spool),
        **job,
    }
    path = root / "job.json"
    path.write_text(json.dumps(told))
    machine = Machine(root, disk, [sys.executable, os.fspath(program), os.fspath(path)])
    try:
        yield machine
    except HarnessError as error:
        logs = [root / name for name in ("guest.log", "daemon.log")]
        said = "\n".join(log.read_text()[-4000:] for log in logs if log.exists())
        raise HarnessError(f"{error}\n{said}") from error
    finally:
        machine.close()


def _initrd(project: Path, command: list[str]) -> bytes:
    modules: list[str] = []
    files = {path.stem: path for path in (PARTS / "lib/modules").rglob("*.ko")}

    def add(name: str) -> None:
        # What is not a module is a part of the kernel.
        path = files.get(name) or files.get(name.replace("_", "-"))
        if path is None or name in modules:
            return
        found = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for needed in found[1].decode().split(",") if found else ():
            add(needed)
        if name not in modules:
            modules.append(name)

    for name in MODULES:
        add(name)
    init = INIT.format(
        modules=" ".join(modules), project=shlex.quote(os.fspath(project)),
        command=shlex.join(command),
    )  # fmt: skip
    archive = _Archive()
    for folder in ("bin", "dev", "proc", "sys", "rw", "new", "modules"):
        archive.add(folder, 0o040755, b"")
    archive.add("bin/busybox", 0o100755, (PARTS / "bin/busybox").read_bytes())
    for applet in ("sh", "mount", "insmod", "mkdir", "chroot", "sync", "poweroff"):
        archive.add(f"bin/{applet}", 0o120777, b"busybox")
    for name in modules:
        path = files.get(name) or files[name.replace("_", "-")]
        archive.add(f"modules/{name}.ko", 0o100644, path.read_bytes())
    archive.add("init", 0o100755, init.encode())
    return archive.end()


class _Archive:
    """A cpio archive as the kernel unpacks it."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._count = 0

    def add(self, name: str, mode: int, data: bytes) -> None:
        self._count += 1
        numbers = (self._count, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        self._bytes += b"070701" + b"".join(b"%08X" % number for number in numbers)
        self._add(name.encode() + b"\0")
        self._add(data)

    def _add(self, data: bytes) -> None:
        self._bytes += data
        self._bytes += bytes(-len(self._bytes) % 4)

    def end(self) -> bytes:
        self.add("TRAILER!!!", 0, b"")
        return bytes(self._bytes)
