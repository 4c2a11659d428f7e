"""Fixtures of every test that runs the real daemon: `project` and `daemon`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from harness import REAL_UWSGI, STOP_SECONDS_MAX, Argument, Daemon, Project


@pytest.fixture
def project() -> Iterator[Project]:
    """A temporary application with a spool and events."""
    made = Project()
    try:
        yield made
    finally:
        made.close()


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


@pytest.fixture
def daemon(project: Project) -> Iterator[DaemonFactory]:
    """`daemon("--spooler", project.spool, "--spooler-import", "tasks")` starts one and waits."""
    factory = DaemonFactory(project)
    try:
        yield factory
    finally:
        factory.close()


@pytest.fixture(scope="session")
def real_uwsgi() -> Path:
    """The real uWSGI 2.0.31; a test that cannot have it says so and does not pass."""
    if not REAL_UWSGI.exists():
        pytest.skip(f"not run: there is no {REAL_UWSGI}; `make test` says what it needs")
    return REAL_UWSGI
