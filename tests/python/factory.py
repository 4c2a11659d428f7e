"""Starts the daemons of one test and ends them with it: what the fixture `daemon` hands out."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import pytest
from harness import STOP_SECONDS_MAX, Argument, Daemon, Project


class DaemonFactory:
    """Starts daemons in the project's folder and ends all of them with the test."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._started: list[Daemon] = []

    def __call__(
        self, *arguments: Argument, env: Mapping[str, str] | None = None, ready: bool = True
    ) -> Daemon:
        """Runs `unspool run ARGUMENTS...`; returns when it is ready unless told otherwise."""
        started = self._project.daemon(*arguments, env=env).start()
        self._started.append(started)
        return started.wait_ready() if ready else started

    def close(self) -> None:
        """Stops what the test left running: a daemon that does not end cleanly fails the test."""
        problems: list[str] = []
        for daemon in self._started:
            try:
                if daemon.running:
                    status = daemon.stop(timeout=STOP_SECONDS_MAX)
                    if status != 0:
                        problems.append(f"status {status} at SIGTERM\n{daemon.describe()}")
            except AssertionError as error:
                problems.append(str(error))
            finally:
                # pytest shows it with the failures and with nothing else.
                print(daemon.describe(), file=sys.stderr)
                daemon.close()
        if problems:
            pytest.fail("a daemon did not stop cleanly: " + "\n".join(problems))
