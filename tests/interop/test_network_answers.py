"""The same bytes to a real uWSGI and to unspool: what is answered and what is stored."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import taskfile
from both import Both
from harness import UNSPOOL, free_port

PREFIX = "uwsgi_spoolfile_on_"
PING, SPOOL = 100, 17
BUFFER_SIZE = 4096
PONG = b"\x64\0\0\1"
STORED = b"\xff\0\0\1"
REFUSED = b"\xff\0\0\0"
# Of a connection on which nothing more comes: longer than `socket-timeout`.
SECONDS_MAX = 10.0
TIMEOUT_S = 1


def pairs(*items: tuple[bytes, bytes]) -> bytes:
    return b"".join(struct.pack("<H", len(part)) + part for item in items for part in item)


def packet(modifier1: int, block: bytes, modifier2: int = 0, announced: int | None = None) -> bytes:
    length = len(block) if announced is None else announced
    return struct.pack("<BHB", modifier1, length, modifier2) + block


@dataclass(frozen=True)
class Side:
    """One of the two, with the directory that it stores in."""

    spool: Path
    address: tuple[str, int]
    unix: Path

    def ask(self, pieces: Sequence[bytes], ends: bool = False) -> bytes:
        """All that comes back until the other side closes; `ends` closes this one before that."""
        reply = b""
        with socket.create_connection(self.address, SECONDS_MAX) as connected:
            # Whoever has enough of it closes, perhaps while this still sends.
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    connected.sendall(piece)
                if ends:
                    connected.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while got := connected.recv(65536):
                    reply += got
        return reply

    def taken(self) -> list[list[tuple[bytes, bytes]] | None]:
        """The pairs of the tasks there, which are taken away; `None` for what is no task."""
        found: list[list[tuple[bytes, bytes]] | None] = []
        for path in list(self.spool.rglob(f"{PREFIX}*")):
            try:
                found.append(taskfile.read(path).pairs)
            except Exception:
                found.append(None)
            path.unlink()
        return found


@pytest.fixture
def sides(both: Both) -> tuple[Side, Side]:
    """uWSGI and unspool: neither runs what it stores."""
    made = []
    for name in ("theirs", "ours"):
        spool, unix = both.project.root / name, both.project.root / f"{name}.sock"
        spool.mkdir(mode=0o700)
        side = Side(spool, ("127.0.0.1", free_port()), unix)
        options = (
            f"--socket=127.0.0.1:{side.address[1]}",
            f"--socket={unix}",
            f"--spooler-external={spool}",
            f"--buffer-size={BUFFER_SIZE}",
            f"--socket-timeout={TIMEOUT_S}",
        )
        if name == "theirs":
            both._uwsgi(*options, "--processes=2", env={}).wait_log("spawned uWSGI worker 2")
        else:
            both._start(UNSPOOL, "run", *options, env={}).wait_log("unspool is ready")
        made.append(side)
    return made[0], made[1]


A = pairs((b"a", b"1"))
LONG = pairs((b"a", b"x" * (BUFFER_SIZE - 5)))
CASES = [
    ("a ping", [packet(PING, b"")], False),
    ("a ping with pairs", [packet(PING, A)], False),
    ("a ping with modifier2", [packet(PING, b"", 7)], False),
    ("a task", [packet(SPOOL, A)], False),
    ("a task with modifier2", [packet(SPOOL, A, 9)], False),
    ("a task byte by byte", [bytes([byte]) for byte in packet(SPOOL, A)], False),
    ("a task and an end", [packet(SPOOL, A)], True),
    ("a task without pairs", [packet(SPOOL, b"")], False),
    ("bytes behind the packet", [packet(SPOOL, A) + b"behind it"], False),
    ("a second packet behind it", [packet(SPOOL, A) * 2], False),
    ("a key twice", [packet(SPOOL, A + pairs((b"a", b"2")))], False),
    ("empty key and value", [packet(SPOOL, pairs((b"", b"")))], False),
    ("as long as may be", [packet(SPOOL, LONG)], False),
    ("one byte longer", [packet(SPOOL, LONG + b"x")], False),
    ("much longer", [packet(SPOOL, b"x" * 65535)], False),
    ("a priority", [packet(SPOOL, A + pairs((b"priority", b"3")))], False),
    ("pairs that are cut", [packet(SPOOL, A[:-1])], False),
    ("no pairs", [packet(SPOOL, b"\xff\xff")], False),
    ("a spool that is not there", [packet(SPOOL, pairs((b"spooler", b"/nowhere")))], False),
    ("modifier1 0", [packet(0, A)], False),
    ("modifier1 5", [packet(5, A)], False),
    ("modifier1 31", [packet(31, A)], False),
    ("modifier1 255", [packet(255, A)], False),
    ("nothing", [b""], True),
    ("half a header", [b"\x11\0"], True),
    ("half a packet", [packet(SPOOL, A)[:-2]], True),
    ("half a packet, and waits", [packet(SPOOL, A)[:-2]], False),
    ("an HTTP request", [b"GET / HTTP/1.0\r\n\r\n"], True),
]


# What unspool does otherwise (docs/uwsgi-differences.md): the answers of both.
DIFFERENT = {
    "empty key and value": (STORED, REFUSED),
    "pairs that are cut": (STORED, REFUSED),
    "no pairs": (STORED, REFUSED),
    # Of web workers, which unspool has not yet.
    "modifier1 0": (b"HTTP/1.0 500 Internal Server Error", b""),
}


def test_both_answer_the_same_and_store_the_same(sides: tuple[Side, Side]) -> None:
    theirs, ours = sides
    for name, pieces, ends in CASES:
        answers = theirs.ask(pieces, ends), ours.ask(pieces, ends)
        stored = theirs.taken(), ours.taken()
        if name in DIFFERENT:
            begins, answer = DIFFERENT[name]
            assert answers[0].startswith(begins) and answers[1] == answer, (name, answers)
            assert stored == ([None] if begins == STORED else [], []), (name, stored)
        else:
            assert answers[0] == answers[1], (name, answers)
            assert stored[0] == stored[1], (name, stored)
            assert (answers[0] == STORED) == bool(stored[0]), name


def test_a_hello_of_unspool_is_a_ping_to_uwsgi(sides: tuple[Side, Side]) -> None:
    theirs, ours = sides
    hello = pairs((b"unspool", b"1"), (b"time", b"%d" % time.time()), (b"nonce", b"0" * 32))
    assert theirs.ask([packet(PING, hello)]) == PONG
    welcome = ours.ask([packet(PING, hello)], ends=True)
    assert (welcome[0], welcome[3]) == (PING, 2)
    # One that is not understood is told so.
    refusal = ours.ask([packet(PING, pairs((b"unspool", b"1"), (b"nonce", b"0")))])
    assert (refusal[0], refusal[3]) == (PING, 2) and b"error" in refusal


def test_torn_packets_take_no_worker_from_others(sides: tuple[Side, Side]) -> None:
    """unspool serves others meanwhile; a uWSGI has a worker for each that says nothing."""
    _, ours = sides
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            torn = stack.enter_context(socket.create_connection(ours.address, SECONDS_MAX))
            torn.sendall(packet(SPOOL, A)[:-1])
        began = time.monotonic()
        assert ours.ask([packet(SPOOL, A)]) == STORED
        assert time.monotonic() - began < TIMEOUT_S


def test_external_spools_are_submitted_to_and_run_by_nobody_here(both: Both) -> None:
    """By the listener, its key `spooler`, and a process of the application, in both systems."""
    project = both.project
    ports = {"uwsgi": free_port(), "unspool": free_port()}
    for system, port in ports.items():
        first, second = project.root / f"{system}-first", project.root / f"{system}-second"
        for folder in (first, second):
            folder.mkdir(mode=0o700)
        options = (
            f"--socket=127.0.0.1:{port}",
            f"--spooler-external={first}",
            f"--spooler-external={second}",
            "--spooler-frequency=1",
        )
        if system == "uwsgi":
            both._uwsgi(*options, "--processes=1", env={}).wait_log("spawned uWSGI worker 1")
        else:
            both._start(UNSPOOL, "run", *options, env={}).wait_log("unspool is ready")
        sender = Side(first, ("127.0.0.1", port), first)
        assert sender.ask([packet(SPOOL, A)]) == STORED
        named = A + pairs((b"spooler", str(second).encode()))
        assert sender.ask([packet(SPOOL, named)]) == STORED
        other = A + pairs((b"spooler", str(project.spool).encode()))
        assert sender.ask([packet(SPOOL, other)]) == REFUSED
        assert sender.taken() == [[(b"a", b"1")]]
        (kept,) = Side(second, sender.address, second).taken()
        assert kept is not None and (b"a", b"1") in kept
    ini = project.write(
        "app.ini",
        f"[uwsgi]\nspooler-external = {project.root}/unspool-first\n"
        f"spooler-external = {project.root}/unspool-second\n",
    )
    source = f"""
    import uwsgi
    print(*uwsgi.spoolers, uwsgi.spooler_pid())
    uwsgi.spool(a="1")
    uwsgi.spool(a="2", spooler={str(project.root / "unspool-second")!r}.encode())
    """
    env = {**project.env, "UNSPOOL_CONFIG": str(ini)}
    (line,) = project.python(source, env=env).stdout.splitlines()
    assert line.endswith(" 0"), "external spools have no process"
    for name, value in (("unspool-first", b"1"), ("unspool-second", b"2")):
        spool = project.root / name
        (found,) = Side(spool, ("", 0), spool).taken()
        assert found is not None and (b"a", value) in found
