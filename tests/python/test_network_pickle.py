"""`spooler-network-pickle`: pickles of tasks that anybody may have sent."""

from __future__ import annotations

import os
import pickle
import socket
import struct
import subprocess
import textwrap
from pathlib import Path

import pytest
from everybody import USER, root_only
from factory import DaemonFactory
from harness import Project

MODULE = """
    from uwsgidecorators import spool
    from reporting import report

    @spool(pass_arguments=True)
    def called(*args, **kwargs):
        report("called", args=list(args), kwargs=kwargs)
"""


PAIRS = {
    b"ud_spool_func": b"called",
    b"args": pickle.dumps((1, "two")),
    b"kwargs": pickle.dumps({"three": 3}),
}


def packet(pairs: dict[bytes, bytes]) -> bytes:
    """One task as a client of uWSGI sends it."""
    body = b"".join(struct.pack("<H", len(text)) + text for pair in pairs.items() for text in pair)
    return struct.pack("<BHB", 17, len(body), 0) + body


def send(port: int, pairs: dict[bytes, bytes]) -> bytes:
    """Sends it; the answer."""
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(packet(pairs))
        answer = b""
        while part := client.recv(16):
            answer += part
    return answer


@pytest.mark.parametrize("option", [(), ("--spooler-network-pickle",)])
def test_pickles_from_the_network_are_loaded_where_that_is_said(
    project: Project, daemon: DaemonFactory, option: tuple[str, ...]
) -> None:
    project.write("tasks.py", MODULE)
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    running = daemon(*spool, "--socket", "127.0.0.1:0", *option)
    port = int(running.wait_log("taking tasks from the network .*:([0-9]+)")[1])
    assert send(port, PAIRS) == b"\xff\x00\x00\x01"
    if option:
        (event,) = project.events.collect(1, "called")
        assert (event["args"], event["kwargs"]) == ([1, "two"], {"three": 3})
    else:
        running.wait_log("the arguments of this task are pickled.*spooler-network-pickle")


CLIENT = """
    import os, socket, sys
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(sys.argv[1].replace("@", chr(0)))
    client.sendall(bytes.fromhex(sys.argv[2]))
    sys.stdout.write(client.recv(16).hex())
"""


@root_only
@pytest.mark.parametrize(("users", "loaded"), [(USER, True), ("*", False)])
def test_users_who_are_named_are_known(
    project: Project, daemon: DaemonFactory, users: str, loaded: bool
) -> None:
    python = Path("/usr/bin/python3")
    if not python.exists():
        pytest.skip(f"not run: {USER} may have no Python to execute")
    project.write("tasks.py", MODULE)
    at = f"@unspool-test-{os.getpid()}"
    listen = ("--socket", at, "--network-uids", users)
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks", *listen)
    command: list[str | Path] = [python, "-c", textwrap.dedent(CLIENT), at, packet(PAIRS).hex()]
    done = subprocess.run(
        command, user=USER, cwd="/", capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "ff000001"
    if loaded:
        assert project.events.collect(1, "called")[0]["args"] == [1, "two"]
    else:
        running.wait_log("the arguments of this task are pickled.*spooler-network-pickle")
