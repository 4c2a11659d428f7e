"""What is cut, recorded, changed or sent again on its way is not believed, byte by byte."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from factory import DaemonFactory
from harness import PYTHON, Daemon, Project
from signing import make_key, write_keys

SECONDS_MAX = 20.0
STORED = b"\xff\0\0\1"
TO_SERVER, TO_CLIENT = 0, 1
# What becomes of a piece: its way, where in it it begins, its bytes. One that is cut is the last.
Touch = Callable[[int, int, bytes], bytes]


class Between:
    """Somebody between a client and the daemon, who has all that is said."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.touch: Touch = lambda way, at, piece: piece
        # Of the last connection.
        self.said = [b"", b""]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._between, args=(client,), daemon=True).start()

    def _between(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._port), SECONDS_MAX)
        self.said = said = [b"", b""]
        ends = [(client, server), (server, client)]
        self._open += (client, server)
        both = [
            threading.Thread(target=self._pump, args=(way, *pair, said), daemon=True)
            for way, pair in enumerate(ends)
        ]
        for one in both:
            one.start()
        for one in both:
            one.join()

    def hang_up(self) -> None:
        """Ends all connections: the next task goes on one of its own."""
        while self._open:
            with self._open.pop() as end, suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _pump(self, way: int, here: socket.socket, there: socket.socket, said: list[bytes]) -> None:
        with suppress(OSError):
            while piece := here.recv(65536):
                at = len(said[way])
                said[way] += piece
                changed = self.touch(way, at, piece)
                there.sendall(changed)
                if len(changed) < len(piece):
                    break
            else:
                there.shutdown(socket.SHUT_WR)
                return
        for end in (here, there):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.hang_up()
        self._listener.close()


class Listening:
    """A daemon that stores and runs nothing, with a key on TCP and none on a Unix socket."""

    def __init__(self, project: Project, daemon: DaemonFactory) -> None:
        self.project = project
        self.keys = write_keys(project.root / "net", make_key("n"))
        self.path = project.root / "s.sock"
        self.running: Daemon = daemon(
            "--spooler-external", project.spool, "--socket", "127.0.0.1:0", "--socket", self.path,
            "--network-keys", self.keys, "--socket-timeout", "1", "--network-idle-timeout", "1",
            ready=False,
        )  # fmt: skip
        self.running.wait_log("unspool is ready")
        self.port = int(self.running.wait_log("taking tasks from the network .*:([0-9]+)")[1])

    def stored(self) -> int:
        return len(self.project.tasks())

    def incoming(self) -> list[str]:
        folder = self.project.spool / ".unspool" / "incoming"
        return os.listdir(folder) if folder.is_dir() else []

    def ask(self, whole: bytes) -> bytes:
        """What a connection of its own hears that says this and no more."""
        with socket.create_connection(("127.0.0.1", self.port), SECONDS_MAX) as asked:
            return heard(asked, whole)


def heard(asked: socket.socket, whole: bytes) -> bytes:
    answer = b""
    with suppress(ConnectionError):
        asked.sendall(whole)
        asked.shutdown(socket.SHUT_WR)
        while piece := asked.recv(65536):
            answer += piece
    return answer


@pytest.fixture
def listening(project: Project, daemon: DaemonFactory) -> Listening:
    return Listening(project, daemon)


@contextmanager
def between(listening: Listening) -> Iterator[Between]:
    made = Between(listening.port)
    try:
        yield made
    finally:
        made.close()


class Client:
    """A process that submits a task when it is told to, and says how that went."""

    def __init__(self, listening: Listening, through: Between) -> None:
        self._through = through
        source = f"""
        import sys, unspool
        unspool.configure(network_keys={str(listening.keys)!r})
        for line in sys.stdin:
            try:
                unspool.spool({{"ud_spool_func": "f"}}, spooler={through.address!r})
            except Exception as error:
                print(type(error).__name__, error, flush=True)
            else:
                print("stored", flush=True)
        """
        self._process = subprocess.Popen(
            [PYTHON, "-c", textwrap.dedent(source)], cwd=listening.project.root, text=True,
            env=listening.project.producer_env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def submit(self) -> str:
        self._through.hang_up()
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.communicate(timeout=SECONDS_MAX)


@pytest.fixture
def recorded(listening: Listening) -> Iterator[tuple[Between, Client]]:
    """A connection on which a task was stored, all of which somebody has."""
    with between(listening) as eve:
        client = Client(listening, eve)
        try:
            assert client.submit() == "stored" and listening.stored() == 1
            yield eve, client
        finally:
            client.close()


def test_what_was_recorded_is_worth_nothing(
    listening: Listening, recorded: tuple[Between, Client]
) -> None:
    eve, _ = recorded
    told = eve.said[TO_SERVER]
    hello = 4 + int.from_bytes(told[1:3], "little")
    welcome = listening.ask(told[:hello])
    assert welcome[0] == 100 and b"nonce" in welcome
    # The server's nonce is another one, and with it the key of all that follows.
    assert listening.ask(told)[: len(welcome)] != eve.said[TO_CLIENT][: len(welcome)]
    listening.running.wait_log("a frame whose MAC is wrong")
    # Without the proof, too.
    bare = told[:hello].replace(b"\x03\0kid", b"\x03\0kix").replace(b"\x03\0mac", b"\x03\0max")
    assert b"a key is needed here" in listening.ask(bare + told[hello:])
    # And as a plain packet, which can prove nothing.
    block = b"".join(struct.pack("<H", len(part)) + part for part in (b"ud_spool_func", b"f"))
    assert listening.ask(struct.pack("<BHB", 17, len(block), 0) + block) == b"\xff\0\0\0"
    assert (listening.stored(), listening.incoming()) == (1, [])


@pytest.mark.parametrize("way", [TO_SERVER, TO_CLIENT], ids=["to-server", "to-client"])
def test_no_byte_can_be_changed(
    listening: Listening, recorded: tuple[Between, Client], way: int
) -> None:
    eve, client = recorded
    told = eve.said[way]
    # `modifier2`, and what a listener takes at most: not proved, and nothing about a task.
    harmless = {3}
    if way == TO_CLIENT:
        for key in (b"task-bytes", b"window"):
            at = told.index(key) + len(key)
            harmless |= set(range(at, at + 2 + int.from_bytes(told[at : at + 2], "little")))
    for place in range(len(told)):
        before = listening.stored()

        def flip(on: int, at: int, piece: bytes, place: int = place) -> bytes:
            changed = bytearray(piece)
            if on == way and at <= place < at + len(piece):
                changed[place - at] ^= 1
            return bytes(changed)

        eve.touch = flip
        said = client.submit()
        stored = listening.stored() - before
        if place in harmless and said == "stored":
            assert stored == 1, place
        else:
            assert said.partition(" ")[0] in ("SpoolError", "UnansweredError"), (place, said)
            # An answer that nobody can believe may have been a true one.
            assert stored <= (way == TO_CLIENT), (place, said)
    assert listening.incoming() == []
    eve.touch = lambda on, at, piece: piece
    before = listening.stored()
    assert client.submit() == "stored" and listening.stored() == before + 1


def test_what_is_cut_at_any_byte_is_not_stored(
    listening: Listening, recorded: tuple[Between, Client]
) -> None:
    eve, client = recorded
    for cut in range(len(eve.said[TO_SERVER])):

        def end(on: int, at: int, piece: bytes, cut: int = cut) -> bytes:
            return piece if on != TO_SERVER else piece[: max(0, cut - at)]

        eve.touch = end
        said = client.submit()
        assert said.startswith("SpoolError not sent") or "UnansweredError" in said, (cut, said)
        assert listening.stored() == 1, cut
    assert listening.incoming() == []
    eve.touch = lambda on, at, piece: piece
    assert client.submit() == "stored" and listening.stored() == 2


def test_a_plain_packet_that_is_cut_at_any_byte_is_not_stored(listening: Listening) -> None:
    items = (b"ud_spool_func", b"f", b"number", b"1")
    block = b"".join(struct.pack("<H", len(part)) + part for part in items)
    whole = struct.pack("<BHB", 17, len(block), 0) + block
    for cut in range(len(whole) + 1):
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(SECONDS_MAX)
            asked.connect(str(listening.path))
            answer = heard(asked, whole[:cut])
        is_whole = cut == len(whole)
        assert answer == (STORED if is_whole else b""), cut
        assert listening.stored() == int(is_whole), cut
