"""A daemon with mules of either system, and a mule that does what the test tells it."""

from __future__ import annotations

import socket
from pathlib import Path

from both import APPS, Both, System
from harness import SUPPORT, UNSPOOL, Event

DRIVER = APPS / "mule_driver.py"


class Mules:
    """A daemon with mules and the driver; `ask` evaluates an expression there."""

    def __init__(
        self,
        both: Both,
        system: System,
        *options: str,
        application: str = "interop_mules",
        **env: str,
    ) -> None:
        self.system = system
        self.project = both.project
        # It takes messages and handles none: nobody can know when it is done.
        options = ("--mule-reload-mercy=4", *options, f"--mule={DRIVER}")
        requests = both.project.root / "uwsgi.sock"
        if system == "uwsgi":
            place = f"--socket={requests}"
            self.daemon = both._uwsgi(f"--import={application}", place, *options, env=env)
        else:
            paths = [f"--pythonpath={SUPPORT}", f"--pythonpath={APPS}"]
            self.daemon = both._start(
                UNSPOOL, "run", *paths, f"--import={application}", *options, env=env
            )
        self.driver = self.wait("driver")
        if system == "uwsgi":
            answered(requests)

    def wait(self, name: str, mule: int | None = None, timeout: float = 20) -> Event:
        """The next report of this name, of one mule."""
        return self.project.events.wait(
            lambda event: event.name == name and (mule is None or event["mule"] == mule), timeout
        )

    def ask(self, expression: str) -> str:
        """What the expression gives in the driver."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as commands:
            commands.sendto(expression.encode(), str(self.project.root / "driver.sock"))
        return str(self.project.events.wait("answered")["result"])


def answered(requests: Path, timeout: float = 20) -> None:
    """Waits until a web worker of uWSGI has answered a request.

    One that is told to end while it starts does not hear it: a reload then waits for a minute.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout)
        client.connect(str(requests))
        # A request without a variable: there is no application either.
        client.sendall(bytes(4))
        while client.recv(4096):
            pass
