"""Decorated tasks that tell the test what they were given; loaded by uWSGI and by unspool."""

from __future__ import annotations

from typing import Any

import uwsgi
from reporting import report
from uwsgidecorators import spool, spoolforever, spoolraw


@spool
def plain(arguments: dict[str, str]) -> None:
    """The article's kind of task."""
    report("ran", task="plain", arguments=arguments)


@spool(pass_arguments=True)
def passing(*args: Any, **kwargs: Any) -> None:
    """Its arguments are pickled."""
    report("ran", task="passing", args=args, kwargs=kwargs)


@spoolraw
def raw(arguments: dict[str, str]) -> int:
    """Says itself what becomes of the task."""
    report("ran", task="raw", arguments=arguments)
    return int(uwsgi.SPOOL_OK)


@spoolforever
def forever(arguments: dict[str, str]) -> None:
    """Runs again and again."""
    report("ran", task="forever", arguments=arguments)
