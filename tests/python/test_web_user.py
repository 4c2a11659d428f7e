"""Web workers of a daemon that becomes another user: who they are, and when sockets are bound.

They need root, and a Python that another user can execute: where one is missing, a test says so.
"""

from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path

import pytest
from everybody import USER, python_for, root_only
from factory import DaemonFactory
from harness import Project
from web import get, uwsgi_get

MODULE = """
    import json
    import os

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"uid": os.getuid(), "gid": os.getgid()}).encode()]
"""
# Nothing is known to listen there.
PRIVILEGED_PORTS = range(600, 1024)


@pytest.fixture
def options(project: Project) -> tuple[str | Path, ...]:
    python = python_for(project)
    project.write("app.py", MODULE).chmod(0o644)
    return ("--virtualenv", python, "--module", "app", f"--uid={USER}", "--spooler", project.spool)


def free_port() -> int:
    for port in PRIVILEGED_PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    pytest.skip("not run: every port below 1024 is taken")


@root_only
def test_a_port_that_needs_privileges_is_bound_before_they_are_dropped(
    project: Project, daemon: DaemonFactory, options: tuple[str | Path, ...]
) -> None:
    port = free_port()
    daemon(*options, f"--http-socket=127.0.0.1:{port}")
    user = pwd.getpwnam(USER)
    assert get(port).told == {"uid": user.pw_uid, "gid": user.pw_gid}


@root_only
def test_a_socket_in_a_folder_of_root_is_given_to_whom_the_option_says(
    project: Project, daemon: DaemonFactory, options: tuple[str | Path, ...]
) -> None:
    folder = project.root / "run"
    folder.mkdir(mode=0o755)
    path = folder / "app.sock"
    daemon(*options, f"--socket={path}", "--chown-socket=daemon:daemon", "--chmod-socket=660")
    stat = path.stat()
    owner = pwd.getpwnam("daemon")
    assert (stat.st_uid, stat.st_gid) == (owner.pw_uid, owner.pw_gid)
    assert stat.st_mode & 0o777 == 0o660
    assert uwsgi_get(path).told["uid"] == pwd.getpwnam(USER).pw_uid


@root_only
def test_without_that_a_socket_is_the_users_own(
    project: Project, daemon: DaemonFactory, options: tuple[str | Path, ...]
) -> None:
    folder = project.root / "run"
    folder.mkdir()
    user = pwd.getpwnam(USER)
    os.chown(folder, user.pw_uid, user.pw_gid)
    daemon(*options, f"--socket={folder / 'app.sock'}")
    assert (folder / "app.sock").stat().st_uid == user.pw_uid
    assert uwsgi_get(folder / "app.sock").status == 200
