"""Bodies that are read, large ones, and connections that are kept or end too early.

Beside the real uWSGI, with the same applications, behind `wsgiref.validate` where that can be.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable
from http.client import HTTPConnection

import pytest
from both import System
from web_sides import (
    SYSTEMS,
    Answer,
    Received,
    Side,
    Sides,
    http,
    read_all,
    read_answer,
    read_until,
)

DATA = b"first line\nsecond\n\nfourth, without an end"
MIB = 1 << 20
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# What is read of DATA, where that is the same in uWSGI.
READS: dict[str, object] = {
    "read_by_number": ["first l", "ine\nsec", "ond\n\nfo", "urth, w", "ithout ", "an end"],
    "read_more_than_there_is": [DATA.decode(), ""],
    "read_in_large_parts": [len(DATA), hashlib.sha256(DATA).hexdigest()],
    "read_lines": ["first line\n", "second\n", "\n", "fourth, without an end", "", "", "", ""],
    "read_all_lines": ["first line\n", "second\n", "\n", "fourth, without an end"],
    "read_by_iteration": ["first line\n", "second\n", "\n", "fourth, without an end"],
    "read_in_turns": ["fir", "st line\n", "seco", "nd\n", "\nfourth, without an end"],
    "read_whole": [DATA.decode(), ""],
    "read_less_than_nothing": DATA.decode(),
}
# What uWSGI reads and what unspool reads, as files do it: uWSGI takes 0 for everything, and knows
# no bounds of lines.
READS_THAT_DIFFER: dict[str, tuple[object, object]] = {
    "read_nothing": ([DATA.decode(), ""], ["", "fir"]),
    "read_lines_to_a_hint": (
        [["first line\n", "second\n", "\n", "fourth, without an end"], ""],
        [["first line\n", "second\n"], "\nfourth, without an end"],
    ),
    "read_parts_of_lines": (
        ["first line\n", "second\n", "\n", "fourth, without an end", *[""] * 8],
        [
            "firs",
            "t li",
            "ne\n",
            "seco",
            "nd\n",
            "\n",
            "four",
            "th, ",
            "with",
            "out ",
            "an e",
            "nd",
        ],
    ),
}
# The validator has no room for these.
UNCHECKED = {"read_whole", "read_less_than_nothing", "read_parts_of_lines"}


def chunked(data: bytes, size: int) -> bytes:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def paths(name: str) -> list[str]:
    return [f"/{name}"] if name in UNCHECKED else [f"/{name}", f"/checked/{name}"]


@pytest.mark.parametrize("name", READS)
def test_a_body_is_read_as_from_uwsgi(sides: Sides, name: str) -> None:
    for path in paths(name):
        for side in sides.both:
            told = [got.told for got in side.both_ways(path, "POST", DATA)]
            assert told == [READS[name]] * 2, (path, side.system)
            # What follows the body is none of it.
            request = http(path, method="POST", body=DATA) + b"GET / HTTP/1.1\r\n"
            assert side.http(request).told == READS[name]


@pytest.mark.parametrize("name", READS_THAT_DIFFER)
def test_a_body_is_read_as_files_are(sides: Sides, name: str) -> None:
    for path in paths(name):
        for side, expected in zip(sides.both, READS_THAT_DIFFER[name], strict=True):
            told = [got.told for got in side.both_ways(path, "POST", DATA)]
            assert told == [expected] * 2, (path, side.system)


@pytest.mark.parametrize("name", [*READS, *READS_THAT_DIFFER])
def test_without_a_body_nothing_is_read(sides: Sides, name: str) -> None:
    for path in paths(name):
        theirs, ours = ([got.told for got in side.both_ways(path)] for side in sides.both)
        assert ours == theirs, path


@pytest.mark.parametrize("name", [*READS, *READS_THAT_DIFFER])
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_chunks_are_read_as_other_bodies(sides: Sides, name: str, size: int) -> None:
    # In uWSGI they are for `uwsgi.chunked_read` alone.
    ours = sides.ours
    for path in paths(name):
        head = http(path, "Transfer-Encoding: chunked", method="POST")
        expected = ours.http(http(path, method="POST", body=DATA)).told
        assert ours.http(head + chunked(DATA, size)).told == expected


@pytest.mark.parametrize("mib", [1, 70])
def test_large_bodies_come_whole(sides: Sides, mib: int) -> None:
    body = hashlib.sha256(b"seed").digest() * (mib * MIB // 32)
    expected = [len(body), hashlib.sha256(body).hexdigest()]
    for side in sides.both:
        for got in side.both_ways("/checked/read_in_large_parts", "POST", body):
            assert got.told == expected, side.system
    ours = sides.ours
    head = http("/read_in_large_parts", "Transfer-Encoding: chunked", method="POST")
    assert ours.http(head + chunked(body, 50_000)).told == expected


def test_large_answers_come_whole(sides: Sides) -> None:
    for name, mib in (("one_mib", 1), ("checked/seventy_mib", 70)):
        for side in sides.both:
            for got in side.both_ways(f"/{name}"):
                answer = got.answer
                assert answer is not None and got.is_whole, (name, side.system)
                assert len(answer.body) == mib * MIB
                assert answer.body.count(b"x") == mib * MIB


def test_a_body_that_is_not_read_harms_nobody(sides: Sides) -> None:
    for size in (10, 100_000, 1_000_000):
        body = b"x" * size
        for side in sides.both:
            by_http, by_packet = side.both_ways("/checked/not_read", "POST", body)
            assert (
                by_http.answer
                == by_packet.answer
                == Answer("200 OK", (("Content-Type", "text/plain"),), b"not read")
            ), (size, side.system)


def test_a_client_that_waits_is_told_to_go_on(sides: Sides) -> None:
    # uWSGI does not tell: such clients send after a second all the same.
    ours = sides.ours
    head = http("/checked/read_lines", "Expect: 100-continue", f"Content-Length: {len(DATA)}")
    with ours.connect() as connected:
        connected.sendall(head.replace(b"GET", b"POST"))
        assert connected.recv(len(CONTINUE), socket.MSG_WAITALL) == CONTINUE
        connected.sendall(DATA)
        assert Received(read_all(connected)).told == READS["read_lines"]
    with ours.connect() as connected:
        # Who does not wait need not be told.
        connected.sendall(head.replace(b"GET", b"POST") + DATA)
        assert Received(read_all(connected)).told == READS["read_lines"]


# Clients that go


@pytest.fixture
def closed(sides: Sides) -> Callable[[str], object]:
    """Waits until an application was told that its answer is over."""

    def wait(name: str) -> object:
        return sides.project.events.wait(
            lambda event: event.name == "closed" and event["what"] == name
        )

    return wait


def gone(side: Side, wait: Callable[[str], object], name: str) -> None:
    """The application heard that its answer is over, and others are served."""
    wait(name)
    assert side.http(http("/as_list")).answer == Answer(
        "200 OK", (("Content-Type", "text/plain"),), b"hello"
    )


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("checked", ["", "/checked"])
def test_close_is_called_where_the_client_goes_in_the_middle_of_its_answer(
    sides: Sides, closed: Callable[[str], object], system: System, checked: str
) -> None:
    side = sides.of(system)
    for _ in range(3):
        with side.connect() as connected:
            connected.sendall(http(f"{checked}/endless"))
            read_until(connected, b"xxx")
        gone(side, closed, "endless")


@pytest.mark.parametrize("system", SYSTEMS)
def test_others_are_served_while_an_answer_waits(
    sides: Sides, closed: Callable[[str], object], system: System
) -> None:
    side, project = sides.of(system), sides.project
    gate = project.gate("held")
    with side.connect() as connected:
        connected.sendall(http("/checked/held"))
        # What is there comes before the rest is made.
        read_until(connected, b"first")
        project.events.wait("held")
        for _ in range(5):
            assert side.http(http("/as_list")).answer is not None
    # The client has gone meanwhile.
    gate.release()
    gone(side, closed, "held")
    with side.connect() as connected:
        connected.sendall(http("/held"))
        read_until(connected, b"first")
        gate.release()
        assert b" second" in read_all(connected)
    gone(side, closed, "held")
    project.events.wait("held")


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", ["read_in_large_parts", "read_lines", "read_whole"])
def test_a_client_that_goes_in_the_middle_of_its_body_is_an_error_of_the_read(
    sides: Sides, system: System, name: str
) -> None:
    side, project = sides.of(system), sides.project
    with side.connect() as connected:
        head = http(f"/{name}", "Content-Length: 300000", method="POST")
        connected.sendall(head + b"x" * 150_000)
    told = project.events.wait("unread")
    assert (told["what"], told["kinds"]) == (name, ["OSError"])
    assert side.http(http("/as_list")).answer is not None


def test_a_short_body_that_is_cut_reaches_no_application(sides: Sides) -> None:
    # uWSGI calls the application all the same: unspool has read up to 64 KiB before.
    ours = sides.ours
    mark = ours.daemon.mark()
    with ours.connect() as connected:
        connected.sendall(
            http("/read_lines/cut", "Content-Length: 300", method="POST") + b"x" * 150
        )
    ours.daemon.wait_log("the connection ended within a request", since=mark)
    assert ours.http(http("/as_list")).answer is not None
    assert "/read_lines/cut" not in "\n".join(ours.daemon.log)


# Connections that are kept


def test_a_connection_serves_one_request_after_the_other(sides: Sides) -> None:
    for side in sides.both:
        connection = HTTPConnection("127.0.0.1", side.port_keeping, timeout=20)
        connection.connect()
        opened = connection.sock
        for number in range(5):
            connection.request("POST", "/checked/read_in_large_parts", DATA * (1 + number))
            assert connection.getresponse().read().startswith(b"[%d," % (len(DATA) * (1 + number)))
            connection.request("GET", "/with_length", headers={"Connection": "keep-alive"})
            assert connection.getresponse().read() == b"one two"
            assert connection.sock is opened, side.system
        connection.close()


# What unspool answers on one connection, in turn: (head, body) of each.
PIPELINED = [
    ("GET /as_list", b"", b"hello"),
    ("GET /as_generator", b"", b"one two"),
    ("POST /read_lines", DATA, b'["first line\\n"'),
    ("HEAD /with_length", b"", b""),
    ("GET /no_content", b"", b""),
    ("POST /not_read", b"y" * 1000, b"not read"),
    ("GET /raises", b"", b"Internal Server Error"),
    ("GET /length_too_small", b"", b"hel"),
    ("GET /file", b"", bytes(range(256))),
    ("GET /written", b"", b"one two"),
]


def test_requests_may_be_sent_before_the_answers(sides: Sides) -> None:
    # uWSGI's `http11-socket` answers the first and closes.
    ours = sides.ours
    sent = b"".join(
        f"{line} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        for line, body, _ in PIPELINED
    )
    sent += http("/as_list")
    for size in (len(sent), 64, 7):
        with ours.connect() as connected:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(sent), size):
                connected.sendall(sent[at : at + size])
            stream = connected.makefile("rb")
            for line, _, start in PIPELINED:
                got = read_answer(stream, is_head=line.startswith("HEAD"))
                assert got.answer is not None and got.answer.body.startswith(start), line
            assert stream.read().endswith(b"hello")


def test_an_answer_that_is_not_whole_ends_the_connection(sides: Sides) -> None:
    ours = sides.ours
    for name in ("length_too_great", "raises_in_the_middle", "raises_with_a_length"):
        request = http(f"/{name}").replace(b"Connection: close\r\n", b"")
        with ours.connect() as connected:
            connected.sendall(request + request)
            got = Received(read_all(connected))
            assert got.raw.count(b"HTTP/1.1 ") == 1 and not got.is_whole, name


def test_http_1_0_keeps_a_connection_that_is_asked_for(sides: Sides) -> None:
    # uWSGI closes.
    ours = sides.ours
    request = b"GET /%s HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    with ours.connect() as connected:
        connected.sendall(request % b"with_length" + request % b"as_generator")
        got = read_all(connected)
    first, second = got.split(b"HTTP/1.0 200 OK\r\n")[1:]
    assert b"Connection: keep-alive\r\n" in first and first.endswith(b"one two")
    # Without a length its end is that of the connection.
    assert b"Connection: close\r\n" in second and second.endswith(b"\r\n\r\none two")


def test_the_end_of_an_answer_does_not_wait_for_close(
    sides: Sides, closed: Callable[[str], object]
) -> None:
    ours, project = sides.ours, sides.project
    gate = project.gate("closes_slowly")
    for path in ("/closes_slowly", "/checked/closes_slowly"):
        request = http(path).replace(b"Connection: close\r\n", b"")
        with ours.connect() as connected:
            began = time.monotonic()
            connected.sendall(request)
            read_until(connected, b"all of it\r\n0\r\n\r\n")
            assert time.monotonic() - began < 10
            gate.release()
            closed("closes_slowly")
            # The connection goes on.
            connected.sendall(http("/as_list"))
            assert read_all(connected).endswith(b"hello")
