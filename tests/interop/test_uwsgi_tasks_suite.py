"""The own tests of uwsgi-tasks 0.7.3, unchanged: what passes on the real uWSGI passes here."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from both import APPS, Both, System
from harness import PYTHON, SUPPORT, UNSPOOL, Event, Project
from mules import Mules

SUITE = APPS / "uwsgi_tasks_suite.py"
TESTS = 13
SYSTEMS: list[System] = ["uwsgi", "unspool"]
# It asserts that a task for a mule is run at once, which a spooler that is there takes instead:
# on both systems.
NEEDS_NO_SPOOLER = ["test_task_is_executed_at_runtime_if_uwsgi_not_available"]


def packages(project: Project) -> str:
    """A folder with uwsgi-tasks and what it needs, and nothing else of this environment."""
    folder = project.root / "packages"
    folder.mkdir(exist_ok=True)
    for name in ("uwsgi_tasks", "six"):
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (folder / source.name).symlink_to(source)
    return os.fspath(folder)


def check(event: Event, bad: list[str]) -> None:
    assert (event["ran"], event["bad"]) == (TESTS, bad)


def test_without_uwsgi_all_pass(project: Project) -> None:
    env = {**project.env, "SUITE_PACKAGES": packages(project), "SUITE_WHERE": "plain"}
    project.run(PYTHON, SUITE, env=env)
    check(project.events.wait("suite"), [])


@pytest.mark.parametrize("system", SYSTEMS)
def test_without_a_spool_all_pass(both: Both, system: System) -> None:
    """A configuration with timers alone: there is a `uwsgi` and no spooler."""
    env = {"SUITE_PACKAGES": packages(both.project), "SUITE_WHERE": "import"}
    if system == "uwsgi":
        # A uWSGI that is asked to stop while it starts may not hear it: this one ends by itself.
        env["SUITE_WHERE"] = "producer"
        uwsgi = both._uwsgi("--socket=127.0.0.1:0", f"--import={SUITE}", env=env)
        assert uwsgi.wait_exit() == 0
    else:
        timers = both.project.write(
            "timers.py", "from uwsgidecorators import timer\ntimer(60)(print)\n"
        )
        paths = [f"--pythonpath={SUPPORT}", f"--import={timers}", f"--import={SUITE}"]
        both._start(UNSPOOL, "run", *paths, env=env).wait_ready()
    check(both.project.events.wait("suite"), [])


@pytest.mark.parametrize("system", SYSTEMS)
def test_in_a_producer(both: Both, system: System) -> None:
    env = {"SUITE_PACKAGES": packages(both.project), "SUITE_WHERE": "producer"}
    if system == "uwsgi":
        # uWSGI has no other producer than its own processes.
        child = both._uwsgi(f"--spooler={both.project.spool}", f"--import={SUITE}", env=env)
    else:
        spool = {"UNSPOOL_SPOOL": os.fspath(both.project.spool), "PYTHONPATH": os.fspath(SUPPORT)}
        child = both._start(PYTHON, str(SUITE), env={**env, **spool})
    event = both.project.events.wait("suite")
    assert child.wait_exit() == 0
    check(event, NEEDS_NO_SPOOLER)


@pytest.mark.parametrize("where", ["import", "task"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_in_the_daemon(both: Both, system: System, where: str) -> None:
    env = {"SUITE_PACKAGES": packages(both.project), "SUITE_WHERE": where}
    both.project.env.update(env)
    if where == "task":
        both.write("unspool", ("spool", ({b"run": b"the suite"},), {}))
    both.run(system, os.fspath(SUITE))
    check(both.project.events.wait("suite"), NEEDS_NO_SPOOLER)
    if where == "task":
        both.project.wait_empty()


@pytest.mark.parametrize("system", SYSTEMS)
def test_executors_and_targets_where_there_are_mules(both: Both, system: System) -> None:
    both.project.env["SUITE_PACKAGES"] = packages(both.project)
    spool = f"--spooler={both.project.spool}"
    options = ["--mules=2", spool, "--spooler-frequency=1"]
    mules = Mules(both, system, *options, application="interop_uwsgi_tasks")
    # By name: where it ran, 0 is the spooler.
    wanted = {"once": {1, 2}, "once_in_two": {2}, "once_in_the_spooler": {0}}
    for name, places in wanted.items():
        event = mules.wait(name)
        assert event["mule"] in places and bool(event["spooler"]) == (0 in places), name
    call = "__import__('interop_uwsgi_tasks')."
    for name, places in {"automatic": {1, 2}, "in_a_mule": {1, 2}, "in_mule_one": {1}}.items():
        mules.ask(f"{call}{name}({name!r})")
        event = mules.wait(name)
        assert event["mule"] in places and event["args"] == (name,), name
    mules.ask(f"{call}spooled(1)")
    assert mules.wait("spooled")["spooler"] is True
    event = mules.wait("in_mule_one")
    assert (event["mule"], event["args"]) == (1, ("from the spooler",))
    mules.ask(f"{call}large('x' * 100000)")
    event = mules.wait("large")
    assert (event["mule"], event["args"]) == (0, (100_000,))


@pytest.mark.parametrize("system", SYSTEMS)
def test_in_the_daemon_with_mules(both: Both, system: System) -> None:
    env = {"SUITE_PACKAGES": packages(both.project), "SUITE_WHERE": "import"}
    both.project.env.update(env)
    both.run(system, os.fspath(SUITE), "--mules=2")
    check(both.project.events.wait("suite"), NEEDS_NO_SPOOLER)
