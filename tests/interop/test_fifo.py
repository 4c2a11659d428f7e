"""Commands of the master FIFO in both systems, in the middle of a task.

uWSGI kills the task where unspool lets it end; the commands that do nothing to a spooler do nothing
in either.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from both import Both, System
from harness import Daemon, wait_gone

SYSTEMS: list[System] = ["uwsgi", "unspool"]

MODULE = """
    import os
    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def hold(args):
        report("began", pid=os.getpid())
        pause("hold")
        report("ended")
"""


def start(both: Both, system: System) -> tuple[Daemon, Path]:
    fifo = both.project.root / "fifo"
    both.project.write("held.py", MODULE)
    options = (f"--pythonpath={both.project.root}", f"--master-fifo={fifo}")
    return both.run(system, "held", *options), fifo


def send(fifo: Path, commands: bytes) -> None:
    # Never waits: without a reader this is an error.
    descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    try:
        os.write(descriptor, commands)
    finally:
        os.close(descriptor)


def hold(both: Both) -> tuple[Path, int]:
    """A task that runs until its gate is released, and its process."""
    fields = {b"ud_spool_func": b"hold", b"ud_spool_ret": b"-2"}
    (task,) = both.write("unspool", ("spool", (fields,), {}))
    pid = both.project.events.wait("began")["pid"]
    assert isinstance(pid, int)
    return task, pid


def count(both: Both, name: str) -> int:
    return [event.name for event in both.project.events.history].count(name)


@pytest.mark.parametrize("command", ["r", "R"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_reload(both: Both, system: System, command: str) -> None:
    gate = both.project.gate("hold")
    daemon, fifo = start(both, system)
    task, _ = hold(both)
    mark = daemon.mark()
    send(fifo, command.encode())
    if system == "uwsgi":
        # Killed, and begun anew.
        both.project.events.wait("began")
    else:
        daemon.wait_log("reload done", since=mark)
    gate.release()
    both.project.events.wait("ended")
    wait_gone(task)
    assert count(both, "began") == (2 if system == "uwsgi" else 1)
    assert count(both, "ended") == 1
    # It is read on after the reload.
    send(fifo, b"q")
    assert daemon.wait_exit() == 0


@pytest.mark.parametrize("command", ["q", "Q"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_stop(both: Both, system: System, command: str) -> None:
    gate = both.project.gate("hold")
    daemon, fifo = start(both, system)
    task, _ = hold(both)
    send(fifo, command.encode())
    if (system, command) == ("unspool", "q"):
        daemon.wait_log("stopping: running tasks may finish")
        gate.release()
        assert daemon.wait_exit() == 0
        assert not task.exists()
    else:
        assert daemon.wait_exit() == 0
        assert task.exists() and count(both, "ended") == 0
    # The FIFO stays, and nobody reads it.
    assert fifo.is_fifo()
    with pytest.raises(OSError, match="No such device or address"):
        send(fifo, b"q")


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_touches_no_spooler(both: Both, system: System) -> None:
    gate = both.project.gate("hold")
    daemon, fifo = start(both, system)
    task, pid = hold(both)
    mark = daemon.mark()
    # Unknown ones, blanks, the state, and more or fewer web workers.
    send(fifo, b"xyz\n s+-0")
    if system == "unspool":
        daemon.wait_log("no such command commands=xyz", since=mark)
        daemon.wait_log("state of the spool .*running=1", since=mark)
    send(fifo, b"\x00\xff\n")
    gate.release()
    both.project.events.wait("ended")
    wait_gone(task)
    assert count(both, "began") == 1
    # The same process takes the next one.
    task, same = hold(both)
    assert same == pid
    gate.release()
    wait_gone(task)
    send(fifo, b"q")
    assert daemon.wait_exit() == 0
