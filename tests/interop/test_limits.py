"""How many workers there are and when they are replaced or killed, on both.

Where the two differ here is listed in docs/uwsgi-differences.md.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from both import Both, System
from processes import wait_ended
from spooling import attempts

SYSTEMS: list[System] = ["uwsgi", "unspool"]
MODULE = """
    import subprocess
    import time

    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def mark(args):
        report("mark", id=args["id"])

    @spool
    def held(args):
        report("began", id=args["id"])
        pause("held")
        report("ended", id=args["id"])

    @spool
    def stuck(args):
        started = subprocess.Popen(["sleep", "30"], start_new_session=True)
        report("stuck", sleep=started.pid, monotonic_before=time.monotonic())
        time.sleep(30)
"""


def put(both: Both, name: str, *ids: int) -> None:
    calls: list[Any] = [("spool", ({b"ud_spool_func": name.encode(), b"ud_spool_ret": b"-2",
                         b"id": str(number).encode()},), {}) for number in ids]  # fmt: skip
    both.write("unspool", *calls)


@pytest.mark.parametrize("system", SYSTEMS)
def test_max_tasks(both: Both, system: System) -> None:
    """Each process runs so many tasks and is replaced; the last one may have run fewer."""
    both.project.write("limits_tasks.py", MODULE)
    put(both, "mark", *range(7))
    options = ("--spooler-max-tasks=3", "--spooler-ordered", f"--pythonpath={both.project.root}")
    both.run(system, "limits_tasks", *options)
    pids = [event.pid for event in both.project.events.collect(7, "mark", timeout=60)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]
    both.project.wait_empty()


@pytest.mark.parametrize("system", SYSTEMS)
def test_processes(both: Both, system: System) -> None:
    """So many tasks run at the same time, and no more."""
    both.project.write("limits_tasks.py", MODULE)
    gate = both.project.gate("held")
    put(both, "held", *range(5))
    both.run(system, "limits_tasks", f"--pythonpath={both.project.root}", processes=3)
    events = both.project.events.collect(3, "began")
    assert len({event.pid for event in events}) == 3
    with pytest.raises(AssertionError):
        both.project.events.wait("began", timeout=1.5)
    gate.release(5)
    both.project.events.collect(5, "ended", timeout=60)
    both.project.wait_empty()


@pytest.mark.parametrize("system", SYSTEMS)
def test_harakiri(both: Both, system: System) -> None:
    """A task is killed for its time and keeps its file.

    uWSGI looks once a second and leaves what the task started alive; its next process runs the task
    again at once, before all others.
    """
    both.project.write("limits_tasks.py", MODULE)
    put(both, "stuck", 1)
    options = ("--spooler-harakiri=1", f"--pythonpath={both.project.root}")
    daemon = both.run(system, "limits_tasks", *options)
    event = both.project.events.wait("stuck")
    killed = {"uwsgi": r"HARAKIRI ON THE SPOOLER \(pid: (\d+)\)", "unspool": r"pid=(\d+) limit_s=1"}
    assert int(daemon.wait_log(killed[system])[1]) == event.pid
    (task,) = both.project.tasks()
    if system == "uwsgi":
        again = both.project.events.wait("stuck")
        assert again["monotonic_before"] - event["monotonic_before"] >= 2
        assert attempts(task) == 0
        for orphan in (event["sleep"], again["sleep"]):
            os.kill(orphan, signal.SIGKILL)
    else:
        daemon.wait_log(r"task failed: its worker was killed: it ran longer")
        again = both.project.events.wait("stuck")
        # The limit, a wait of `spooler-frequency`, and what a busy machine adds.
        # The limit counts from a moment before the handler looked at the clock.
        assert 1.9 <= again["monotonic_before"] - event["monotonic_before"] < 3.5
        wait_ended(event["sleep"])
        assert attempts(task) == 1
    task.unlink()


@pytest.mark.parametrize("system", SYSTEMS)
def test_cheap_in_a_file(both: Both, system: System) -> None:
    """uWSGI 2.0.31 does not know the option, and says nothing: its spooler waits all the time."""
    both.project.write("limits_tasks.py", MODULE)
    both.project.write("cheap.ini", "[uwsgi]\nspooler-cheap = true\n")
    ini = f"--ini={both.project.root / 'cheap.ini'}"
    daemon = both.run(system, "limits_tasks", ini, f"--pythonpath={both.project.root}")
    # The master of uWSGI has its spooler as a child, unspool its zygote and no worker.
    before = daemon.children
    assert len(before) == 1
    put(both, "mark", 1)
    event = both.project.events.wait("mark", timeout=60)
    both.project.wait_empty()
    assert (event.pid in before) == (system == "uwsgi")


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("entered", [False, True])
def test_the_directory_of_a_task(both: Both, system: System, entered: bool) -> None:
    """That of the task's file, which uWSGI enters too, or `spooler-chdir`."""
    source = (
        MODULE
        + """
    @spool
    def where(args):
        import os
        report("where", directory=os.getcwd())
    """
    )
    both.project.write("limits_tasks.py", source)
    jobs = both.project.root / "jobs"
    jobs.mkdir()
    put(both, "where", 1)
    options = [f"--spooler-chdir={jobs}"] if entered else []
    both.run(system, "limits_tasks", *options, f"--pythonpath={both.project.root}")
    directory = both.project.events.wait("where", timeout=60)["directory"]
    assert directory == str(jobs if entered else both.project.spool)
    both.project.wait_empty()
