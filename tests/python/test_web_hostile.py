"""Web clients that are slow, silent or wrong, many at a time: others are served.

What a connection may cost in a web worker is a head (`buffer-size`) and 64 KiB of a body, or 8 MiB
of an answer that is not taken; all that wait have 32 MiB together, and there are 1,024 of them at
most (`network-connections`). What these here cost may be as much, and half of that again for what
lies between.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from crowd import descriptors, memory
from factory import DaemonFactory
from harness import Project
from web import get, packet, port_of, uwsgi_get

APPLICATION = """
    BIG = b"x" * (6 << 20)

    def application(environ, start_response):
        body = BIG if environ["PATH_INFO"] == "/big" else environ["PATH_INFO"].encode()
        environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body]
"""
IDLE, SLOW, HALF, UNREAD, WRONG = 2000, 200, 300, 50, 500
REQUESTS = 200
MEMORY_MAX = 48 << 20
SECONDS_MAX = 30.0
# Some milliseconds, on a machine that does much else.
P99_MAX_S = 1.5


@pytest.fixture(autouse=True)
def many_descriptors() -> Iterator[None]:
    with descriptors(IDLE + SLOW + HALF + UNREAD + 200):
        yield


def head(method: str, path: str, *more: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *more, "", ""]).encode()


WRONG_ONES = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\0" * 1000,
    head("POST", "/", "Content-Length: 5", "Transfer-Encoding: chunked"),
    head("POST", "/", "Content-Length: -1"),
    head("GET", "/", *(f"X-{number}: y" for number in range(300))),
    head("GET", "/" + "a" * 70_000),
    head("POST", "/", "Transfer-Encoding: chunked") + b"fffffffffffffffffff\r\n",
]


def test_all_of_them_at_once_cost_little_and_others_are_served(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("app.py", APPLICATION)
    running = daemon(
        *("--spooler", project.spool, "--module", "app", "--http-socket", "127.0.0.1:0"),
        *("--processes", "2", "--disable-logging", "--listen", "1024"),
    )
    port = port_of(running)
    for _ in range(20):
        assert get(port, "/warm").status == 200
    workers = web_workers(running.pid)
    assert len(workers) == 2
    before = {pid: memory(pid, "VmRSS") for pid in workers}
    with contextlib.ExitStack() as stack:

        def opened(first: bytes = b"") -> socket.socket:
            connection = stack.enter_context(
                socket.create_connection(("127.0.0.1", port), SECONDS_MAX)
            )
            # One that had to go is closed.
            with contextlib.suppress(ConnectionError):
                connection.sendall(first)
            return connection

        for _ in range(IDLE):
            opened()
        slow = [opened(b"GET /slow HTTP/1.1\r\nX: ") for _ in range(SLOW)]
        for _ in range(HALF):
            opened(head("POST", "/half", "Content-Length: 100000") + b"x" * 50_000)
        for _ in range(UNREAD):
            opened(head("GET", "/big"))
        took = []
        for number in range(REQUESTS):
            with contextlib.suppress(ConnectionError):
                slow[number % SLOW].sendall(b"y")
            began = time.monotonic()
            assert get(port, f"/{number}").body == b"/%d" % number
            took.append(time.monotonic() - began)
        for number in range(WRONG):
            with contextlib.suppress(ConnectionError):
                wrong = opened(WRONG_ONES[number % len(WRONG_ONES)])
                answer = wrong.recv(100)
                assert re.match(rb"HTTP/1\.[01] (4\d\d|50[15]) |$", answer), answer
        assert get(port, "/last").body == b"/last"
    assert web_workers(running.pid) == workers, "nobody died of it"
    for pid in workers:
        grown = memory(pid, "VmHWM") - before[pid]
        assert grown < MEMORY_MAX, f"web worker {pid}: {grown >> 20} MiB more"
    took.sort()
    assert took[REQUESTS * 99 // 100] < P99_MAX_S, took[-5:]


def web_workers(daemon: int) -> list[int]:
    """Its processes of that name."""
    found = []
    for children in Path(f"/proc/{daemon}/task").glob("*/children"):
        for pid in children.read_text().split():
            if b"web worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
    return sorted(found)


def test_a_request_cut_at_every_byte_is_no_request(project: Project, daemon: DaemonFactory) -> None:
    project.write(
        "app.py",
        """
        from reporting import report

        def application(environ, start_response):
            report("asked", path=environ["PATH_INFO"])
            start_response("200 OK", [])
            return [environ["wsgi.input"].read()]
        """,
    )
    path = project.root / "app.sock"
    running = daemon(
        *("--spooler", project.spool, "--module", "app", "--http-socket", "127.0.0.1:0"),
        *("--socket", path),
    )
    port = port_of(running)
    whole = head("POST", "/cut", "Content-Length: 4") + b"body"
    for end in range(len(whole)):
        with socket.create_connection(("127.0.0.1", port), SECONDS_MAX) as client:
            client.sendall(whole[:end])
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b"", f"cut at {end}"
    request = packet(0, {"REQUEST_METHOD": "POST", "PATH_INFO": "/cut", "CONTENT_LENGTH": "4"})
    for end in range(len(request + b"body")):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(SECONDS_MAX)
            client.connect(str(path))
            client.sendall((request + b"body")[:end])
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b"", f"cut at {end}"
    assert get(port, "/whole").status == 200
    assert uwsgi_get(path, "/packet").status == 200
    assert [project.events.wait("asked")["path"] for _ in range(2)] == ["/whole", "/packet"]
