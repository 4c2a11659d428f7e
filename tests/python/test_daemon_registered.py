"""Only registered functions run: whatever else a task names, nothing is imported or called."""

from __future__ import annotations

import pytest
from factory import DaemonFactory
from harness import Project
from signing import ours
from spooling import foreign, publish

MODULE = """
    import importlib
    import os

    import lazy
    from uwsgidecorators import spool
    from reporting import report

    @spool
    def mark(args):
        report("mark", id=args.get("id"))

    def plain(args):
        report("plain")

    def inner(args):
        report("inner")

    class Space:
        inner = staticmethod(inner)
"""

# Whoever imports it, or asks it for a name, leaves a trace.
TRAP = """
    import reporting

    reporting.report("imported")

    def boom(args):
        reporting.report("boom")
"""
LAZY = """
    import importlib

    def __getattr__(name):
        if not name.startswith("__"):
            importlib.import_module("trap")
        raise AttributeError(name)
"""

NAMES = [
    "os.system",
    "system",
    "trap.boom",
    "trap",
    "trap:boom",
    "boom",
    "lazy.boom",
    "tasks.mark",
    "plain",
    "Space.inner",
    "mark.f",
    "mark.__call__",
    "__import__",
    "__builtins__",
    "__class__",
    "__init__",
    "builtins.eval",
    "eval",
    "spooler_functions",
    "uwsgi.reload",
    "../tasks",
    "mark\0",
    " mark",
    "MARK",
    "",
]


def start(project: Project, daemon: DaemonFactory) -> None:
    project.write("trap.py", TRAP)
    project.write("lazy.py", LAZY)
    project.write("tasks.py", MODULE)
    daemon("--spooler", project.spool, "--spooler-import", "tasks", "--pythonpath", project.root)


@pytest.mark.parametrize("kind", ["foreign", "ours", "module"])
def test_nothing_else_than_a_registered_name_runs(
    project: Project, daemon: DaemonFactory, kind: str
) -> None:
    start(project, daemon)
    modules = ("os", "trap", "lazy", "builtins", "tasks", "no.such") if kind == "module" else ("",)
    for number, name in enumerate(NAMES):
        for module in modules:
            pairs = {b"ud_spool_func": name.encode(), b"id": b"bad"}
            content = foreign(pairs) if kind == "foreign" else ours(pairs, module=module.encode())
            publish(project.spool, f"{number}.{module}", content)
    count = len(project.tasks())
    assert count == len(NAMES) * len(modules)
    # Later in the order, so that all of those were tried before.
    publish(project.spool, "last_9999999999_1", foreign({b"ud_spool_func": b"mark", b"id": b"end"}))
    assert project.events.wait("mark")["id"] == "end"
    assert [event.name for event in project.events.history] == ["mark"]
    assert len(project.tasks()) >= count


@pytest.mark.parametrize("module", ["trap", "lazy", "os", "trap.deeper", "__main__", "lazy.trap"])
def test_the_module_of_a_task_is_never_imported(
    project: Project, daemon: DaemonFactory, module: str
) -> None:
    """It chooses among registered functions of one name, and among nothing else."""
    start(project, daemon)
    pairs = {b"ud_spool_func": b"mark", b"id": b"other"}
    publish(project.spool, "1", ours(pairs, module=module.encode()))
    publish(project.spool, "last_9999999999_1", foreign({**pairs, b"id": b"end"}))
    project.events.wait(lambda event: event.fields.get("id") == "end")
    assert not [event for event in project.events.history if event.name != "mark"]
