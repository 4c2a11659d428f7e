"""Tasks of uwsgi-tasks where there are mules, and its timer with the targets that it chooses."""

# The package has no types.
# mypy: disable-error-code="import-untyped, untyped-decorator"

from __future__ import annotations

import os
import sys
from typing import Any

sys.path.append(os.environ["SUITE_PACKAGES"])

import uwsgi
from reporting import report
from uwsgi_tasks import TaskExecutor, task, timer


def told(name: str, *args: Any) -> None:
    """Says where this process is."""
    report(name, args=args, mule=uwsgi.mule_id(), spooler=uwsgi.i_am_the_spooler())


@task
def automatic(*args: Any) -> None:
    """Where uwsgi-tasks thinks best."""
    told("automatic", *args)


@task(executor=TaskExecutor.MULE, mule=1)
def in_mule_one(*args: Any) -> None:
    """In one mule."""
    told("in_mule_one", *args)


@task(executor=TaskExecutor.MULE)
def in_a_mule(*args: Any) -> None:
    """In any."""
    told("in_a_mule", *args)


@task(executor=TaskExecutor.SPOOLER)
def spooled(*args: Any) -> None:
    """Where tasks are run."""
    told("spooled", *args)
    in_mule_one("from the spooler")


@task(executor=TaskExecutor.MULE)
def large(text: str) -> None:
    """More than 64 KiB do not fit in a message: it goes to the spooler."""
    told("large", len(text))


@timer(seconds=1, iterations=1)
def once(signal: int) -> None:
    """Its target is a mule where there are some."""
    told("once")


@timer(seconds=1, iterations=1, target="mule2")
def once_in_two(signal: int) -> None:
    """Its target is said."""
    told("once_in_two")


@timer(seconds=1, iterations=1, executor=TaskExecutor.SPOOLER)
def once_in_the_spooler(signal: int) -> None:
    """Its executor is said."""
    told("once_in_the_spooler")
