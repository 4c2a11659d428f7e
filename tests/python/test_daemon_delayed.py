"""Delayed tasks cost nothing while they wait, and nothing of the speed of others."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import Daemon, Project, wait_gone
from pacing import Batch, check_promise
from spooling import Producer, foreign

DELAYED = 20_000
MANY_DELAYED = 1_000_000
NAMES_PER_FILE = 1_000
TASKS = 300
PROMISED_SECONDS = 0.001
QUIET_SECONDS = 2.0
TICKS_MAX = 2

MODULE = """
    import time

    from uwsgidecorators import spool
    from reporting import report

    @spool
    def mark(args):
        started = time.monotonic()
        report("mark", started=started)
"""


def write_delayed(spool: Path, count: int) -> None:
    """Tasks that are due tomorrow, as uWSGI writes them: a file for each thousand names.

    A million files of their own keep a disk busy for minutes, which would be measured too.
    """
    spool.mkdir(mode=0o700)
    content = foreign({b"ud_spool_func": b"mark", b"at": b"later"})
    later_ns = time.time_ns() + 86_400 * 10**9
    folder = os.open(spool, os.O_RDONLY | os.O_DIRECTORY)
    name = ""
    for number in range(count):
        before, name = name, f"uwsgi_spoolfile_on_host_1_{number}_1_1_1"
        if number % NAMES_PER_FILE:
            os.link(before, name, src_dir_fd=folder, dst_dir_fd=folder)
            continue
        file = os.open(name, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=folder)
        os.write(file, content)
        os.utime(file, ns=(later_ns, later_ns + number * 10**6))
        os.close(file)
    os.close(folder)


def cpu_ticks(running: Daemon) -> int:
    """Processor time of the daemon, its zygote and its workers, in hundredths of a second."""
    ticks = 0
    for pid in (running.pid, *running.children):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks


def check_as_quick(project: Project, empty: Path) -> None:
    """Submits to the spool with delayed tasks and to the empty one by turns."""
    with Producer(project) as full, Producer(project, empty) as plain:

        def seconds_of(producer: Producer) -> float:
            task = producer.one("mark")
            seconds: float = project.events.wait("mark")["started"] - task.returned
            wait_gone(task.path)
            return seconds

        def measure() -> Batch:
            pairs = [(seconds_of(full), seconds_of(plain)) for _ in range(TASKS)]
            return [pair[0] for pair in pairs], [pair[1] for pair in pairs]

        check_promise(measure, PROMISED_SECONDS)


def check_no_cpu(running: Daemon) -> None:
    """Measures over a while in which nothing is to be done."""
    before = cpu_ticks(running)
    # Not a wait for something: the time over which nothing may be used.
    time.sleep(QUIET_SECONDS)
    assert cpu_ticks(running) - before <= TICKS_MAX


@pytest.mark.parametrize(
    "count",
    [
        DELAYED,
        pytest.param(MANY_DELAYED, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
def test_delayed_tasks_use_no_cpu_and_a_new_task_is_picked_up_as_fast(
    project: Project, daemon: DaemonFactory, count: int
) -> None:
    project.write("tasks.py", MODULE)
    write_delayed(project.spool, count)
    empty = project.root / "empty"
    spools = ("--spooler", project.spool, "--spooler", empty)
    running = daemon(*spools, "--spooler-import", "tasks", "--spooler-quiet")
    running.wait_log(rf"spool scanned .*tasks={count} due=0", timeout=60)
    check_as_quick(project, empty)
    check_no_cpu(running)
    assert len(project.tasks()) == count
