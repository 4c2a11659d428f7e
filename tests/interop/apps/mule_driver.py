"""A mule that evaluates what the test sends to its socket, and reports what each gives."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time  # noqa: F401 (expressions use it)

import uwsgi
from reporting import report

path = os.path.join(os.environ["UNSPOOL_TEST_ROOT"], "driver.sock")
with contextlib.suppress(FileNotFoundError):
    os.unlink(path)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as commands:
    commands.bind(path)
    report("driver", mule=uwsgi.mule_id(), module=__name__, file=__file__, argv=sys.argv)
    while True:
        expression = commands.recv(1 << 16).decode()
        try:
            result = repr(eval(expression))
        except Exception as error:
            result = f"{type(error).__name__}: {error}"
        report("answered", expression=expression, result=result)
