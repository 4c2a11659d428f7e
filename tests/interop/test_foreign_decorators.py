"""The package `uwsgi` installs a `uwsgidecorators` too. Where that one is loaded, tasks run and the
log says so."""

from __future__ import annotations

import shutil
from pathlib import Path

from factory import DaemonFactory
from harness import Project

MODULE = """
    from reporting import report
    from uwsgidecorators import spool

    @spool
    def task(arguments):
        report("ran", text=arguments["text"])
"""


def test_uwsgis_own_module_works_and_is_named(
    project: Project, daemon: DaemonFactory, real_uwsgi: Path
) -> None:
    (foreign,) = real_uwsgi.parent.parent.glob("lib/python3*/site-packages/uwsgidecorators.py")
    shutil.copy(foreign, project.root)
    project.write("tasks.py", MODULE)
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks", "--pythonpath", ".")
    running.wait_log("WARN .*the module uwsgidecorators is not unspool's own but .*decorators.py:")
    project.python("import tasks; tasks.task.spool(text='a')")
    assert project.events.wait("ran")["text"] == "a"
    project.wait_empty()


def test_our_own_is_not_worth_a_word(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", MODULE)
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    project.python("import tasks; tasks.task.spool(text='b')")
    project.events.wait("ran")
    assert not [line for line in running.log if "unspool's own" in line]
