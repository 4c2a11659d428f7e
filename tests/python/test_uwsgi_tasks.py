"""uwsgi-tasks 0.7.3 from PyPI, unchanged: its tasks, submitted by a process and run by the daemon.

Its own tests are run in tests/interop, beside the real uWSGI.
"""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path

import pytest
import taskfile
from factory import DaemonFactory
from harness import Project, wait_gone

MODULE = """
    import os
    from datetime import datetime, timedelta
    from reporting import report
    from uwsgi_tasks import (RetryTaskException, SPOOL_IGNORE, SPOOL_OK, SPOOL_RETRY, TaskExecutor,
                             get_current_task, task)

    @task
    def automatic(*args, **kwargs):
        report("ran", args=args, kwargs=kwargs, cwd=os.getcwd())

    @task(executor=TaskExecutor.SPOOLER)
    def spooled(*args, **kwargs):
        report("ran", args=args, kwargs=kwargs, cwd=os.getcwd())
        return "whatever"

    @task(executor=TaskExecutor.SPOOLER)
    def large(text, binary=b""):
        report("ran", text=(len(text), set(text)), same=binary == bytes(range(256)) * 400)

    @task(executor=TaskExecutor.MULE)
    def for_a_mule(*args):
        report("ran", args=args)

    @task(executor=TaskExecutor.RUNTIME)
    def at_once(*args):
        report("ran", args=args)

    @task(executor=TaskExecutor.SPOOLER, working_dir=None)
    def stays():
        report("ran", cwd=os.getcwd())

    @task(executor=TaskExecutor.SPOOLER, working_dir="/")
    def elsewhere():
        report("ran", cwd=os.getcwd())

    @task(executor=TaskExecutor.SPOOLER, retry_count=3, retry_timeout=1)
    def by_result():
        report("ran", left=get_current_task().retry_count)
        return SPOOL_RETRY

    @task(executor=TaskExecutor.SPOOLER, retry_count=2, retry_timeout=timedelta(seconds=1))
    def by_exception():
        current = get_current_task()
        report("ran", left=current.retry_count, buffer=dict(current.buffer))
        current.buffer["seen"] = current.buffer.get("seen", 0) + 1
        raise RetryTaskException()

    @task(executor=TaskExecutor.SPOOLER, retry_count=2)
    def asks_for_more():
        current = get_current_task()
        seen = current.buffer.get("seen", 0)
        report("ran", seen=seen, left=current.retry_count)
        current.buffer["seen"] = seen + 1
        if seen == 0:
            raise RetryTaskException(count=4, timeout=1)

    @task(executor=TaskExecutor.SPOOLER)
    def fails():
        report("ran")
        raise ZeroDivisionError

    @task(executor=TaskExecutor.SPOOLER, spooler_return=True)
    def returns():
        seen = os.path.exists("seen")
        open("seen", "w").close()
        report("ran", seen=seen)
        return SPOOL_OK if seen else SPOOL_RETRY

    @task(executor=TaskExecutor.SPOOLER, priority="5")
    def urgent(number):
        report("ran", number=number)

    @task(executor=TaskExecutor.SPOOLER)
    def ordinary(number):
        report("ran", number=number)
"""


@pytest.fixture
def application(project: Project) -> Project:
    project.write("jobs.py", MODULE)
    return project


def start(daemon: DaemonFactory, project: Project, *options: str) -> None:
    daemon("--spooler", project.spool, "--import", "jobs", "--spooler-frequency", "0.2", *options)


def submit(project: Project, call: str) -> Path:
    """Submits one task and returns its file, which no daemon may have taken yet."""
    before = set(project.tasks())
    project.python(f"import jobs\njobs.{call}")
    (path,) = set(project.tasks()) - before
    return path


@pytest.mark.parametrize("task", ["automatic", "spooled", "for_a_mule"])
def test_a_task_runs_in_the_spooler(application: Project, daemon: DaemonFactory, task: str) -> None:
    """Where there are no mules, a task for one goes to the spooler."""
    path = submit(application, f"{task}(1, 'two')")
    start(daemon, application)
    event = application.events.wait("ran")
    assert event["args"] == (1, "two")
    wait_gone(path)


def test_a_task_at_run_time_runs_in_its_caller(application: Project) -> None:
    printed = application.python("import os, jobs; jobs.at_once(1); print(os.getpid())").stdout
    event = application.events.wait("ran")
    assert (event["args"], event.pid) == ((1,), int(printed))
    assert application.tasks() == []


def test_without_a_spool_a_task_runs_in_its_caller_if_it_says_so(application: Project) -> None:
    application.python("import jobs; jobs.at_once(1)", env=application.env)
    assert application.events.wait("ran")["args"] == (1,)


def test_results_other_than_retry_are_done(application: Project, daemon: DaemonFactory) -> None:
    paths = [submit(application, "spooled()"), submit(application, "fails()")]
    start(daemon, application)
    application.events.collect(2, "ran")
    for path in paths:
        wait_gone(path)
    assert len(application.events.history) == 2


@pytest.mark.parametrize(
    ("task", "folder"), [("spooled", "."), ("stays", "spool"), ("elsewhere", "/")]
)
def test_the_working_directory(
    application: Project, daemon: DaemonFactory, task: str, folder: str
) -> None:
    submit(application, f"{task}()")
    start(daemon, application)
    expected = os.path.normpath(application.root / folder)
    assert application.events.wait("ran")["cwd"] == expected


def test_retries_by_the_result(application: Project, daemon: DaemonFactory) -> None:
    submit(application, "by_result()")
    start(daemon, application)
    runs = application.events.collect(3, "ran")
    application.wait_empty()
    assert [run["left"] for run in runs] == [3, 2, 1]
    assert len(application.events.history) == 3


def test_retries_by_an_exception_carry_the_buffer(
    application: Project, daemon: DaemonFactory
) -> None:
    submit(application, "by_exception()")
    start(daemon, application)
    first, second = application.events.collect(2, "ran")
    application.wait_empty()
    assert [(run["left"], run["buffer"]) for run in (first, second)] == [(2, {}), (1, {"seen": 1})]
    # uwsgi-tasks cuts the time to whole seconds.
    assert 0 < second.time - first.time < 10
    assert len(application.events.history) == 2


def test_the_exception_may_ask_for_other_numbers(
    application: Project, daemon: DaemonFactory
) -> None:
    submit(application, "asks_for_more()")
    start(daemon, application)
    runs = application.events.collect(2, "ran")
    application.wait_empty()
    assert [(run["seen"], run["left"]) for run in runs] == [(0, 2), (1, 3)]


def test_the_daemon_may_be_given_the_result(application: Project, daemon: DaemonFactory) -> None:
    path = submit(application, "returns()")
    start(daemon, application)
    runs = application.events.collect(2, "ran")
    wait_gone(path)
    assert [run["seen"] for run in runs] == [False, True]


DELAYED = """
    import time, jobs
    from datetime import datetime, timedelta
    now = int(time.time())
    jobs.spooled.setup['at'] = AT
    jobs.spooled(now + 86400)
"""


@pytest.mark.parametrize(
    "at",
    ["now + 86400", "timedelta(days=1)", "datetime.utcfromtimestamp(now + 86400)"],
    ids=["int", "timedelta", "datetime"],
)
def test_a_delayed_task_is_due_at_its_time(application: Project, at: str) -> None:
    application.python(DELAYED.replace("AT", at))
    (path,) = application.tasks()
    due = int(dict(taskfile.read(path).pairs)[b"at"])
    assert path.stat().st_mtime_ns == due * 10**9
    wanted: tuple[int] = pickle.loads(dict(taskfile.read(path).pairs)[b"args"])
    assert abs(due - wanted[0]) <= 1


def test_a_delayed_task_runs(application: Project, daemon: DaemonFactory) -> None:
    start(daemon, application)
    application.python(DELAYED.replace("86400", "1").replace("AT", "timedelta(seconds=1)"))
    event = application.events.wait("ran")
    assert event.time >= event["args"][0]


def test_a_message_of_more_than_64_kib_arrives(application: Project, daemon: DaemonFactory) -> None:
    path = submit(application, "large('x' * 200_000, binary=bytes(range(256)) * 400)")
    assert re.search(rb"x{200000}", path.read_bytes())
    start(daemon, application)
    event = application.events.wait("ran")
    assert (event["text"], event["same"]) == ((200_000, {"x"}), True)
    application.wait_empty()


def test_priorities_hold(application: Project, daemon: DaemonFactory) -> None:
    application.python("import jobs\njobs.ordinary(1)\njobs.urgent(2)\njobs.urgent(3)")
    assert [path.parent.name for path in application.tasks()] == ["5", "5", "spool"]
    start(daemon, application)
    assert [event["number"] for event in application.events.collect(3, "ran")] == [2, 3, 1]


def test_an_integer_priority_is_taken(application: Project, daemon: DaemonFactory) -> None:
    """uWSGI refuses it."""
    application.python("import jobs\njobs.urgent.setup['priority'] = 7\njobs.urgent(1)")
    (path,) = application.tasks()
    assert path.parent.name == "7"
    start(daemon, application)
    assert application.events.wait("ran")["number"] == 1


def test_timers_and_crons_are_armed(application: Project, daemon: DaemonFactory) -> None:
    application.write(
        "ticks.py",
        """
        from reporting import report
        from uwsgi_tasks import cron, timer, timer_lazy

        @timer(seconds=1, iterations=1)
        def once(signum):
            report("ticked", by="once")

        @timer(seconds=1)
        def often(signum):
            report("ticked", by="often")

        @cron(minute=-1)
        def every_minute(signum): pass
        """,
    )
    daemon("--spooler", application.spool, "--import", "ticks")
    seen = {event["by"] for event in application.events.collect(3, "ticked")}
    assert seen == {"once", "often"}


LAZY = """
    from reporting import report
    from uwsgi_tasks import SPOOL_OK, TaskExecutor, cron_lazy, task, timer_lazy

    @timer_lazy(seconds=1)
    def lazy_timer(signum):
        report("ticked", by="timer")

    @timer_lazy(seconds=1, iterations=2)
    def lazy_rounds(signum):
        report("ticked", by="rounds")

    @cron_lazy(minute=-1)
    def lazy_cron(signum):
        report("ticked", by="cron")

    @task(executor=TaskExecutor.SPOOLER)
    def arm(name):
        globals()[name]()
        report("armed")
"""


@pytest.mark.parametrize(("name", "by"), [("lazy_timer", "timer"), ("lazy_rounds", "rounds")])
def test_a_lazy_timer_is_armed_by_a_task(
    application: Project, daemon: DaemonFactory, name: str, by: str
) -> None:
    application.write("lazy.py", LAZY)
    daemon("--spooler", application.spool, "--import", "lazy")
    application.python(f"import lazy; lazy.arm({name!r})")
    application.events.wait("armed")
    assert [event["by"] for event in application.events.collect(2, "ticked")] == [by, by]


@pytest.mark.slow
def test_a_lazy_cron_is_armed_by_a_task(application: Project, daemon: DaemonFactory) -> None:
    application.write("lazy.py", LAZY)
    daemon("--spooler", application.spool, "--import", "lazy")
    application.python("import lazy; lazy.arm('lazy_cron')")
    armed = application.events.wait("armed")
    ticked = application.events.wait("ticked", timeout=70)
    # It is registered at run time: handled by the process that did.
    assert ticked.pid == armed.pid and ticked.time % 60 < 5
