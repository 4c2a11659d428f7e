"""What a process has around it before it imports the application: its environment, its directory,
where modules are found, and which spools it knows.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from unspool import _process
from unspool._native import ConfigError


def enter(setup: dict[str, Any]) -> None:
    """Makes them what the daemon's settings say; called once. Exits where they cannot be used."""
    for name, value in setup["env"]:
        os.environ[name] = value
    for name in setup["unenv"]:
        os.environ.pop(name, None)
    if setup["chdir"] is not None:
        os.chdir(setup["chdir"])
    # As in uWSGI, which puts each in front of those before it.
    sys.path[:0] = [*reversed(setup["pythonpath"]), ".", ""]
    arguments = dict(setup["opt"]).get("pyargv") or ""
    sys.argv = ["uwsgi", *(word for word in arguments.split(" ") if word)]
    try:
        _process.configure_daemon_child(setup)
    except ConfigError as error:
        sys.exit(f"unspool: {error}")
