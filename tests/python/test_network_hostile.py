"""Peers that are slow, silent or wrong, many at a time: they cost little, and others are served.

What a connection may cost in the daemon is a packet, which is announced to be as long as one can be
(64 KiB), what is read of it at a time (16 KiB), and in a session a frame and the pairs of a task
(64 KiB each): under 256 KiB, whatever the peer says that it will send. There are 1,024 of them at
most (`network-connections`), and 256 of one address, so that 256 MiB is the most there could be.
These here, of which a part sends that much, may take half of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from crowd import descriptors, memory
from factory import DaemonFactory
from harness import Daemon, Project
from inotify import DirectoryWatch

MODULE = """
    import uwsgi
    from reporting import report

    def handler(env):
        if b"last" in env:
            report("last")
        return uwsgi.SPOOL_OK

    uwsgi.spooler = handler
"""
STORED, REFUSED = b"\xff\0\0\1", b"\xff\0\0\0"
SECONDS_MAX = 30.0
IDLE, SLOW, HALF, HUGE, WRONG = 2000, 200, 500, 100, 2000
# Of each that is served well.
TASKS = 200
# See above.
MEMORY_MAX = 128 << 20
# A new connection, a flush and an answer: some milliseconds, on a machine that does much else.
P99_MAX_S = 1.5
LINES_MAX, LINES_SPAN_S = 20, 10


@pytest.fixture(autouse=True)
def many_descriptors() -> Iterator[None]:
    with descriptors(IDLE + SLOW + HALF + HUGE + 200):
        yield


def pairs(*items: tuple[bytes, bytes]) -> bytes:
    return b"".join(struct.pack("<H", len(part)) + part for item in items for part in item)


def packet(modifier1: int, block: bytes) -> bytes:
    return struct.pack("<BHB", modifier1, len(block), 0) + block


def frame(kind: int, payload: bytes) -> bytes:
    return struct.pack("<BI", kind, len(payload)) + payload


def hello() -> bytes:
    known = (
        (b"unspool", b"1"),
        (b"time", b"%d" % time.time()),
        (b"nonce", os.urandom(16).hex().encode()),
    )
    return packet(100, pairs(*known))


def huge_task(number: int) -> bytes:
    """A task of 1 GiB, of which 64 KiB come."""
    mark = f"unspool1[id={number + 1:032x} len={1 << 30:016x} ext={0:08x} crc={0:08x}]1loopsnu"
    head = packet(17, pairs((b"unspool", mark.encode()), (b"a", b"1")))
    begin = frame(1, struct.pack("<IQ", 1, 1 << 30))
    return begin + frame(2, (head + bytes(65536))[:65536])


class Peers:
    """Connections to one daemon."""

    def __init__(self, address: tuple[str, int], stack: contextlib.ExitStack) -> None:
        self._address, self._stack = address, stack

    def open(self, of: str, first: bytes = b"") -> socket.socket:
        """One of this address of the machine, which has sent something."""
        connected = self._stack.enter_context(
            socket.create_connection(self._address, SECONDS_MAX, source_address=(of, 0))
        )
        # One whose place somebody else got is closed.
        with contextlib.suppress(ConnectionError):
            connected.sendall(first)
        return connected

    def ask(self, of: str, whole: bytes) -> bytes:
        """The answer to a packet, on a connection of its own."""
        with socket.create_connection(self._address, SECONDS_MAX, source_address=(of, 0)) as asked:
            asked.sendall(whole)
            return asked.recv(100)


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)]


@pytest.fixture
def listening(project: Project, daemon: DaemonFactory) -> tuple[Daemon, tuple[str, int], Path]:
    project.write("tasks.py", MODULE)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    path = project.root / "s.sock"
    started = daemon(
        f"--spooler={project.spool}",
        "--import=tasks",
        "--spooler-quiet",
        f"--socket={address[0]}:{address[1]}",
        f"--socket={path}",
        # As long as this test: nobody leaves by himself.
        "--socket-timeout=120",
    )
    return started, address, path


def submit(project: Project, to: str, count: int) -> list[float]:
    """How long each of the tasks of a process took to be stored there."""
    source = f"""
    import json, time, unspool
    took = []
    for number in range({count}):
        began = time.monotonic()
        unspool.spool({{"a": "1"}}, spooler={to!r})
        took.append(time.monotonic() - began)
    print(json.dumps(took))
    """
    took: list[float] = json.loads(project.python(source).stdout)
    return took


def test_others_are_served_and_memory_is_bounded(
    project: Project, listening: tuple[Daemon, tuple[str, int], Path]
) -> None:
    running, address, path = listening
    ways = {"TCP": f"{address[0]}:{address[1]}", "a Unix socket": str(path)}
    for to in ways.values():
        submit(project, to, 20)
    before = memory(running.pid, "VmRSS")
    # The most is counted anew.
    Path(f"/proc/{running.pid}/clear_refs").write_text("5")
    incoming = project.spool / ".unspool" / "incoming"
    with contextlib.ExitStack() as stack:
        peers = Peers(address, stack)
        for number in range(HUGE):
            peers.open("127.0.0.1", hello() + huge_task(number))
        slow = [
            peers.open("127.0.0.2", struct.pack("<BHB", 17, 65535, 0) + bytes(60000))
            for _ in range(SLOW)
        ]
        for number in range(HALF):
            peers.open(f"127.0.0.{3 + number % 2}", hello()[:40])
        for _ in range(IDLE):
            peers.open("127.0.0.1")
        mark, began = running.mark(), time.monotonic()
        for _ in range(WRONG):
            assert peers.ask("127.0.0.5", packet(17, b"\xff\xff")) == REFUSED
        took = time.monotonic() - began
        lines = [line for line in running.log[mark:] if "network: " in line]
        assert len(lines) <= LINES_MAX * (2 + took / LINES_SPAN_S), f"{len(lines)} in {took:.1f} s"
        # Also on new connections.
        plain = []
        for number in range(TASKS):
            with contextlib.suppress(OSError):
                slow[number % SLOW].sendall(b"x")
            began = time.monotonic()
            assert peers.ask("127.0.0.1", packet(17, pairs((b"a", b"1")))) == STORED
            plain.append(time.monotonic() - began)
        figures = {"new connections": p99(plain)}
        figures |= {way: p99(submit(project, to, TASKS)) for way, to in ways.items()}
        grown = memory(running.pid, "VmHWM") - before
        print(
            f"p99 in seconds: {figures}; {before >> 20} MiB before, {grown >> 20} MiB more at most;"
        )
        print(f"{len(lines)} lines, {len(os.listdir(incoming))} tasks on their way")
        # Tasks run meanwhile.
        peers.ask("127.0.0.1", packet(17, pairs((b"last", b"1"))))
        project.events.wait("last")
        project.wait_empty()
    assert all(seconds < P99_MAX_S for seconds in figures.values()), figures
    assert grown < MEMORY_MAX, f"{grown >> 20} MiB"
    with DirectoryWatch(incoming) as watch:
        assert watch.wait(lambda: not os.listdir(incoming), SECONDS_MAX), os.listdir(incoming)
    assert project.unspool("fsck", "--spooler", project.spool).returncode == 0
