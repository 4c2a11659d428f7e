"""Reports what the configuration has made of the process that imports it."""

from __future__ import annotations

import os
import sys

import uwsgi
from reporting import report

ROOT = os.environ["UNSPOOL_TEST_ROOT"]

report(
    "surroundings",
    opt={
        key if isinstance(key, str) else key.decode(): value if value is True else bytes(value)
        for key, value in uwsgi.opt.items()
    },
    argv=sys.argv,
    cwd=os.getcwd(),
    env=dict(os.environ),
    path=[entry for entry in sys.path if entry.startswith(ROOT) or entry in (".", "lib")],
)
