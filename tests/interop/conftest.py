"""The fixture `both`: the real uWSGI and unspool on one spool."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from both import Both
from harness import REAL_UWSGI, Project
from web_sides import SYSTEMS, Sides, start


@pytest.fixture
def both(project: Project) -> Iterator[Both]:
    """Either system writes, either runs; not run where the real uWSGI is not installed."""
    if not REAL_UWSGI.exists():
        pytest.skip(f"not run: {REAL_UWSGI} is missing (`make test` installs it)")
    made = Both(project)
    try:
        yield made
        made.stop()
    finally:
        made.close()


@pytest.fixture(scope="module")
def sides() -> Iterator[Sides]:
    """The real uWSGI and unspool with the applications of `web_app`."""
    if not REAL_UWSGI.exists():
        pytest.skip(f"not run: {REAL_UWSGI} is missing (`make test` installs it)")
    project = Project()
    # More than a block, and all bytes.
    (project.root / "file").write_bytes(bytes(range(256)) * 400)
    with contextlib.ExitStack() as ending:
        ending.callback(project.close)
        started = []
        for system in SYSTEMS:
            started.append(start(project, system))
            ending.callback(started[-1].close)
        yield Sides(project, *started)
