"""Attempts that fail: counted, recorded, put off ever longer, and after the limit buried."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest
from factory import DaemonFactory
from harness import Daemon, Project, wait_gone
from spooling import ATTEMPTS_OFFSET, attempts, submit

TASKS = """
    import logging
    import os
    import signal
    import sys

    import uwsgi
    from reporting import report
    from uwsgidecorators import spool, spoolforever, spoolraw

    log = logging.getLogger("shop")

    @spool
    def fails(arguments):
        report("run", pid=os.getpid())
        print("on the way", flush=True)
        print("to the error", file=sys.stderr)
        raise ValueError("no such order: %s" % arguments.get("order"))

    @spool
    def dies(arguments):
        report("run", pid=os.getpid())
        print("last words")
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()

    @spool
    def crashes(arguments):
        report("run")
        print("before the crash")
        os.kill(os.getpid(), signal.SIGSEGV)
        signal.pause()

    @spool
    def fails_once(arguments):
        report("run")
        marker = os.path.join(os.environ["UNSPOOL_TEST_ROOT"], "failed")
        if not os.path.exists(marker):
            open(marker, "w").close()
            raise ValueError("the first time")

    @spoolraw
    def again(arguments):
        report("run")
        return uwsgi.SPOOL_RETRY

    @spoolforever
    def forever(arguments):
        report("run")

    @spool
    def logs(arguments):
        logging.getLogger().addHandler(logging.FileHandler("/dev/null"))
        log.error("ordered %s", arguments["order"])
        raise ValueError("with a log")

    @spool
    def silent(arguments):
        raise ValueError("without a word")

    @spool(max_attempts=1)
    def strict(arguments):
        report("run")
        raise ValueError("once is enough")
"""


def start(project: Project, daemon: DaemonFactory, *options: str, frequency: str = "0.1") -> Daemon:
    project.write("tasks.py", TASKS)
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    return daemon(*spool, "--spooler-frequency", frequency, *options)


def dead(path: Path) -> Path:
    """Where a task goes that is given up."""
    return path.parent / "dead" / path.name


def record(path: Path) -> list[dict[str, Any]]:
    """The record of a buried task."""
    text = (path.parent / "dead" / f"attempts.{path.name}").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def pending_record(path: Path) -> Path:
    return path.parent / ".unspool" / "attempts" / path.name


def wait_buried(running: Daemon, path: Path) -> None:
    running.wait_log(rf"task given up: .*task={path.name}.* moved_to=.*/dead/{path.name}$")
    assert not path.exists()


def test_after_the_limit_a_task_is_buried_with_the_record_of_its_attempts(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, "--spooler-max-attempts", "3")
    path = submit(project, "fails", order="7")
    content = bytearray(path.read_bytes())
    # The first attempt may have failed by now.
    content[ATTEMPTS_OFFSET] = 0
    wait_buried(running, path)
    assert len([event for event in project.events.history if event.name == "run"]) == 3
    assert dead(path).read_bytes() == content, "moved back, it runs like a new one"
    found = record(path)
    assert [attempt["attempt"] for attempt in found] == [1, 2, 3]
    for attempt in found:
        assert attempt["outcome"] == "exception"
        assert attempt["error"] == "ValueError: no such order: 7"
        assert attempt["traceback"].startswith("Traceback (most recent call last):\n")
        assert "in fails" in attempt["traceback"]
        assert attempt["output"] == "on the way\nto the error\n"
        assert attempt["function"] == "fails"
        assert attempt["pid"] == project.events.history[0].fields["pid"]
        assert attempt["host"] == os.uname().nodename
        assert 0 < attempt["duration"] < 10
        assert attempt["peak_rss"] > 1 << 20
    for earlier, later in itertools.pairwise(found):
        assert earlier["again_at"] - earlier["at"] == pytest.approx(0.1, abs=0.01)
        assert later["at"] >= earlier["again_at"]
    assert "again_at" not in found[-1]
    assert not pending_record(path).exists()


def test_a_buried_task_that_is_moved_back_has_all_its_attempts_again(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, "--spooler-max-attempts", "2")
    path = submit(project, "fails", order="7")
    wait_buried(running, path)
    mark = len(running.log)
    dead(path).rename(path)
    running.wait_log(rf"task given up: 2 attempts failed .*{path.name}", since=mark)
    assert [attempt["attempt"] for attempt in record(path)] == [1, 2, 1, 2]


@pytest.mark.parametrize(("function", "signal"), [("dies", 9), ("crashes", 11)])
def test_deaths_have_a_limit_of_their_own(
    project: Project, daemon: DaemonFactory, function: str, signal: int
) -> None:
    running = start(project, daemon, "--spooler-max-deaths", "2")
    path = submit(project, function)
    wait_buried(running, path)
    assert running.wait_log("task given up: 2 of its workers died")
    first, second = record(path)
    for attempt in (first, second):
        assert attempt["outcome"] == "died"
        assert attempt["error"] == f"its worker was killed by signal {signal}"
        assert (
            attempt["output"] == {"dies": "last words\n", "crashes": "before the crash\n"}[function]
        )
        assert attempt["peak_rss"] > 1 << 20
        assert attempt["duration"] > 0
    assert first["pid"] != second["pid"]
    if function == "crashes":
        assert "Segmentation fault" in first["traceback"]
        assert "in crashes" in first["traceback"]


def test_a_task_that_succeeds_in_the_end_leaves_nothing(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon)
    path = submit(project, "fails_once")
    running.wait_log("task failed .*attempt=1")
    running.wait_log(rf"task done task={path.name}")
    wait_gone(path)
    wait_gone(pending_record(path))
    assert not (project.spool / "dead").exists()


def test_the_record_of_a_task_that_waits_for_another_attempt_can_be_read(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, frequency="60")
    path = submit(project, "fails", order="8")
    running.wait_log("task failed .*attempt=1 again_s=60")
    (attempt,) = [json.loads(line) for line in pending_record(path).read_text().splitlines()]
    assert attempt["error"] == "ValueError: no such order: 8"
    assert attempt["again_at"] == pytest.approx(path.stat().st_mtime, abs=0.01)
    assert attempts(path) == 1
    assert pending_record(path).stat().st_mode & 0o777 == 0o600


def test_from_the_fifth_attempt_on_the_delay_doubles(
    project: Project, daemon: DaemonFactory
) -> None:
    options = ("--spooler-max-attempts", "8", "--spooler-backoff-max", "0.4")
    running = start(project, daemon, *options)
    path = submit(project, "fails", order="9")
    wait_buried(running, path)
    delays = [attempt["again_at"] - attempt["at"] for attempt in record(path)[:-1]]
    assert delays[:4] == pytest.approx([0.1] * 4, abs=0.01)
    assert 0.14 <= delays[4] <= 0.26, "twice as long, and up to a quarter more or less"
    assert 0.29 <= delays[5] <= 0.41
    assert 0.29 <= delays[6] <= 0.41, "no longer than the maximum"


def test_a_task_that_asks_to_run_again_does_so_for_ever_unless_a_limit_is_set(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, frequency="0.02")
    path = submit(project, "again")
    endless = submit(project, "forever")
    project.events.collect(60, "run")
    assert running.stop() == 0
    assert attempts(path) == attempts(endless) == 0
    assert not pending_record(path).exists()
    limited = start(project, daemon, "--spooler-max-retries", "3", frequency="0.02")
    wait_buried(limited, path)
    assert limited.wait_log(rf"task given up: it asked 3 times .*{path.name}")
    assert [attempt["outcome"] for attempt in record(path)] == ["retry"] * 3


def test_what_the_application_logs_elsewhere_is_in_the_record(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, "--spooler-max-attempts", "1")
    logged = submit(project, "logs", order="10")
    silent = submit(project, "silent")
    for path in (logged, silent):
        wait_buried(running, path)
    assert record(logged)[0]["output"] == "ERROR shop: ordered 10\n"
    assert "output" not in record(silent)[0], "what another task printed is not its own"


def test_a_task_may_ask_for_limits_of_its_own(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    for path in (
        submit(project, "fails", "--max-attempts", "2", order="11"),
        submit(project, "dies", "--max-deaths", "1"),
        submit(project, "again", "--max-retries", "2"),
    ):
        wait_buried(running, path)
    path = submit(project, "fails", "--retry-delay", "30", order="12")
    running.wait_log(rf"task failed task={path.name} .*again_s=30")


@pytest.mark.parametrize("how", ["decorator", "using", "spool"])
def test_a_task_asks_for_itself_from_python(
    project: Project, daemon: DaemonFactory, how: str
) -> None:
    running = start(project, daemon)
    call = {
        "decorator": "import tasks; print(tasks.strict.spool(order='1').decode())",
        "using": "import tasks; print(tasks.fails.using(max_attempts=1).spool(order='1').decode())",
        "spool": "import unspool; print(unspool.spool({'ud_spool_func': 'fails', 'order': '1', "
        "'ud_spool_ret': '-2'}, options={'max_attempts': 1}).decode())",
    }[how]
    path = Path(project.python(call, env=project.producer_env).stdout.strip())
    wait_buried(running, path)
    assert running.wait_log(rf"task given up: 1 attempt failed task={path.name}")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"max_attempt": 3},
            "there is no task option 'max_attempt'; task options are max_attempts",
        ),
        ({"max_attempts": 256}, "max_attempts is 256: a task has 255 attempts at most"),
        ({"max_attempts": "3"}, "max_attempts is a str: give a whole number"),
        ({"retry_delay": -1}, "retry_delay is -1: give seconds, from 0 to a hundred years"),
        ({"expires": "soon"}, "expires is a str: give seconds"),
        ({"durability": "some"}, "unknown durability `some`: use `none`, `file` or `group`"),
    ],
)
def test_options_that_make_no_sense_are_refused_where_they_are_written(
    project: Project, options: dict[str, object], problem: str
) -> None:
    code = f"from uwsgidecorators import spool\n@spool(**{options!r})\ndef f(arguments): pass\n"
    failed = project.python(code, env=project.producer_env, check=False)
    assert failed.returncode == 1
    assert problem in failed.stderr


def test_a_record_without_room_is_a_logged_loss_of_the_record_alone(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, "--spooler-max-attempts", "2")
    (project.spool / ".unspool" / "attempts").write_text("in the way")
    path = submit(project, "fails", order="13")
    assert running.wait_log("cannot write the record of an attempt; the task is not affected")
    wait_buried(running, path)
    assert dead(path).exists()


def test_a_task_that_cannot_be_moved_to_dead_stays_and_does_not_run(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, "--spooler-max-attempts", "1")
    (project.spool / "dead").write_text("in the way")
    path = submit(project, "fails", order="14")
    running.wait_log("cannot be moved to dead/: it stays, and does not run")
    assert attempts(path) == 1
    # A new start tries again, and does not run it before.
    assert running.stop() == 0
    (project.spool / "dead").unlink()
    os.utime(path)
    again = start(project, daemon, "--spooler-max-attempts", "1")
    wait_buried(again, path)
    assert len([event for event in project.events.history if event.name == "run"]) == 1
