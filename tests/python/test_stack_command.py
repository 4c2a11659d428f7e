"""`unspool stack`: what a running task does, with the real daemon and real workers."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from factory import DaemonFactory
from harness import UNSPOOL, Daemon, Event, Project, wait_gone
from processes import ProcessHandle, wait_ended
from spooling import submit

OK, FAILED, USAGE, NOTHING, HELD = 0, 1, 2, 3, 4

# The signal that asks a worker, as docs/design/worker-protocol.md has it.
STACK_SIGNAL = signal.SIGRTMIN + 7

MODULE = """
    import fcntl
    import os
    import re
    import signal
    import threading
    import time

    from uwsgidecorators import spool
    from reporting import pause, report

    STACK_SIGNAL = signal.SIGRTMIN + 7

    def outer(args, wait):
        report("began")
        wait()

    @spool
    def gated(args):
        outer(args, lambda: pause("gate"))
        report("done")

    @spool
    def sleep(args):
        started = time.monotonic()
        report("began")
        time.sleep(1)
        report("done", slept=time.monotonic() - started)

    @spool
    def busy(args):
        report("began")
        while True:
            pass

    @spool
    def holds_the_lock(args):
        report("began")
        sum(range(10**15))

    @spool
    def matches(args):
        report("began")
        re.match(r"(a*)*b", "a" * 60)

    def in_a_thread():
        pause("gate")

    @spool
    def threads(args):
        thread = threading.Thread(target=in_a_thread, name="second \u00e9")
        thread.start()
        report("began")
        thread.join()
        report("done")

    def count():
        report("began")
        sum(range(10**15))

    @spool
    def threads_in_c(args):
        thread = threading.Thread(target=count)
        thread.start()
        thread.join()

    def grow(depth):
        return depth and grow(depth - 1)

    @spool
    def churn(args):
        ended = threading.Event()
        def work():
            while not ended.is_set():
                namespace = {}
                exec("def f(n): return n and f(n - 1)", namespace)
                namespace["f"](30), grow(30)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        report("began")
        pause("gate")
        ended.set()
        for thread in threads:
            thread.join()
        report("done")

    @spool
    def blocks(args):
        signal.pthread_sigmask(signal.SIG_BLOCK, {STACK_SIGNAL, STACK_SIGNAL + 1})
        report("began")
        pause("gate")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {STACK_SIGNAL, STACK_SIGNAL + 1})
        report("done")

    @spool
    def closes(args):
        os.closerange(800, 1000)
        # The number may be another file's now.
        fcntl.fcntl(os.open("own", os.O_WRONLY | os.O_CREAT), fcntl.F_DUPFD, 900)
        report("began")
        pause("gate")
        report("done", bytes=os.path.getsize("own"))

    @spool
    def takes_the_signal(args):
        signal.signal(STACK_SIGNAL, signal.SIG_DFL)
        report("began")
        pause("gate")
        report("done")

    @spool
    def forks(args):
        child = os.fork()
        if child == 0:
            report("child")
            pause("gate")
            os._exit(0)
        os.waitpid(child, 0)
        report("done")

    def tâche():
        pause("gate")

    @spool
    def named(args):
        outer(args, tâche)
        report("done")
"""


@pytest.fixture
def running(project: Project, daemon: DaemonFactory) -> Daemon:
    """A daemon with one worker."""
    project.write("tasks.py", MODULE)
    project.gate("gate")
    return daemon("--spooler", project.spool, "--spooler-import", "tasks")


def begin(project: Project, function: str, name: str = "began") -> tuple[Path, Event]:
    """A task that runs, and what it told as it began."""
    task = submit(project, function)
    return task, project.events.wait(name)


def stack(project: Project, task: str | Path) -> dict[str, Any]:
    answer = json.loads(project.unspool("stack", "--json", task).stdout)
    assert isinstance(answer, dict)
    return answer


def refused(project: Project, task: str | Path, status: int) -> str:
    done = project.unspool("stack", task, check=False)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    return done.stderr


def functions(thread: dict[str, Any]) -> list[str]:
    return [frame["function"] for frame in thread["frames"]]


def stack_file(pid: int) -> Path:
    """The file in memory that a worker writes to."""
    links = Path(f"/proc/{pid}/fd").iterdir()
    found = [link for link in links if "unspool-stack" in os.readlink(link)]
    assert len(found) == 1
    return found[0]


def test_a_task_that_waits_is_shown_and_goes_on(project: Project, running: Daemon) -> None:
    task, began = begin(project, "gated")
    answer = stack(project, task)
    assert (answer["path"], answer["function"], answer["pid"]) == (str(task), "gated", began.pid)
    assert answer["task"] == str(task) and answer["id"] and answer["process_state"] == "sleeping"
    assert 0 <= answer["running_s"] < 20
    (main,) = answer["threads"]
    # The most recent call last, as in a traceback.
    assert functions(main)[-4:] == ["gated", "outer", "<lambda>", "pause"]
    source = project.root / "tasks.py"
    lines = source.read_text().splitlines()
    frame = main["frames"][-3]
    assert (frame["file"], lines[frame["line"] - 1].strip()) == (str(source), "wait()")
    assert (main["id"], main["name"], answer["in_c"]) == (began.pid, "MainThread", False)
    assert answer["text"].index("in gated") < answer["text"].index("in outer")
    assert os.stat(stack_file(began.pid)).st_size == 0
    project.gate("gate").release()
    project.events.wait("done")
    wait_gone(task)
    assert running.workers == [began.pid]


def test_for_people(project: Project, running: Daemon) -> None:
    task, began = begin(project, "named")
    # By a part of its id.
    done = project.unspool("stack", stack(project, task)["id"][-8:])
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{task}: a task of `named`, id ")
    assert lines[1].startswith(f"Worker {began.pid} has run it for ")
    assert lines[1].endswith(", and is sleeping.")
    assert lines[2:4] == ["", f"Thread {began.pid} (MainThread) (most recent call last):"]
    assert lines[-2].endswith(", in tâche") and lines[-1].endswith(", in pause")
    project.gate("gate").release()


def test_a_call_of_the_system_goes_on(project: Project, running: Daemon) -> None:
    task, began = begin(project, "sleep")
    assert functions(stack(project, task)["threads"][0])[-1] == "sleep"
    done = project.events.wait("done")
    assert done.pid == began.pid and 1 <= done["slept"] < 15


@pytest.mark.parametrize(
    ("function", "in_c"), [("busy", False), ("holds_the_lock", True), ("matches", False)]
)
def test_a_task_that_holds_the_interpreter_lock(
    project: Project, running: Daemon, function: str, in_c: bool
) -> None:
    task, began = begin(project, function)
    # It may be between its report and the call.
    stack(project, task)
    for _ in range(3):
        answer = stack(project, task)
        (main,) = answer["threads"]
        assert function in functions(main) and main["id"] == began.pid
        assert (answer["pid"], answer["process_state"]) == (began.pid, "running")
        assert answer["in_c"] == in_c
    said = "Its main thread is in C code, and has not come back to Python"
    assert (said in project.unspool("stack", task).stdout) == in_c
    # It never ends by itself.
    running.kill_all()


def test_all_threads_are_shown(project: Project, running: Daemon) -> None:
    task, began = begin(project, "threads")
    main, other = stack(project, task)["threads"]
    # What `join` calls differs from Python to Python.
    assert functions(main)[functions(main).index("threads") :][:2] == ["threads", "join"]
    assert functions(other)[-2:] == ["in_a_thread", "pause"]
    assert (main["name"], other["name"]) == ("MainThread", "second é")
    assert main["id"] == began.pid != other["id"]
    project.gate("gate").release()
    project.events.wait("done")


def test_all_threads_are_shown_while_one_holds_the_lock(project: Project, running: Daemon) -> None:
    task, began = begin(project, "threads_in_c")
    answer = stack(project, task)
    main, other = answer["threads"]
    assert answer["in_c"] and main["id"] == began.pid
    assert "threads_in_c" in functions(main) and functions(other)[-1] == "count"
    running.kill_all()


def test_threads_that_run_python_survive_it(project: Project, running: Daemon) -> None:
    """A signal's handler that reads the stacks of other threads crashes within a thousand looks."""
    task, began = begin(project, "churn")
    for _ in range(40):
        answer = stack(project, task)
        assert len(answer["threads"]) == 5
        assert answer["pid"] == began.pid
    project.gate("gate").release()
    project.events.wait("done")


def test_several_may_ask_at_once(project: Project, running: Daemon) -> None:
    task, began = begin(project, "gated")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: stack(project, task), range(8)))
    for answer in answers:
        (main,) = answer["threads"]
        assert functions(main)[-1] == "pause"
    assert os.stat(stack_file(began.pid)).st_size == 0
    project.gate("gate").release()
    project.events.wait("done")


def test_a_child_of_the_task_does_not_mix_in(project: Project, running: Daemon) -> None:
    task, child = begin(project, "forks", "child")
    answer = stack(project, task)
    assert answer["pid"] != child.pid
    (main,) = answer["threads"]
    assert functions(main)[-1] == "forks"
    project.gate("gate").release()
    project.events.wait("done")


def test_a_task_that_does_not_run(project: Project, running: Daemon) -> None:
    delayed = submit(project, "gated", "--delay", "1000")
    told = refused(project, delayed, NOTHING)
    assert f"`{delayed}` does not run: it is delayed; `unspool why {delayed}` says more" in told
    assert "is not in" in refused(project, "12345678", NOTHING)
    _, began = begin(project, "gated")
    project.gate("gate").release()
    project.events.wait("done")
    # Of an idle worker nobody asks, and it is not disturbed.
    refused(project, delayed, NOTHING)
    assert running.workers == [began.pid]
    assert project.unspool("stack", check=False).returncode == USAGE


def test_a_worker_that_is_stopped_does_not_answer(project: Project, running: Daemon) -> None:
    task, began = begin(project, "gated")
    os.kill(began.pid, signal.SIGSTOP)
    told = refused(project, task, FAILED)
    assert "has not answered for 2 s: it is stopped" in told
    # It was asked once, however often one looks.
    refused(project, task, FAILED)
    os.kill(began.pid, signal.SIGCONT)
    answer = stack(project, task)
    assert len(answer["threads"]) == 1 and functions(answer["threads"][0])[-1] == "pause"
    project.gate("gate").release()
    project.events.wait("done")


def test_a_task_that_blocks_the_signal(project: Project, running: Daemon) -> None:
    task, began = begin(project, "blocks")
    assert "or blocks the signals" in refused(project, task, FAILED)
    project.gate("gate").release()
    assert project.events.wait("done").pid == began.pid


def test_a_task_that_takes_the_signal_is_not_killed_by_it(
    project: Project, running: Daemon
) -> None:
    task, began = begin(project, "takes_the_signal")
    assert "has taken the signals" in refused(project, task, HELD)
    project.gate("gate").release()
    assert project.events.wait("done").pid == began.pid


def test_nothing_is_written_to_a_file_that_has_the_number(
    project: Project, running: Daemon
) -> None:
    task, began = begin(project, "closes")
    assert "has closed descriptors" in refused(project, task, HELD)
    project.gate("gate").release()
    done = project.events.wait("done")
    assert (done.pid, done["bytes"]) == (began.pid, 0)


@contextmanager
def asking(project: Project, task: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [UNSPOOL, "stack", task], env=project.producer_env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_worker_that_is_killed_meanwhile(project: Project, running: Daemon) -> None:
    task, began = begin(project, "gated")
    with closing(ProcessHandle(began.pid)) as worker:
        worker.send(signal.SIGSTOP)
        with asking(project, task) as process:
            # It has been sent the signal, and cannot take it.
            bit = 1 << (STACK_SIGNAL - 1)
            deadline = time.monotonic() + 20
            while not pending(began.pid) & bit:
                assert time.monotonic() < deadline
            worker.send(signal.SIGKILL)
            out, error = process.communicate(timeout=20)
    assert (process.returncode, out) == (NOTHING, ""), error
    assert f"worker {began.pid} cannot be asked for its stack: it has ended meanwhile" in error


def pending(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd:")]
    return int(mask, 16)


def test_a_daemon_that_hangs_is_waited_for_once(project: Project, running: Daemon) -> None:
    task, began = begin(project, "gated")
    running.send(signal.SIGSTOP)
    asked = time.monotonic()
    answer = stack(project, task)
    took = time.monotonic() - asked
    assert answer["pid"] == began.pid and functions(answer["threads"][0])[-1] == "pause"
    # It may take 2 s, and was once asked four times for each of them.
    assert took < 3.5, took
    running.send(signal.SIGCONT)
    project.gate("gate").release()
    project.events.wait("done")


def test_a_worker_that_outlives_its_daemon(project: Project, running: Daemon) -> None:
    task, began = begin(project, "gated")
    running.kill()
    wait_ended(running.pid)
    answer = stack(project, task)
    assert answer["pid"] == began.pid and functions(answer["threads"][0])[-1] == "pause"
    assert 0 <= answer["running_s"] < 20
    project.gate("gate").release()
    project.events.wait("done")
    wait_gone(task)


def test_the_spool_of_the_task_is_found_among_several(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    project.gate("gate")
    ini = project.write("app.ini", "[uwsgi]\nspooler = other\nspooler = spool\nimport = tasks\n")
    daemon(ini)
    task, began = begin(project, "gated")
    done = project.unspool("stack", "--json", "--config", ini, task.name)
    assert json.loads(done.stdout)["pid"] == began.pid
    project.gate("gate").release()


def test_what_another_program_holds(project: Project, running: Daemon) -> None:
    task = submit(project, "gated", "--delay", "1000")
    with open(task, "r+b") as file:
        # As a real uWSGI does.
        fcntl.lockf(file, fcntl.LOCK_EX)
        told = refused(project, task, HELD)
    assert f"process {os.getpid()} (`python" in told and "is no worker of unspool" in told


@pytest.mark.skipif(os.geteuid() != 0, reason="not run: only root can become another user")
def test_who_may_not_look_is_told_who_may(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", MODULE)
    project.gate("gate")
    shared = ("--spooler-group", "daemon")
    daemon("--spooler", project.spool, "--spooler-import", "tasks", *shared)
    task, began = begin(project, "gated")
    # Where another user finds and may execute it.
    project.root.chmod(0o755)
    command = Path(shutil.copy(UNSPOOL, project.root / "unspool"))
    command.chmod(0o755)
    done = subprocess.run(
        [command, "stack", task], env=project.env, cwd="/", user="nobody", group="daemon",
        extra_groups=[], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (FAILED, ""), done.stderr
    assert (
        f"worker {began.pid} cannot be asked for its stack: only its user, `root`," in done.stderr
    )
    project.gate("gate").release()
    assert project.events.wait("done").pid == began.pid
