"""What a task module of a test imports to be seen and held by the test (see `harness.Project`).

A socket and a file are opened for each call, so that nothing here is shared across a fork.
"""

from __future__ import annotations

import os
import pickle
import socket
import time
from typing import Any


def _path(name: str) -> str:
    return os.path.join(os.environ["UNSPOOL_TEST_ROOT"], name)


def report(name: str, **fields: Any) -> None:
    """Tells the test that the task got here, with any picklable values."""
    packet = pickle.dumps(
        {
            "name": name,
            "pid": os.getpid(),
            "time": time.time(),
            "monotonic": time.monotonic(),
            "fields": fields,
        }
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(packet, _path("events.sock"))


def pause(name: str) -> None:
    """Waits until the test releases `project.gate(name)` once."""
    with open(_path(f"{name}.gate"), "rb", buffering=0) as gate:
        if not gate.read(1):
            raise RuntimeError(f"the test ended before it released the gate {name!r}")
