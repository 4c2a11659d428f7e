"""`spooler-network-pickle`: pickles of tasks that anybody may have sent."""

from __future__ import annotations

import pickle
import socket
import struct

import pytest
from factory import DaemonFactory
from harness import Project

MODULE = """
    from uwsgidecorators import spool
    from reporting import report

    @spool(pass_arguments=True)
    def called(*args, **kwargs):
        report("called", args=list(args), kwargs=kwargs)
"""


def send(port: int, pairs: dict[bytes, bytes]) -> bytes:
    """One task as a client of uWSGI sends it; the answer."""
    body = b"".join(struct.pack("<H", len(text)) + text for pair in pairs.items() for text in pair)
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(struct.pack("<BHB", 17, len(body), 0) + body)
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
    pairs = {
        b"ud_spool_func": b"called",
        b"args": pickle.dumps((1, "two")),
        b"kwargs": pickle.dumps({"three": 3}),
    }
    assert send(port, pairs) == b"\xff\x00\x00\x01"
    if option:
        (event,) = project.events.collect(1, "called")
        assert (event["args"], event["kwargs"]) == ([1, "two"], {"three": 3})
    else:
        running.wait_log("the arguments of this task are pickled.*spooler-network-pickle")
