"""What becomes of a task after a run: what its handler returned or raised, or how its worker died.

The handler is a bare one, assigned to `uwsgi.spooler`, so that nothing of the decorators' is
between the task and the daemon.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import Daemon, Event, Project, wait_gone
from spooling import attempts, submit

FREQUENCY = 0.25

HANDLER = """
    import ctypes
    import os
    import signal
    import sys

    import uwsgi
    from reporting import report

    def segfault():
        ctypes.string_at(0)

    def die(number):
        os.kill(os.getpid(), number)
        signal.pause()

    def throw(error):
        raise error

    def handler(env):
        task = env["spooler_task_name"]
        report("run", task=task.decode())
        return eval(env[b"does"].decode())

    uwsgi.spooler = handler
"""


@pytest.fixture
def running(project: Project, daemon: DaemonFactory) -> Daemon:
    project.write("tasks.py", HANDLER)
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    return daemon(*spool, "--spooler-frequency", str(FREQUENCY))


def runs_of(project: Project, path: Path, count: int) -> list[Event]:
    return project.events.collect(count, lambda event: event.fields.get("task") == path.name)


def check_attempts_are_counted(running: Daemon, path: Path) -> None:
    """The file has as many failed attempts as the log, once nobody writes to either."""
    assert running.stop() == 0
    logged = [line for line in running.log if "task failed" in line and path.name in line]
    assert len(logged) == attempts(path) >= 2


def test_the_handlers_return_code_decides(project: Project, running: Daemon) -> None:
    path = submit(project, "bare", does="uwsgi.SPOOL_OK")
    runs_of(project, path, 1)
    wait_gone(path)
    running.wait_log(rf"task done .*{path.name}")


@pytest.mark.parametrize("code", ["uwsgi.SPOOL_RETRY", "1", "True", "-3", "uwsgi.SPOOL_IGNORE"])
def test_other_ints_keep_the_task_until_the_frequency_has_passed(
    project: Project, running: Daemon, code: str
) -> None:
    path = submit(project, "bare", does=code)
    first, second, third = runs_of(project, path, 3)
    assert second.monotonic - first.monotonic >= FREQUENCY
    assert third.monotonic - second.monotonic >= FREQUENCY
    assert len({first.pid, second.pid, third.pid}) == 1
    assert running.stop() == 0
    assert attempts(path) == 0


@pytest.mark.parametrize("value", ["None", "'-2'", "-2.0", "2**70"])
def test_what_is_no_int_is_a_failed_attempt(project: Project, running: Daemon, value: str) -> None:
    path = submit(project, "bare", does=value)
    running.wait_log(r"task failed .*attempt=1")
    running.wait_log(r"the handler returned .*, which is no int: return uwsgi\.SPOOL_OK")
    running.wait_log(r"`uwsgi\.spooler` is tasks\.handler$")
    first, second = runs_of(project, path, 2)
    assert second.monotonic - first.monotonic >= FREQUENCY
    check_attempts_are_counted(running, path)


@pytest.mark.parametrize(
    ("raises", "last_line"),
    [
        ("throw(ValueError('no such order'))", r"ValueError: no such order"),
        ("sys.exit(3)", r"SystemExit: 3"),
        ("throw(KeyboardInterrupt)", r"KeyboardInterrupt"),
    ],
)
def test_an_exception_is_logged_with_its_traceback_and_tried_again_later(
    project: Project, running: Daemon, raises: str, last_line: str
) -> None:
    path = submit(project, "bare", does=raises)
    running.wait_log(rf"ERROR task failed task={path.name} .*attempt=1 again_s={FREQUENCY}")
    running.wait_log(r"^    Traceback \(most recent call last\):$")
    running.wait_log(r'^      File ".*tasks\.py", line \d+, in handler$')
    running.wait_log(rf"^    {last_line}$")
    first, second = runs_of(project, path, 2)
    assert second.monotonic - first.monotonic >= FREQUENCY
    assert first.pid == second.pid, "an exception must not end the worker"
    check_attempts_are_counted(running, path)


@pytest.mark.parametrize(
    ("dies", "how"),
    [
        ("os._exit(7)", "exited with status 7"),
        ("die(signal.SIGKILL)", "was killed by signal 9"),
        ("segfault()", "was killed by signal 11"),
    ],
)
def test_a_dead_worker_is_replaced_and_its_task_tried_again_later(
    project: Project, running: Daemon, dies: str, how: str
) -> None:
    path = submit(project, "bare", does=dies)
    running.wait_log(rf"task failed: its worker {how} task={path.name} .*attempt=1")
    running.wait_log(rf"worker {how}; replacing it pid=\d+")
    first, second = runs_of(project, path, 2)
    assert second.monotonic - first.monotonic >= FREQUENCY
    assert first.pid != second.pid
    wait_gone(submit(project, "bare", does="uwsgi.SPOOL_OK"))
    check_attempts_are_counted(running, path)


def test_new_submissions_do_not_rerun_a_failed_task_early(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", HANDLER)
    running = daemon(
        *("--spooler", project.spool, "--spooler-import", "tasks"),
        *("--spooler-frequency", "1.5"),
    )
    failing = submit(project, "bare", does="throw(ValueError)")
    ignored = submit(project, "bare", does="uwsgi.SPOOL_IGNORE")
    running.wait_log("task failed")
    running.wait_log("task ignored by its handler")
    for _ in range(20):
        path = submit(project, "bare", does="uwsgi.SPOOL_OK")
        runs_of(project, path, 1)
    for path in (failing, ignored):
        first, second = runs_of(project, path, 2)
        assert second.monotonic - first.monotonic >= 1.5


@pytest.mark.parametrize("then", ["uwsgi.SPOOL_OK", "uwsgi.SPOOL_RETRY", "throw(ValueError)"])
def test_a_task_may_delete_its_own_file(project: Project, running: Daemon, then: str) -> None:
    path = submit(project, "bare", does=f"os.unlink(task.decode()) or {then}")
    wait_gone(path)
    # The next task runs in the same worker, and the file does not come back.
    first = project.events.wait("run")
    submit(project, "bare", does="uwsgi.SPOOL_OK")
    assert project.events.wait("run").pid == first.pid
    project.wait_empty()
