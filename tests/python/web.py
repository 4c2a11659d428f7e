"""Requests to the web workers of a daemon, over HTTP and the uwsgi protocol, and what they need."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import struct
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import Daemon, Project

# Only bounds a failure.
ANSWER_SECONDS_MAX = 20.0

# Tells who answers. `/hold` waits at a gate, `/spool` submits a task, `/grow` takes 100 MiB, `/die`
# kills its worker.
APPLICATION = """
    import json
    import os
    import signal

    import uwsgi
    from reporting import pause, report
    from uwsgidecorators import spool

    VERSION = 1
    grown = []

    @spool
    def note(args):
        report("note", what=args["what"], version=VERSION)

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/hold":
            report("hold", version=VERSION)
            pause("hold")
        elif path == "/spool":
            note.spool(what=environ["QUERY_STRING"])
        elif path == "/grow":
            grown.append(bytearray(b"x" * (100 << 20)))
        elif path == "/die":
            os.kill(os.getpid(), signal.SIGKILL)
        told = {"pid": os.getpid(), "worker": uwsgi.worker_id(), "version": VERSION, "path": path}
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(told).encode()]
"""


def version(number: int) -> str:
    """The same application, of another version."""
    return APPLICATION.replace("VERSION = 1", f"VERSION = {number}")


@dataclass
class Answer:
    """What a web worker answered."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def told(self) -> Any:
        """The object that the application of these tests answers with."""
        return json.loads(self.body)


def port_of(daemon: Daemon) -> int:
    """The port of the first socket of HTTP, which the system has chosen."""
    return int(daemon.wait_log(r"answering requests of HTTP .*:([0-9]+)")[1])


def get(port: int, path: str = "/") -> Answer:
    """One request of HTTP on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS_MAX)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(), dict(answer.getheaders()))
    finally:
        connection.close()


def packet(modifier1: int, pairs: dict[str, str]) -> bytes:
    """A packet of the uwsgi protocol."""
    block = b"".join(
        struct.pack("<H", len(text)) + text
        for pair in pairs.items()
        for text in (part.encode() for part in pair)
    )
    return struct.pack("<BHB", modifier1, len(block), 0) + block


def exchange(path: Path, sent: bytes) -> bytes:
    """What is answered on a Unix socket until its end."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(ANSWER_SECONDS_MAX)
        client.connect(str(path))
        client.sendall(sent)
        received = b""
        while part := client.recv(65536):
            received += part
        return received


def uwsgi_get(path: Path, target: str = "/") -> Answer:
    """One request of the uwsgi protocol, as nginx makes it."""
    where, _, query = target.partition("?")
    variables = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": target,
        "PATH_INFO": where,
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "test",
        "SERVER_PORT": "80",
    }
    head, _, body = exchange(path, packet(0, variables)).partition(b"\r\n\r\n")
    found = re.match(rb"HTTP/1\.[01] ([0-9]+)", head)
    assert found is not None, head
    return Answer(int(found[1]), body)


class Held:
    """A request that waits at the gate `hold`, in a thread of its own."""

    def __init__(self, project: Project, port: int) -> None:
        self._port = port
        self._answer: Answer | None = None
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        project.events.wait("hold")

    def _ask(self) -> None:
        with contextlib.suppress(ConnectionError):
            self._answer = get(self._port, "/hold")

    @property
    def waits(self) -> bool:
        """Whether there is no answer yet."""
        return self._thread.is_alive()

    def end(self) -> Answer | None:
        """The answer; None if the connection was cut."""
        self._thread.join(ANSWER_SECONDS_MAX)
        assert not self.waits
        return self._answer


class Load:
    """Requests one after the other, in some threads, until it is ended. Each has to be answered."""

    def __init__(self, port: int, threads: int = 4) -> None:
        self._port = port
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.answered = 0
        self.versions: set[int] = set()
        self.pids: set[int] = set()
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                answer = get(self._port)
                failure = None if answer.status == 200 else f"status {answer.status}"
            except (OSError, http.client.HTTPException) as error:
                failure = repr(error)
            with self._lock:
                if failure is not None:
                    self.failures.append(failure)
                    continue
                self.answered += 1
                self.versions.add(answer.told["version"])
                self.pids.add(answer.told["pid"])

    def end(self) -> Load:
        """Ends it."""
        self._over.set()
        for thread in self._threads:
            thread.join(ANSWER_SECONDS_MAX)
        return self
