"""Runs the tests of the package uwsgi-tasks in this process and reports what failed.

Where they run is said by the environment: at the import, or in a task of the spooler.
"""

from __future__ import annotations

import os
import sys
import unittest

# It was installed beside pytest; the real uWSGI has an environment of its own.
sys.path.append(os.environ["SUITE_PACKAGES"])

from reporting import report


def run(where: str) -> None:
    """Runs all of them, unchanged."""
    result = unittest.TestResult()
    try:
        unittest.defaultTestLoader.loadTestsFromName("uwsgi_tasks.tests").run(result)
    except Exception as error:
        report("suite", where=where, ran=0, bad=[repr(error)])
        return
    bad = [*result.failures, *result.errors]
    report(
        "suite",
        where=where,
        ran=result.testsRun,
        bad=sorted(test.id().rpartition(".")[2] for test, _ in bad),
    )


def in_task(arguments: object) -> int:
    """A bare handler."""
    run("task")
    return -2


where = os.environ["SUITE_WHERE"]
if where == "task":
    import uwsgi

    uwsgi.spooler = in_task
else:
    run(where)
if where == "producer":
    # Before uWSGI would start its processes.
    os._exit(0)
