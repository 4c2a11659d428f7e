"""Tasks from routers: requests that a real uWSGI or nginx sends on as packets with modifier1 17."""

from __future__ import annotations

import contextlib
import socket

import pytest
from both import Both
from factory import DaemonFactory
from harness import Project, free_port
from nginx import nginx

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
