"""Many damaged files at once: which of them a daemon runs, and that all the others are kept."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

from factory import DaemonFactory
from harness import TASK_PREFIX, Event, Project
from inotify import DirectoryWatch
from spooling import foreign, publish

FUNCTION = b"mark"
TASKS = """
    import uwsgi
    from uwsgidecorators import spoolraw
    from reporting import report

    @spoolraw
    def mark(env):
        path = env["spooler_task_name"]
        report("ran", task=path.rpartition("_on_")[2], body=len(env.get("body", b"")))
        return uwsgi.SPOOL_OK
"""
SETTLE_SECONDS = 0.5
SET_ASIDE_SECONDS_MAX = 60.0


def check_damaged(
    project: Project, daemon: DaemonFactory, damaged: Mapping[str, bytes], run: Collection[str]
) -> list[Event]:
    """A daemon runs those named, once each, and sets all others aside as they are; the runs.

    All call `mark` as far as they are whole, and lie there when the daemon starts.
    """
    project.spool.mkdir(exist_ok=True)
    for name, content in damaged.items():
        publish(project.spool, name, content)
    project.write("tasks.py", TASKS)
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    # A flip in the count of attempts would else have a task given up.
    endless = ("--spooler-max-attempts", "0")
    running = daemon(*spool, *endless, "--spooler-settle", str(SETTLE_SECONDS))
    corrupt = project.spool / "corrupt"
    with DirectoryWatch(project.spool) as watch:
        assert watch.wait(corrupt.is_dir, SET_ASIDE_SECONDS_MAX)
    expected = len(damaged) - len(run)
    with DirectoryWatch(corrupt) as watch:
        if not watch.wait(lambda: len(os.listdir(corrupt)) >= expected, SET_ASIDE_SECONDS_MAX):
            raise AssertionError(f"{len(os.listdir(corrupt))} of {expected} files are set aside")
    # What should not run and would, is older than this one.
    publish(project.spool, "last", foreign({b"ud_spool_func": FUNCTION}))
    ran = project.events.collect(len(run) + 1, "ran")
    project.wait_empty()
    running.stop()
    assert {event["task"] for event in ran} == {*run, "last"}
    assert len([event for event in project.events.history if event.name == "ran"]) == len(run) + 1
    aside = {path.name.removeprefix(TASK_PREFIX): path.read_bytes() for path in corrupt.iterdir()}
    assert aside == {name: content for name, content in damaged.items() if name not in run}
    return ran
