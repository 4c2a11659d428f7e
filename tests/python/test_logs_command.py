"""`unspool logs`: what the daemon told, from its memory, from a log file, or from records."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from factory import DaemonFactory
from harness import UNSPOOL, Daemon, LineReader, Project
from logfile import LogFile
from processes import WAIT_SECONDS_MAX
from spooling import Producer, call, submit

OK, FAILED, USAGE, NOTHING = 0, 1, 2, 3

TASKS = """
    from uwsgidecorators import spool
    from reporting import report

    @spool
    def works(arguments):
        report("works")

    @spool
    def fails(arguments):
        print("on the way")
        raise ValueError("no such order")

    @spool
    def other(arguments):
        report("other")
"""


def start(project: Project, daemon: DaemonFactory, *options: str) -> Daemon:
    project.write("tasks.py", TASKS)
    return daemon("--spooler", project.spool, "--spooler-import", "tasks", *options)


def logs(project: Project, *options: str | Path) -> list[dict[str, Any]]:
    """The lines of `unspool logs --json`."""
    done = project.unspool("logs", "--json", *options)
    return [json.loads(line) for line in done.stdout.splitlines()]


def names(lines: list[dict[str, Any]]) -> list[str]:
    """The events of lines, those without a name left out."""
    return [line["event"] for line in lines if "event" in line]


def task_id(line: str) -> str:
    """The end of the id that a line for people shows."""
    return line.rpartition(" id=")[2].strip()


class Follower:
    """`unspool logs -f`, with what it prints."""

    def __init__(self, project: Project, *options: str) -> None:
        self.process = subprocess.Popen(
            [UNSPOOL, "logs", "-f", *options],
            cwd=project.root,
            env=project.producer_env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        self.out = LineReader(self.process.stdout, "output", "stdout of logs")
        self.err = LineReader(self.process.stderr, "log", "stderr of logs")

    def wait(self, pattern: str) -> None:
        """Waits for a line."""
        assert self.out.wait(pattern, WAIT_SECONDS_MAX, 0), (pattern, self.out.lines)

    def close(self) -> None:
        """Kills it."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def follow(project: Project) -> Iterator[Any]:
    """Starts followers, and ends them with the test."""
    started: list[Follower] = []

    def begin(*options: str) -> Follower:
        started.append(Follower(project, *options))
        return started[-1]

    yield begin
    for follower in started:
        follower.close()


def test_a_daemon_gives_what_it_told_so_far(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    submit(project, "works")
    told = running.wait_log("task done").string
    done = project.unspool("logs")
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    # The same lines, in the same words.
    assert told in lines
    assert next(line for line in running.log if "unspool is ready" in line) in lines
    last = project.unspool("logs", "-n", "1").stdout.splitlines()
    assert last == [told]
    assert names(logs(project))[-1] == "task.finished"


def test_lines_are_chosen_by_level_function_and_time(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon)
    submit(project, "works")
    submit(project, "other")
    submit(project, "fails")
    running.wait_log("task failed")
    running.wait_log("function=works")
    running.wait_log("function=other")
    assert names(logs(project, "--level", "error")) == ["task.failed"]
    assert names(logs(project, "--func", "works")) == ["task.finished"]
    assert names(logs(project, "--func", "fails", "--level", "info")) == ["task.failed"]
    whole = logs(project)
    assert logs(project, "--since", "1h") == whole
    assert logs(project, "--since", str(whole[-1]["unix"])) == whole[-1:]
    assert logs(project, "--since", whole[-1]["time"]) == whole[-1:]
    assert logs(project, "--since", "2100-01-01 00:00") == []
    for wrong in (
        ["--level", "loud"], ["--since", "soon"], ["--since", "nan"], ["--since", "inf"],
        ["--since", "1e300"],
    ):  # fmt: skip
        done = project.unspool("logs", *wrong, check=False)
        assert done.returncode == USAGE and wrong[1] in done.stderr


def test_one_task_is_asked_about_after_its_records(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    works = submit(project, "works")
    failing = submit(project, "fails")
    short = task_id(running.wait_log("task done").string)
    running.wait_log("task failed")
    # One that is done is known by the log alone.
    assert names(logs(project, short)) == ["task.finished"]
    assert names(logs(project, works.name)) == ["task.finished"]
    # One that failed: its record says more than the line that it replaces.
    lines = logs(project, failing)
    assert names(lines) == ["task.failed"]
    assert lines[0]["error"] == "ValueError: no such order"
    assert lines[0]["output"] == "on the way\n"
    assert lines[0]["detail"].startswith("Traceback")
    shown = project.unspool("logs", str(failing)).stdout
    assert "    | on the way\n" in shown and "    ValueError: no such order\n" in shown
    done = project.unspool("logs", "0123456789", check=False)
    assert done.returncode == NOTHING and done.stdout == ""


def test_it_follows_and_ends_with_the_daemon(
    project: Project, daemon: DaemonFactory, follow: Any
) -> None:
    running = start(project, daemon)
    every, one = follow(), follow("--func", "works", "--json")
    every.wait("unspool is ready")
    submit(project, "other")
    every.wait("task done .*function=other")
    submit(project, "works")
    one.wait('"task.finished"')
    assert names([json.loads(line) for line in one.out.lines]) == ["task.finished"]
    running.stop()
    every.wait("stopped")
    assert every.process.wait(WAIT_SECONDS_MAX) == OK
    assert every.err.wait("daemon with pid", WAIT_SECONDS_MAX, 0)


def test_a_slow_reader_loses_lines_and_the_daemon_none(
    project: Project, daemon: DaemonFactory, follow: Any
) -> None:
    running = start(project, daemon, "--spooler-processes=2")
    slow = follow()
    slow.wait("unspool is ready")
    os.kill(slow.process.pid, signal.SIGSTOP)
    with Producer(project) as producer:
        # More than the daemon keeps.
        producer.many([call("other")] * 12_000)
    project.wait_empty(120)
    mark = running.mark()
    submit(project, "works")
    running.wait_log("function=works", since=mark)
    os.kill(slow.process.pid, signal.SIGCONT)
    assert slow.err.wait(r"\d+ lines were not read in time", WAIT_SECONDS_MAX, 0)
    slow.wait("function=works")


def test_the_number_of_followers_is_bounded(
    project: Project, daemon: DaemonFactory, follow: Any
) -> None:
    running = start(project, daemon)
    for _ in range(16):
        follow().wait("unspool is ready")
    more = follow()
    assert more.process.wait(WAIT_SECONDS_MAX) == FAILED
    assert more.err.wait("16 others follow the log already", WAIT_SECONDS_MAX, 0)
    submit(project, "works")
    running.wait_log("task done")


def test_without_a_daemon_the_log_file_is_read(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", TASKS)
    for form in ("unspool", "json"):
        log = project.root / f"{form}.log"
        ini = project.write(
            f"{form}.ini",
            f"""
            [uwsgi]
            spooler = {project.spool}
            spooler-import = tasks
            spooler-log-format = {form}
            logto = {log}
            """,
        )
        running = daemon(ini, ready=False)
        failing = submit(project, "fails")
        works = submit(project, "works")
        written = LogFile(log)
        written.wait("task failed")
        written.wait("task done")
        running.stop()
        env = {key: value for key, value in project.producer_env.items() if key != "UNSPOOL_SPOOL"}
        done = project.unspool("logs", "--config", ini, env=env)
        assert str(log) in done.stderr
        assert "unspool is ready" in done.stdout and "ValueError" in done.stdout
        worse = project.unspool("logs", "--config", ini, "--level", "error", env=env).stdout
        assert "ValueError: no such order" in worse and "ready" not in worse
        one = project.unspool("logs", "--config", ini, works.name, env=env).stdout
        assert "task done" in one and failing.name not in one
        failing.unlink(missing_ok=True)


def test_without_a_log_file_records_are_shown(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    failing = submit(project, "fails")
    running.wait_log("task failed")
    running.stop()
    done = project.unspool("logs")
    assert "no daemon gives its log" in done.stderr
    assert "only recorded attempts" in done.stderr
    assert failing.name in done.stdout and "ValueError: no such order" in done.stdout
    done = project.unspool("logs", "-f", check=False)
    assert done.returncode == FAILED and "nothing to follow" in done.stderr


def test_nothing_of_a_task_commands_the_terminal(project: Project, daemon: DaemonFactory) -> None:
    project.write(
        "tasks.py",
        r"""
        from uwsgidecorators import spool

        @spool
        def shout(args):
            print("\x1b]0;printed\x07")
            raise ValueError("\x1b[2J\x9b2J \u202e")
        """,
    )
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    submit(project, "shout")
    running.wait_log("ValueError")
    assert not [line for line in running.log if "\x1b" in line or "\u202e" in line]
    kept = project.unspool("logs").stdout
    running.stop()
    for text in (kept, project.unspool("logs").stdout, project.unspool("ls").stdout):
        assert "ValueError" in text
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text), text


def test_a_reader_that_goes_is_no_error(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    with Producer(project) as producer:
        producer.many([call("other")] * 1000)
    project.wait_empty()
    running.wait_log("unspool is ready")
    done = project.run("sh", "-c", f"{UNSPOOL} logs | head -n 1; exit ${{PIPESTATUS:-0}}")
    assert len(done.stdout.splitlines()) == 1 and done.stderr == ""


def test_lines_of_several_daemons_are_in_the_order_of_time(
    project: Project, daemon: DaemonFactory
) -> None:
    first = start(project, daemon)
    second = start(project, daemon)
    # In turns: none of them is the last of all.
    for running in (first, second, first, second):
        mark = running.mark()
        running.send(signal.SIGHUP)
        running.wait_log("worker left", since=mark)
    lines = logs(project)
    assert names(lines).count("worker.left") == 4
    times = [line["unix"] for line in lines]
    assert times == sorted(times)
    assert logs(project, "-n", "7") == lines[-7:]


def test_the_configuration_counts_beside_a_path(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", TASKS)
    log = project.root / "app.log"
    spool = f"spooler = {project.spool}\nspooler-import = tasks\n"
    ini = project.write("app.ini", f"[uwsgi]\n{spool}logto = {log}\n")
    running = daemon(ini, ready=False)
    failing = submit(project, "fails")
    LogFile(log).wait("task failed")
    running.stop()
    done = project.unspool("logs", "--config", ini, str(failing))
    assert f"these lines are `{log}`" in done.stderr
    assert "ValueError: no such order" in done.stdout


def test_a_reader_that_goes_ends_it_without_another_line(
    project: Project, daemon: DaemonFactory
) -> None:
    running = [start(project, daemon)]
    for _ in range(2):
        follower = subprocess.Popen(
            [UNSPOOL, "logs", "-f"], env=project.producer_env, stdout=subprocess.PIPE
        )
        assert follower.stdout is not None
        while b"unspool is ready" not in follower.stdout.readline():
            pass
        follower.stdout.close()
        # Nothing is told meanwhile.
        assert follower.wait(WAIT_SECONDS_MAX) == OK
        running.append(start(project, daemon))


def test_a_part_that_may_mean_several_tasks_that_are_done(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon)
    tasks = [submit(project, "works") for _ in range(2)]
    for task in tasks:
        running.wait_log(f"task done .*{task.name}")
    done = project.unspool("logs", "_on_", check=False)
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert "`_on_` names 2 tasks, among them" in done.stderr and tasks[0].name in done.stderr
    # The beginning of an id is its time.
    ids = [line["id"] for line in logs(project) if line.get("event") == "task.finished"]
    assert project.unspool("logs", ids[0][:5], check=False).returncode == USAGE
    for task, part in zip(tasks, ids, strict=True):
        assert [line["task"] for line in logs(project, part[-8:])] == [task.name]
        assert [line["task"] for line in logs(project, task.name)] == [task.name]
