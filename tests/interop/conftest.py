"""The fixture `both`: the real uWSGI and unspool on one spool."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from both import Both
from harness import REAL_UWSGI, Project


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
