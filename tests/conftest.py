"""Fixtures of every test that runs the real daemon: `project`, `daemon`; `where`, `serving` for
statistics.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import REAL_UWSGI, Project
from statistics_daemon import StartServing, starter


@pytest.fixture
def project() -> Iterator[Project]:
    """A temporary application with a spool and events."""
    made = Project()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def daemon(project: Project) -> Iterator[DaemonFactory]:
    """`daemon("--spooler", project.spool, "--spooler-import", "tasks")` starts one and waits."""
    factory = DaemonFactory(project)
    try:
        yield factory
    finally:
        factory.close()


@pytest.fixture
def where(project: Project) -> Path:
    """The socket on which `serving` serves."""
    return project.root / "stats.sock"


@pytest.fixture
def serving(project: Project, daemon: DaemonFactory, where: Path) -> StartServing:
    """Starts a daemon that serves statistics."""
    return starter(project, daemon, where)


@pytest.fixture(scope="session")
def real_uwsgi() -> Path:
    """The real uWSGI 2.0.31; a test that cannot have it says so and does not pass."""
    if not REAL_UWSGI.exists():
        pytest.skip(f"not run: there is no {REAL_UWSGI}; `make test` says what it needs")
    return REAL_UWSGI
