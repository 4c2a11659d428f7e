"""Tasks from routers: requests that a real uWSGI or nginx sends on as packets with modifier1 17."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from both import Both
from factory import DaemonFactory
from harness import Project

MODULE = """
    import uwsgi
    from reporting import report

    def handler(env):
        report("ran", env=env)
        return uwsgi.SPOOL_OK

    uwsgi.spooler = handler
"""
SECONDS_MAX = 20.0
# uWSGI's answer to a task that is stored, which no router takes for HTTP.
STORED = b"\xff\0\0\1"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def receivers(project: Project, daemon: DaemonFactory) -> list[str]:
    """The addresses at which unspool listens."""
    project.write("tasks.py", MODULE)
    tcp, unix = f"127.0.0.1:{free_port()}", str(project.root / "s.sock")
    daemon(
        f"--spooler={project.spool}",
        "--import=tasks",
        f"--socket={tcp}",
        f"--socket={unix}",
        "--network-uids=*",
        "--chmod-socket=666",
    )
    return [tcp, unix]


def get(port: int, path: str) -> bytes:
    """Everything that a router says to a request."""
    reply = b""
    with socket.create_connection(("127.0.0.1", port), SECONDS_MAX) as connected:
        connected.sendall(f"GET {path} HTTP/1.0\r\nHost: here\r\nX-Job: mail\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            while got := connected.recv(65536):
                reply += got
    return reply


def check_ran(project: Project, path: str) -> None:
    """The request's variables are the task."""
    env = project.events.wait(lambda event: event["env"].get(b"PATH_INFO") == path.encode())["env"]
    assert env[b"REQUEST_METHOD"] == b"GET" and env[b"QUERY_STRING"] == b"x=1"
    assert env[b"HTTP_X_JOB"] == b"mail"


def test_a_uwsgi_routes_requests_to_unspool(both: Both, receivers: list[str]) -> None:
    for number, address in enumerate(receivers):
        port = free_port()
        router = both._uwsgi(
            f"--http=127.0.0.1:{port}", f"--http-to={address}", "--http-modifier1=17", env={}
        )
        router.wait_log("spawned uWSGI http 1")
        path = f"/job-{number}"
        assert get(port, f"{path}?x=1") == STORED
        check_ran(both.project, path)
    both.project.wait_empty()


@contextlib.contextmanager
def nginx(root: Path, port: int, locations: str) -> Iterator[None]:
    """An nginx with a configuration of its own."""
    if (command := shutil.which("nginx")) is None:
        pytest.skip("not run: no nginx (on Debian and Ubuntu: apt install nginx)")
    folder = root / "nginx"
    folder.mkdir()
    paths = "".join(
        f"  {name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr notice;\n"
        f"events {{}}\nhttp {{\n  access_log off;\n{paths}"
        f"  server {{\n    listen 127.0.0.1:{port};\n{locations}  }}\n}}\n"
    )
    with subprocess.Popen(
        [command, "-p", folder, "-c", config], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            said = []
            for line in process.stderr:
                said.append(line)
                # It listens by then.
                if "start worker" in line or "using the" in line:
                    break
            assert process.poll() is None, said
            yield
        finally:
            process.terminate()


def test_nginx_passes_requests_to_unspool(project: Project, receivers: list[str]) -> None:
    variables = "".join(
        f"      uwsgi_param {name} {value};\n"
        for name, value in (
            ("REQUEST_METHOD", "$request_method"),
            ("QUERY_STRING", "$query_string"),
            ("PATH_INFO", "$document_uri"),
        )
    )
    tcp, unix = receivers
    locations = "".join(
        f"    location {path} {{\n      uwsgi_pass {to};\n      uwsgi_modifier1 17;\n"
        f"{variables}    }}\n"
        for path, to in (("/job-0", tcp), ("/job-1", f"unix:{unix}"))
    )
    port = free_port()
    with nginx(project.root, port, locations):
        for path in ("/job-0", "/job-1"):
            # It takes an answer without a header for that of HTTP/0.9, or refuses it.
            get(port, f"{path}?x=1")
            check_ran(project, path)
    project.wait_empty()
