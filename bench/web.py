"""What is measured of the application server: an application that says hello, by two processes.

Over HTTP, each request on a connection of its own, since the real uWSGI's `http-socket` closes it
after an answer; and over the uwsgi protocol on a Unix socket behind one nginx, whose clients keep
their connections. wrk asks: without pauses, when the faster server has the busier wrk, and with
them, when both servers have the same to do.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench import procfs
from bench.bare import Bare
from bench.processes import Child, ChildError, free_port, running
from bench.rows import Bench, Check, Record, Row
from bench.side import APPS, START_SECONDS_MAX, Session, Side
from bench.unspool_side import UnspoolSide
from bench.uwsgi_side import UwsgiSide

PROCESSES = 2
CLIENTS = 16
MIB = 1 << 20
MICROSECONDS = {"us": 1.0, "ms": 1e3, "s": 1e6}


def _command(side: Side, session: Session, port: int, path: Path) -> tuple[list[str], str]:
    """What starts a server, and what it says when it is there."""
    common = [
        f"--http-socket=127.0.0.1:{port}",
        f"--socket={path}",
        "--chmod-socket=666",
        "--module=bench_web",
        f"--processes={PROCESSES}",
        "--listen=1024",
    ]
    if isinstance(side, UnspoolSide):
        command = [str(side.binary), "run", f"--spooler={session.spool}", f"--pythonpath={APPS}"]
        return [*command, "--disable-logging", *common], "ready"
    assert isinstance(side, UwsgiSide)
    return side.command(*common), f"spawned uWSGI worker {PROCESSES}"


@contextlib.contextmanager
def _nginx(scratch: Path, port: int, path: Path) -> Iterator[None]:
    command = shutil.which("nginx")
    if command is None:
        raise RuntimeError("no nginx (on Debian and Ubuntu: apt install nginx)")
    config = scratch / "nginx.conf"
    config.write_text(
        # Its worker has to get at the socket.
        f"{'user root;' if os.geteuid() == 0 else ''}\n"
        f"daemon off; worker_processes 1; pid {scratch}/nginx.pid; error_log stderr;\n"
        "events { worker_connections 1024; }\n"
        f"http {{ access_log off; client_body_temp_path {scratch}/body;\n"
        f"proxy_temp_path {scratch}/proxy; fastcgi_temp_path {scratch}/fastcgi;\n"
        f"uwsgi_temp_path {scratch}/uwsgi; scgi_temp_path {scratch}/scgi;\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ include /etc/nginx/uwsgi_params;\n"
        f"uwsgi_pass unix:{path}; }} }} }}\n"
    )
    arguments = [command, "-p", str(scratch), "-c", str(config)]
    with running(arguments, {}, scratch / "nginx.log") as child:
        _wait_port(child, port)
        yield


def _wait_port(child: Child, port: int) -> None:
    for _ in range(2000):
        if child.has_ended():
            raise child.failure("ended")
        with (
            contextlib.suppress(ConnectionRefusedError),
            socket.create_connection(("127.0.0.1", port), 0.005),
        ):
            return
    raise child.failure("does not listen")


def _ask(port: int, seconds: float, *headers: str, pauses: bool = False) -> tuple[float, float]:
    """Requests a second, and the microseconds that 99 of 100 took at most."""
    command = shutil.which("wrk")
    if command is None:
        raise RuntimeError("no wrk (on Debian and Ubuntu: apt install wrk)")
    more = [part for header in headers for part in ("-H", header)]
    if pauses:
        more += ["-s", str(APPS / "pause.lua")]
    arguments = [
        *(command, "-t1", f"-c{CLIENTS}", f"-d{seconds:.0f}s", "--latency", *more),
        f"http://127.0.0.1:{port}/",
    ]
    said = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in said:
        raise ChildError(f"wrk: {said}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    late = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    if rate is None or late is None:
        raise ChildError(f"wrk: {said}")
    return float(rate[1]), float(late[1]) * MICROSECONDS[late[2]]


def web(bench: Bench, side: Side | Bare, record: Record) -> None:
    """Both ways to one server, then the memory of what it consists of."""
    assert not isinstance(side, Bare)
    seconds = bench.sizes.web_seconds
    with bench.spool() as spool, bench.session(spool, 1) as session:
        port, in_front, path = free_port(), free_port(), session.scratch / "app.sock"
        command, ready = _command(side, session, port, path)
        with running(command, session.environment, session.log) as child:
            child.wait_for_log(ready, START_SECONDS_MAX)
            for name, where, headers in (
                ("web_http", port, ("Connection: close",)),
                ("web_keep", port, ()),
            ):
                if name == "web_keep" and not isinstance(side, UnspoolSide):
                    continue
                rate, late = _ask(where, seconds, *headers)
                record(name, rate)
                record(f"{name}_p99", late)
            record("web_http_paused_p99", _ask(port, seconds, "Connection: close", pauses=True)[1])
            with _nginx(session.scratch, in_front, path):
                rate, late = _ask(in_front, seconds)
                record("web_nginx_paused_p99", _ask(in_front, seconds, pauses=True)[1])
            record("web_nginx", rate)
            record("web_nginx_p99", late)
            workers = [each.pid for each in procfs.tree(child.pid) if _is_worker(each.pid)]
            if workers:
                record("web_memory", max(map(procfs.proportional_bytes, workers)) / MIB)


def _is_worker(pid: int) -> bool:
    """A process that answers requests: of unspool's by its title, of uWSGI's by being no master."""
    with contextlib.suppress(OSError):
        if b"web worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return True
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        return Path(f"/proc/{parent}/cmdline").read_bytes().partition(b"\0")[0].endswith(b"/uwsgi")
    return False


def rows(seconds: float) -> dict[str, Row]:
    """The rows, empty."""
    least, most = Check("unspool", "uWSGI", ">=", 1.0), Check("unspool", "uWSGI", "<=", 1.0)
    how = f"hello by {PROCESSES} processes, {CLIENTS} clients, {seconds:.0f} s"
    return {
        "web_http": Row(f"{how}: HTTP, a connection each", "/s", [least]),
        "web_http_p99": Row("  p99", "us", [most]),
        "web_http_paused_p99": Row("  p99 of clients that pause for 0 to 4 ms", "us", [most]),
        "web_nginx": Row("  behind nginx, uwsgi protocol", "/s", [least]),
        "web_nginx_p99": Row("  p99", "us", [most]),
        "web_nginx_paused_p99": Row("  p99 of clients that pause for 0 to 4 ms", "us", [most]),
        "web_keep": Row("  HTTP, connections are kept", "/s", []),
        "web_keep_p99": Row("  p99", "us", []),
        "web_memory": Row("  memory of a worker, shared pages divided", "MiB", []),
    }
