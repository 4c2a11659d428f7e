"""A bare handler assigned to `uwsgi.spooler`: it is given the dictionary as it is."""

from __future__ import annotations

import uwsgi
from reporting import report


def handler(env: dict[str | bytes, bytes]) -> int:
    """Tells the test everything that it was given."""
    report("handled", env=env)
    return int(uwsgi.SPOOL_OK)


uwsgi.spooler = handler
