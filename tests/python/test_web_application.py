"""What applications do that is not usual, and what their clients get then."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import threading
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import Project
from processes import wait_ended
from web import get, port_of

APPLICATION = """
    import gzip
    import os
    import sys
    import threading
    import time

    import uwsgi

    barrier = threading.Barrier(2)
    ctime = time.ctime

    def slow_ctime(*arguments):
        time.sleep(0.05)
        return ctime(*arguments)

    def resident():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    class Closing:
        def __init__(self, write):
            self.write = write

        def __iter__(self):
            yield b"body"

        def close(self):
            self.write(b"behind the end")

    def forked(start_response):
        if os.fork() == 0:
            start_response("200 OK", [])
            return [b"child"]
        pid, status = os.wait()
        start_response("200 OK", [])
        return [b"parent of %d" % os.waitstatus_to_exitcode(status)]

    def generated(start_response):
        start_response("200 OK", [])
        child = os.fork()
        yield b"child" if child == 0 else b"parent of %d" % os.waitstatus_to_exitcode(os.wait()[1])

    def endless():
        while True:
            yield b"x" * 1000

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/fork":
            return forked(start_response)
        if path == "/fork_exit":
            if os.fork() == 0:
                sys.exit(3)
            status = os.waitstatus_to_exitcode(os.wait()[1])
            start_response("200 OK", [])
            return [b"parent of %d" % status]
        if path == "/fork_generator":
            return generated(start_response)
        if path == "/lines":
            before = resident()
            count = sum(len(line) for line in environ["wsgi.input"])
            start_response("200 OK", [])
            return [b"%d %d" % (count, resident() - before)]
        if path == "/endless":
            start_response("200 OK", [("Content-Length", "1500")])
            return endless()
        if path == "/together":
            time.ctime = slow_ctime
            barrier.wait()
        write = start_response("200 OK", [])
        if path == "/started":
            write(b"start ")
            return environ["wsgi.file_wrapper"](open("plain", "rb"))
        if path == "/disconnect":
            write(b"all of it")
            uwsgi.disconnect()
            return endless()
        if path == "/plain":
            return environ["wsgi.file_wrapper"](open("plain", "rb"))
        if path == "/packed":
            return environ["wsgi.file_wrapper"](gzip.open("packed", "rb"))
        if path == "/closing":
            return Closing(write)
        return [b"answer"]
"""

PIDS = """
    import os

    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"%d" % os.getpid()]
"""

# The size of files is what a process may not have; a full disk is the same to it.
SMALL_FILES = """
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))

    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"%d" % len(environ["wsgi.input"].read())]
"""


@pytest.fixture
def port(project: Project, daemon: DaemonFactory) -> int:
    """The port of a worker with two threads."""
    return serve(project, daemon, "--processes", "1", "--threads", "2")


def serve(project: Project, daemon: DaemonFactory, *options: str | Path) -> int:
    project.write("app.py", APPLICATION)
    http = ("--module", "app", "--http-socket", "127.0.0.1:0")
    return port_of(daemon("--spooler", project.spool, *http, *options))


def received(port: int, sent: bytes) -> bytes:
    """All that comes until the end, which the last request asks for."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(sent)
        return b"".join(iter(lambda: client.recv(65536), b""))


def request(path: str, *headers: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: test", *headers, "", "")).encode()


def test_files_of_a_static_map_are_answers_and_nothing_beside_them(
    project: Project, daemon: DaemonFactory
) -> None:
    (project.root / "static").mkdir()
    (project.root / "static" / "a.txt").write_text("a file")
    (project.root / "secret").write_text("a secret")
    (project.root / "static" / "link").symlink_to("../secret")
    port = serve(project, daemon, "--static-map", f"/static={project.root / 'static'}")
    assert get(port, "/static/a.txt").body == b"a file"
    assert get(port, "/static/none").body == b"answer"
    assert get(port, "/statics/a.txt").body == b"answer"
    for path in ("/static/%2e%2e/secret", "/static/..%2fsecret", "/static/link"):
        assert get(port, path).status == 403, path


def test_lines_of_a_log_keep_no_thread_from_another(port: int) -> None:
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: answers.append(get(port, "/together").body))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers == [b"answer", b"answer"]
    assert get(port).body == b"answer"


def test_a_long_body_read_by_lines_is_not_kept(port: int) -> None:
    line = b"x" * 99 + b"\n"
    bytes_sent = 64 << 20
    lines = line * (bytes_sent // len(line))
    head = request("/lines", f"Content-Length: {len(lines)}", "Connection: close")
    count, grown_kb = received(port, head + lines).partition(b"\r\n\r\n")[2].split()
    assert int(count) == len(lines)
    assert int(grown_kb) < 16 << 10


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/fork", b"parent of 0"),
        ("/fork_exit", b"parent of 3"),
        ("/fork_generator", b"parent of 1"),
    ],
)
def test_a_child_of_a_request_answers_nothing(port: int, path: str, body: bytes) -> None:
    answers = received(port, request(path) + request("/", "Connection: close"))
    assert answers.count(b"HTTP/1.1 ") == 2, answers
    assert body in answers
    assert answers.endswith(b"\r\n\r\nanswer")
    for _ in range(20):
        assert get(port).body == b"answer"


def test_a_file_behind_a_piece_goes_in_pieces_too(project: Project, port: int) -> None:
    project.write("plain", "of a file")
    assert get(port, "/started").body == b"start of a file"


def test_a_packed_file_is_sent_unpacked(project: Project, port: int) -> None:
    (project.root / "packed").write_bytes(gzip.compress(b"what is packed"))
    assert get(port, "/packed").body == b"what is packed"


def test_nothing_is_sent_behind_the_end(port: int) -> None:
    answers = received(port, request("/closing") + request("/", "Connection: close"))
    assert b"behind the end" not in answers
    assert answers.count(b"HTTP/1.1 200 OK") == 2


def test_a_body_without_an_end_ends_with_its_length(port: int) -> None:
    for _ in range(3):
        assert get(port, "/endless").body == b"x" * 1500


def test_a_signal_that_raises_between_requests_costs_none(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("app.py", PIDS)
    options = ("--module", "app", "--http-socket", "127.0.0.1:0", "--threads", "2")
    running = daemon("--spooler", project.spool, *options)
    port = port_of(running)
    before = int(get(port).body)
    os.kill(before, signal.SIGINT)
    running.wait_log("KeyboardInterrupt")
    while int(get(port).body) == before:
        pass
    wait_ended(before)
    running.wait_log("web worker 1 left")
    assert "max-requests" not in "\n".join(running.log)


def test_a_body_that_cannot_be_kept_is_refused_and_said(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("app.py", SMALL_FILES)
    options = ("--module", "app", "--http-socket", "127.0.0.1:0", "--post-buffering", "4096")
    running = daemon("--spooler", project.spool, *options)
    port = port_of(running)
    body = bytes(2 << 20)
    answer = received(port, request("/", f"Content-Length: {len(body)}", "X-Long: 1") + body)
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable"), answer
    running.wait_log("cannot keep a body: File too large")
    short = request("/", "Content-Length: 9000", "Connection: close") + body[:9000]
    assert received(port, short).endswith(b"9000")


def test_an_answer_is_read_to_its_end_whatever_was_sent_behind_its_request(
    project: Project, port: int
) -> None:
    (project.root / "plain").write_bytes(b"x" * (256 << 10))
    last = request("/plain", "Connection: close")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        client.connect(("127.0.0.1", port))
        client.sendall(last + request("/") * 4000)
        answer = client.recv(100)
        # By now the worker has done with the request what it does.
        assert get(port).body == b"answer"
        answer += b"".join(iter(lambda: client.recv(4096), b""))
    assert len(answer.partition(b"\r\n\r\n")[2]) == 256 << 10


def test_what_is_returned_behind_an_end_of_its_own_is_no_error(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("app.py", APPLICATION)
    options = ("--module", "app", "--http-socket", "127.0.0.1:0")
    running = daemon("--spooler", project.spool, *options)
    port = port_of(running)
    assert get(port, "/disconnect").body == b"all of it"
    assert get(port).body == b"answer"
    running.wait_log("GET / =>")
    assert "RuntimeError" not in "\n".join(running.log)
