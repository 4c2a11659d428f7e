"""The page on workers for urgent tasks, typed as printed."""

from __future__ import annotations

import re
import shlex

from factory import DaemonFactory
from harness import ROOT, Project

PAGE = (ROOT / "docs" / "howto" / "priority-workers.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_an_urgent_task_is_done_while_long_ones_run(
    project: Project, daemon: DaemonFactory
) -> None:
    (ini, count), (tasks,), (run, submit) = blocks("ini"), blocks("python"), blocks("sh")
    project.write("app.ini", ini)
    project.write("tasks.py", tasks)
    assert shlex.split(run) == ["unspool", "run", "app.ini"]
    running = daemon("app.ini")
    assert len(running.workers) == 4
    export, *lines = submit.splitlines()
    assert export == "export UNSPOOL_CONFIG=app.ini"
    for line in lines:
        _, *arguments = shlex.split(line)
        project.unspool(*arguments, env={**project.env, "UNSPOOL_CONFIG": "app.ini"})
    running.wait_output("^notified 3$")
    # Standard output and the log are two pipes: neither tells how far the other has been read.
    running.wait_log("task done task=urgent/")
    assert not any("function=report" in line for line in running.log)
    for number in (1, 2):
        running.wait_output(f"^report {number}$")
    # The number of its own, without the second spool.
    running.stop()
    project.write("app.ini", ini.replace("spooler = %dspool/urgent\n", count))
    assert len(daemon("app.ini").workers) == 8
