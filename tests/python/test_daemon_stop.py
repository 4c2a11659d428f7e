"""SIGTERM and SIGINT: running tasks finish, nothing else starts, and the wait has a bound."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import UNSPOOL, Daemon, HarnessError, Project
from processes import ProcessHandle
from spooling import QUICK_OR_HELD, Producer, attempts, call, hand_ahead, submit

MODULE = """
    import os
    import signal
    import subprocess

    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def hold(args):
        report("hold")
        pause("hold")
        report("held")

    @spool
    def stubborn(args):
        signal.signal(signal.SIGTERM, lambda *_: report("refused"))
        hold.f(args)

    @spool
    def with_child(args):
        child = subprocess.Popen(["sleep", "600"])
        report("with_child", child=child.pid)
        pause("hold")

    @spool
    def mark(args):
        report("mark", id=args.get("id"))
"""


def start(project: Project, daemon: DaemonFactory, *options: str) -> Daemon:
    project.write("tasks.py", MODULE)
    project.gate("hold")
    return daemon("--spooler", project.spool, "--spooler-import", "tasks", *options)


def names(project: Project) -> set[str]:
    return {event.name for event in project.events.history}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_tasks_finish_and_nothing_else_starts(
    project: Project, daemon: DaemonFactory, number: signal.Signals
) -> None:
    running = start(project, daemon, "--spooler-processes", "2")
    with Producer(project) as producer:
        running_now = producer.many([call("hold"), call("hold")])
        project.events.collect(2, "hold")
        waiting = producer.many([call("mark", id=each) for each in range(20)])
    running.send(number)
    running.wait_log(r"stopping: running tasks may finish wait_s=60")
    late = submit(project, "mark")
    assert running.running
    project.gate("hold").release(2)
    assert running.wait_exit() == 0
    assert len(project.events.collect(2, "held")) == 2
    assert not [task for task in running_now if task.path.exists()]
    left = [task.path for task in waiting] + [late]
    assert all(path.exists() and attempts(path) == 0 for path in left)
    assert "mark" not in names(project)


def test_what_was_handed_to_a_worker_ahead_of_time_does_not_start_either(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", QUICK_OR_HELD)
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    with Producer(project) as producer:
        first = hand_ahead(project, producer, 20)
    (zygote,) = map(ProcessHandle, set(running.children) - set(running.workers))
    running.send(signal.SIGTERM)
    # The last step of the stop's beginning: by then the tasks are taken back.
    assert zygote.wait()
    zygote.close()
    project.gate("ahead").release()
    assert project.events.wait("mark ends")["id"] == "first"
    assert running.wait_exit() == 0
    assert not first.path.exists()
    left = project.tasks()
    assert len(left) == 20 and not any(attempts(path) for path in left)
    assert project.events.history[-1].name == "mark ends"


@pytest.fixture
def in_terminal(project: Project) -> Iterator[Daemon]:
    """A daemon that leads a process group, as a shell starts it."""
    options = ("--spooler", project.spool, "--spooler-import", "tasks")
    command = ("setsid", UNSPOOL, "run")
    made = Daemon(*options, cwd=project.root, env=project.env, command=command)
    try:
        yield made
    finally:
        made.close()


def test_ctrl_c_on_a_terminal_does_not_reach_the_tasks(
    project: Project, in_terminal: Daemon
) -> None:
    project.write("tasks.py", MODULE)
    gate = project.gate("hold")
    in_terminal.start().wait_ready()
    path = submit(project, "hold")
    project.events.wait("hold")
    # The terminal signals the whole group of processes.
    os.killpg(in_terminal.pid, signal.SIGINT)
    in_terminal.wait_log("stopping: running tasks may finish")
    gate.release()
    project.events.wait("held")
    assert in_terminal.wait_exit() == 0
    assert not path.exists()
    assert not [line for line in in_terminal.log if "KeyboardInterrupt" in line]


def check_interrupted(project: Project, running: Daemon, path: Path) -> None:
    """The daemon ends cleanly, the task is there and not counted, and the next daemon runs it."""
    assert running.wait_exit() == 0
    running.wait_log(rf"task interrupted by the stop; it runs again task={path.name}")
    assert path.exists() and attempts(path) == 0
    assert "held" not in names(project)
    again = project.daemon("--spooler", project.spool, "--spooler-import", "tasks")
    try:
        again.start().wait_ready()
        project.events.wait("hold")
        project.gate("hold").release()
        project.events.wait("held")
        assert again.stop() == 0
    finally:
        again.close()


def test_after_the_time_out_tasks_are_interrupted_and_not_counted(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, "--spooler-stop-timeout", "0.2")
    path = submit(project, "hold")
    project.events.wait("hold")
    running.send(signal.SIGTERM)
    running.wait_log("tasks do not finish in time: sending SIGTERM")
    check_interrupted(project, running, path)


def test_a_task_that_ignores_sigterm_is_killed(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon, "--spooler-stop-timeout", "0.1")
    path = submit(project, "stubborn")
    project.events.wait("hold")
    running.send(signal.SIGTERM)
    project.events.wait("refused")
    running.wait_log("workers ignore SIGTERM: killing them")
    check_interrupted(project, running, path)


def test_a_second_sigterm_does_not_wait_for_the_tasks(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon)
    path = submit(project, "hold")
    project.events.wait("hold")
    running.send(signal.SIGTERM)
    running.wait_log("stopping: running tasks may finish wait_s=60")
    # The first one of these that comes a second after the stop is the second signal.
    for _ in range(30):
        running.send(signal.SIGTERM)
        try:
            running.wait_log("told to stop again: sending SIGTERM", timeout=0.2)
            break
        except HarnessError:
            continue
    check_interrupted(project, running, path)


def test_one_ctrl_c_that_arrives_twice_is_one_stop(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    submit(project, "hold")
    project.events.wait("hold")
    running.send(signal.SIGINT)
    running.send(signal.SIGTERM)
    running.wait_log("stopping: running tasks may finish")
    project.gate("hold").release()
    project.events.wait("held")
    assert running.wait_exit() == 0
    assert project.tasks() == []


def test_what_an_interrupted_task_started_ends_with_it(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, "--spooler-stop-timeout", "0.1")
    submit(project, "with_child")
    child = ProcessHandle(project.events.wait("with_child")["child"])
    try:
        assert running.stop() == 0
        assert child.wait()
    finally:
        child.send(signal.SIGKILL)
        child.close()


def test_a_stop_while_the_application_is_imported(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", "from reporting import *; report('import'); pause('import')")
    project.gate("import")
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    running = daemon(*spool, ready=False)
    project.events.wait("import")
    running.send(signal.SIGTERM)
    assert running.wait_exit() == 0


def test_a_stop_without_any_task(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    assert running.stop() == 0
    assert running.log[-1].endswith("INFO  stopped")
