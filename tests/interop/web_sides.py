"""One application behind the real uWSGI and behind unspool, and what each answers to a request."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from both import APPS, System
from harness import REAL_UWSGI, SUPPORT, Daemon, HarnessError, Project, free_port
from web import packet

SECONDS_MAX = 20.0
SYSTEMS: list[System] = ["uwsgi", "unspool"]
# By these a server says where a body ends, as it pleases.
FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})


@dataclass(frozen=True)
class Answer:
    """An answer without what every server says for itself about its end."""

    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __repr__(self) -> str:
        body = self.body if len(self.body) < 400 else self.body[:400] + b"..."
        return f"{self.status} {dict(self.headers)} {body!r} ({len(self.body)})"


@dataclass(frozen=True)
class Received:
    """The bytes of an answer, up to the end of the connection."""

    raw: bytes
    is_head: bool = False

    @property
    def _head(self) -> list[bytes]:
        return self.raw.partition(b"\r\n\r\n")[0].split(b"\r\n")

    @property
    def headers(self) -> list[tuple[str, str]]:
        """All of them."""
        lines = (line.decode("latin-1").partition(": ") for line in self._head[1:])
        return [(name, value) for name, _, value in lines]

    def header(self, name: str) -> str | None:
        """The value of one."""
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        return found[0] if found else None

    @property
    def answer(self) -> Answer | None:
        """None: nothing, or no answer of HTTP."""
        if not self.raw.startswith(b"HTTP/1."):
            return None
        rest = self.raw.partition(b"\r\n\r\n")[2]
        chunked = (self.header("Transfer-Encoding") or "").lower() == "chunked"
        return Answer(
            self._head[0].decode("latin-1").partition(" ")[2],
            tuple(pair for pair in self.headers if pair[0].lower() not in FRAMING),
            _dechunk(rest)[0] if chunked and not self.is_head else rest,
        )

    @property
    def is_whole(self) -> bool:
        """Whether the body ends as was announced, if that was."""
        if self._head[0].split(b" ")[1] in (b"204", b"304"):
            return self.raw.endswith(b"\r\n\r\n")
        rest = self.raw.partition(b"\r\n\r\n")[2]
        if self.header("Transfer-Encoding"):
            return _dechunk(rest)[1]
        length = self.header("Content-Length")
        return length is None or int(length) == len(rest)

    @property
    def told(self) -> Any:
        """What the applications answer that tell something."""
        answer = self.answer
        assert answer is not None and answer.status == "200 OK", self.raw
        return json.loads(answer.body)


def _dechunk(data: bytes) -> tuple[bytes, bool]:
    """The data of chunks, and whether the last one is there."""
    body, at = bytearray(), 0
    while (end := data.find(b"\r\n", at)) > 0:
        size = int(data[at:end], 16)
        if size == 0:
            return bytes(body), data[at:] == b"0\r\n\r\n"
        body += data[end + 2 : end + 2 + size]
        at = end + 2 + size + 2
    return bytes(body), False


def http(
    path: str, *headers: str, method: str = "GET", body: bytes | None = None, version: str = "1.1"
) -> bytes:
    """A request whose connection closes behind its answer."""
    lines = [f"{method} {path} HTTP/{version}", "Host: here.example", "Connection: close", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def variables(
    path: str, method: str = "GET", body: bytes = b"", **more: str | None
) -> dict[str, str]:
    """What an nginx has in its packet, and the name of the script; without those that are None."""
    where, _, query = path.partition("?")
    told = {
        "REQUEST_METHOD": method,
        "REQUEST_URI": path,
        "PATH_INFO": where,
        "QUERY_STRING": query,
        "SCRIPT_NAME": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "here.example",
        "SERVER_PORT": "80",
        "REMOTE_ADDR": "192.0.2.7",
        "REMOTE_PORT": "40000",
        "CONTENT_TYPE": "",
        "CONTENT_LENGTH": str(len(body)) if body else "",
        "HTTP_HOST": "here.example",
        **more,
    }
    return {name: value for name, value in told.items() if value is not None}


@dataclass
class Side:
    """A server that runs."""

    system: System
    daemon: Daemon
    port: int
    # The same, unless another socket is needed for connections that are kept.
    port_keeping: int
    path: Path
    _open: list[socket.socket] = field(default_factory=list)

    def connect(self, *, keeping: bool = False) -> socket.socket:
        """A connection of HTTP."""
        port = self.port_keeping if keeping else self.port
        connected = socket.create_connection(("127.0.0.1", port), SECONDS_MAX)
        self._open.append(connected)
        return connected

    def http(self, request: bytes) -> Received:
        """What is answered to these bytes."""
        with self.connect() as connected:
            return _exchange(connected, request, self.daemon)

    def uwsgi(
        self, path: str, method: str = "GET", body: bytes = b"", **more: str | None
    ) -> Received:
        """The same over the uwsgi protocol."""
        with socket.socket(socket.AF_UNIX) as connected:
            connected.settimeout(SECONDS_MAX)
            connected.connect(str(self.path))
            sent = packet(0, variables(path, method, body, **more)) + body
            return _exchange(connected, sent, self.daemon)

    def both_ways(
        self, path: str, method: str = "GET", body: bytes | None = None
    ) -> list[Received]:
        """One request over either protocol."""
        return [
            self.http(http(path, method=method, body=body)),
            self.uwsgi(path, method, body or b""),
        ]

    def close(self) -> None:
        """Ends the server."""
        for each in self._open:
            each.close()
        try:
            # A uWSGI that has just begun may miss the signal.
            assert self.system == "uwsgi" or self.daemon.stop() == 0
        finally:
            self.daemon.close()


class Sides(NamedTuple):
    """Both, which run until a module of tests is over."""

    project: Project
    theirs: Side
    ours: Side

    @property
    def both(self) -> tuple[Side, Side]:
        """uWSGI, then unspool."""
        return self.theirs, self.ours

    def of(self, system: System) -> Side:
        """One of them."""
        return self.theirs if system == "uwsgi" else self.ours


def _exchange(connected: socket.socket, request: bytes, daemon: Daemon) -> Received:
    is_head = b"HEAD" in request[:64]
    try:
        # Who is answered before all is sent may be cut off: what was answered counts.
        with contextlib.suppress(ConnectionError):
            connected.sendall(request)
        return Received(read_all(connected), is_head)
    except TimeoutError:
        raise HarnessError(
            f"no end of the answer to {request[:100]!r}\n{daemon.describe()}"
        ) from None


def read_all(connected: socket.socket) -> bytes:
    """All that comes until the end."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := connected.recv(1 << 20):
            parts.append(part)
    return b"".join(parts)


def read_answer(stream: IO[bytes], *, is_head: bool = False) -> Received:
    """One answer on a connection that is kept."""
    raw = b""
    while not raw.endswith(b"\r\n\r\n"):
        line = stream.readline()
        assert line, raw
        raw += line
    got = Received(raw, is_head)
    if is_head or b" 204 " in raw[:16]:
        return got
    if (length := got.header("Content-Length")) is not None:
        return Received(raw + stream.read(int(length)))
    assert got.header("Transfer-Encoding") == "chunked", raw
    while not raw.endswith(b"\r\n0\r\n"):
        line = stream.readline()
        raw += line + stream.read(int(line, 16)) + (stream.readline() if int(line, 16) else b"")
    return Received(raw + stream.readline())


def read_until(connected: socket.socket, end: bytes) -> bytes:
    """What comes up to these bytes."""
    got = b""
    while not got.endswith(end):
        part = connected.recv(1)
        assert part, got
        got += part
    return got


def start(project: Project, system: System, *options: str) -> Side:
    """A server of one process with two threads, unless told otherwise."""
    port, keeping = free_port(), free_port()
    path = project.root / f"{system}.sock"
    common = [
        f"--http-socket=127.0.0.1:{port}",
        f"--socket={path}",
        "--module=web_app:application",
        f"--pythonpath={SUPPORT}",
        f"--pythonpath={APPS}",
        *(options or ("--processes=1", "--threads=2")),
    ]
    env = {**project.env, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"}
    if system == "uwsgi":
        virtual = f"--virtualenv={REAL_UWSGI.parent.parent}"
        own = ["--master", "--die-on-term", virtual, f"--http11-socket=127.0.0.1:{keeping}"]
        running = Daemon(*own, *common, cwd=project.root, env=env, command=(REAL_UWSGI,)).start()
        running.wait_log("spawned uWSGI worker 1 ")
    else:
        keeping = port
        spool = f"--spooler={project.spool}"
        running = Daemon(spool, *common, cwd=project.root, env=env).start().wait_ready()
    return Side(system, running, port, keeping, path)


# The line of a request, in parts that hold for both.
LINE = re.compile(
    r"\[pid: (?P<pid>\d+)\|app: (?P<app>-?\d+)\|req: (?P<of_worker>-?\d+)/(?P<of_all>\d+)\] "
    r"(?P<address>\S*) \((?P<user>.*?)\) \{(?P<variables>\d+) vars in (?P<bytes>\d+) bytes\} "
    r"\[(?P<date>\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4})\] (?P<method>\S*) (?P<uri>\S*) => "
    r"generated (?P<generated>\d+) bytes in (?P<time>\d+) msecs "
    r"\((?P<protocol>\S+) (?P<status>\d+)\) (?P<headers>\d+) headers in (?P<head>\d+) bytes "
    r"\((?P<switches>\d+) switches on core (?P<core>\d)\)"
)


def request_lines(log: Sequence[str]) -> list[dict[str, str]]:
    """The lines of requests."""
    return [match.groupdict() for line in log if (match := LINE.fullmatch(line.rstrip()))]
