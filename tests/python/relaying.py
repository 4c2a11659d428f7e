"""Two daemons, one of which relays to the other: what the tests of relays share.

The receiver has the project's spool. The sender runs nothing itself: what is submitted to its
outbox goes to the receiver.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from factory import DaemonFactory
from harness import Argument, Daemon, Project, free_port, pending_tasks
from processes import WAIT_SECONDS_MAX

# Each task writes its number with one call, so that no death of a process tears a line.
MODULE = """
    import os
    from uwsgidecorators import spool, spoolraw
    from reporting import pause, report

    RAN = os.path.join(os.environ["UNSPOOL_TEST_ROOT"], "ran")

    @spool
    def count(args):
        file = os.open(RAN, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, args["number"].encode() + b"\\n")
        os.close(file)

    @spool
    def mark(args):
        report("mark", id=args["id"], body=len(args.get("body", b"")))

    @spool
    def hold(args):
        report("hold", id=args["id"])
        pause("hold")
"""


class Relay:
    """A receiver and a sender, which are started by `receive` and `send`."""

    def __init__(self, project: Project, daemon: DaemonFactory) -> None:
        self.project, self.daemon = project, daemon
        self.address = f"127.0.0.1:{free_port()}"
        self.outbox = project.root / "out" / self.address.replace(":", "=3A")
        project.write("tasks.py", MODULE)
        project.write(
            "sender.ini",
            f"[uwsgi]\nspooler = relay:{self.address}\nnetwork-outbox = {project.root / 'out'}\n",
        )

    def receive(self, *options: Argument, ready: bool = True) -> Daemon:
        """Starts a receiver."""
        spool = ("--spooler", self.project.spool, "--spooler-import", "tasks")
        running = self.daemon(
            *spool, "--socket", self.address, "--spooler-quiet", *options, ready=ready
        )
        if ready:
            running.wait_log("taking tasks from the network")
        return running

    def send(self, *options: Argument) -> Daemon:
        """Starts a sender."""
        running = self.daemon("sender.ini", *options, ready=False)
        running.wait_log("relaying tasks")
        return running

    def waiting(self) -> list[Path]:
        """The tasks in the outbox."""
        return sorted(pending_tasks(self.outbox))

    def wait_sent(self) -> None:
        """Waits until the outbox is empty."""
        self.wait(lambda: not self.waiting(), "the outbox is empty")

    def state(self) -> dict[str, Any]:
        """What the forwarder says of itself."""
        try:
            return dict(json.loads((self.outbox / ".unspool" / "relay").read_text("utf-8")))
        except FileNotFoundError:
            return {}

    def wait_link(self, link: str) -> dict[str, Any]:
        """Waits until the forwarder is like this; what it says then."""
        self.wait(lambda: self.state().get("link") == link, f"the link is {link}")
        return self.state()

    def ran(self) -> list[int]:
        """The numbers of `count` that ran, in their order."""
        try:
            return [int(line) for line in (self.project.root / "ran").read_text().split()]
        except FileNotFoundError:
            return []

    def wait_ran(self, count: int) -> list[int]:
        """Waits until so many different ones ran and no task is left."""
        self.wait(lambda: len(set(self.ran())) >= count, f"{count} tasks ran")
        self.project.wait_empty()
        return self.ran()

    def wait(self, holds: Callable[[], bool], what: str) -> None:
        """Waits until that is so: of files that are replaced, nothing tells in one way."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not holds():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {WAIT_SECONDS_MAX:g} s: {what}; {self.state()}")
            time.sleep(0.02)

    def seen(self) -> int:
        """How many ids the receiver has noted."""
        folder = self.project.spool / ".unspool" / "seen"
        return sum(os.stat(path).st_size for path in folder.glob("[0-9]*")) // 24

    def incoming(self) -> list[str]:
        """What is left of tasks that were being received."""
        folder = self.project.spool / ".unspool" / "incoming"
        return sorted(os.listdir(folder)) if folder.is_dir() else []
