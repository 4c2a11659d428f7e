"""A file system that hangs holds up its own tasks, and no other peer."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import Project
from inotify import DirectoryWatch
from sshfs import Shared, shared

MODULE = """
    from uwsgidecorators import spool
    from reporting import report

    @spool
    def mark(args):
        report("mark", id=args["id"])
"""


@pytest.fixture
def both(project: Project) -> Iterator[Shared]:
    project.write("tasks.py", MODULE)
    with shared(project.root) as made:
        (made.remote / "spool").mkdir(mode=0o700)
        yield Shared(made.remote / "spool", made.mount / "spool")


def server_of(mount: Path) -> int:
    """The process behind a mount."""
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0] == b"sshfs" and os.fsencode(mount) in words:
            return int(folder.name)
    raise AssertionError(f"nobody serves {mount}")


def pairs(*items: tuple[bytes, bytes]) -> bytes:
    return b"".join(struct.pack("<H", len(part)) + part for item in items for part in item)


def frame(kind: int, payload: bytes) -> bytes:
    return struct.pack("<BI", kind, len(payload)) + payload


def half_a_task(spool: Path) -> bytes:
    """A hello, and the beginning of a task for this spool."""
    known = pairs((b"unspool", b"1"), (b"time", b"%d" % time.time()), (b"nonce", b"00" * 16))
    mark = f"unspool1[id={time.time_ns():032x} len={1 << 30:016x} ext={0:08x} crc={0:08x}]1loopsnu"
    block = pairs((b"unspool", mark.encode()), (b"a", b"1"))
    head = struct.pack("<BHB", 17, len(block), 0) + block
    begin = frame(1, struct.pack("<IQ", 1, 1 << 30) + os.fsencode(spool))
    hello = struct.pack("<BHB", 100, len(known), 0) + known
    return hello + begin + frame(2, (head + bytes(65536))[:65536])


def sizes(incoming: Path) -> list[int]:
    """Bytes of what has come of tasks."""
    found = []
    for path in incoming.glob("uwsgi_*"):
        with contextlib.suppress(FileNotFoundError):
            found.append(path.stat().st_size)
    return found


def test_what_a_peer_leaves_there_holds_up_nobody(
    project: Project, daemon: DaemonFactory, both: Shared
) -> None:
    spools = ("--spooler", project.spool, "--spooler", both.mount, "--spooler-import", "tasks")
    running = daemon(*spools, "--socket", "127.0.0.1:0")
    port = int(running.wait_log("taking tasks from the network .*:([0-9]+)")[1])
    incoming = both.remote / ".unspool" / "incoming"
    peer = socket.create_connection(("127.0.0.1", port), 20)
    with peer, DirectoryWatch(incoming) as watch:
        peer.sendall(half_a_task(both.mount))
        assert watch.wait(lambda: any(size > 60_000 for size in sizes(incoming)), 20)
        server = server_of(both.mount.parent)
        os.kill(server, signal.SIGSTOP)
    try:
        running.wait_log("the connection (ended within a task|broke)")
        for number in range(3):
            project.unspool("spool", "--to", f"127.0.0.1:{port}", "mark", f"id={number}")
    finally:
        os.kill(server, signal.SIGCONT)
    assert len(project.events.collect(3, "mark")) == 3
    with DirectoryWatch(incoming) as watch:
        assert watch.wait(lambda: not sizes(incoming), 20)
