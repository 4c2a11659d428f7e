"""Cancelling: a pending task is removed, a running one is stopped, and neither ever runs again."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from everybody import USER, root_only
from factory import DaemonFactory
from harness import PYTHON, UNSPOOL, Daemon, Project, wait_gone, wait_present
from processes import WAIT_SECONDS_MAX, wait_ended
from spooling import (
    QUICK_OR_HELD,
    Producer,
    attempts,
    call,
    hand_ahead,
    stop_without_complaints,
    submit,
)

# Connections to a control socket.
CLIENTS_MAX = 64
REMOVED, GONE, HELD, FAILED, USAGE = 0, 3, 4, 1, 2

MODULE = """
    import collections
    import itertools
    import os
    import subprocess
    import time

    import unspool
    import uwsgi
    from uwsgidecorators import spool, spoolraw
    from reporting import pause, report

    @spool
    def mark(args):
        report("mark", id=args.get("id"))

    @spool
    def sleep(args):
        try:
            report("sleep")
            time.sleep(1000)
        except Exception:
            report("swallowed")
        finally:
            report("cleaned up")

    @spool
    def in_c(args):
        helper = subprocess.Popen(
            ["sleep", "1000"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        report("in C", helper=helper.pid)
        # One call that never looks for signals, and tells first that it runs.
        told = map(os.mkdir, [os.environ["UNSPOOL_TEST_ROOT"] + "/in C"])
        collections.deque(itertools.chain(told, itertools.repeat(None)), maxlen=0)

    @spoolraw
    def stubborn(args):
        try:
            report("stubborn")
            time.sleep(1000)
        except BaseException as error:
            report("caught", kind=type(error).__name__)
            if "gate" in args:
                pause("stubborn")
        if args["then"] == "raise":
            raise ValueError("broken by the cancellation")
        return int(args["then"])

    @spool
    def suicide(args):
        report("suicide")
        try:
            unspool.cancel(args["spooler_task_name"])
        except BaseException as error:
            report("told", kind=type(error).__name__)
            raise

    @spool
    def fail(args):
        report("fail")
        raise ValueError("as always")
"""


def start(project: Project, daemon: DaemonFactory, *options: str) -> Daemon:
    if not (project.root / "tasks.py").exists():
        project.write("tasks.py", MODULE)
    return daemon("--spooler", project.spool, "--import", "tasks", *options)


def cancel(project: Project, *arguments: str | Path, status: int = REMOVED) -> list[str]:
    """`unspool cancel`, which must end so; the words of its answer."""
    done = project.unspool("cancel", *arguments, check=False)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return [line.split(maxsplit=1)[0] for line in done.stdout.splitlines()]


def complaint(project: Project, *arguments: str | Path, status: int) -> str:
    done = project.unspool("cancel", *arguments, check=False)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done.stderr


def id_of(path: Path) -> str:
    """The id that stands in a file of ours."""
    return path.read_bytes().split(b"unspool1[id=", 1)[1][:32].decode()


def runs_another(project: Project) -> int:
    """Whether the spool goes on: the process that ran one more task."""
    submit(project, "mark", id="another")
    return project.events.wait(lambda e: e.name == "mark" and e["id"] == "another").pid


# Without a daemon.


def test_a_pending_task_is_removed_by_path_name_and_id(project: Project) -> None:
    first, second, third = (submit(project, "f") for _ in range(3))
    assert cancel(project, first) == ["removed"]
    assert cancel(project, second.name) == ["removed"]
    # The digits of the millisecond alone may mean another task of the same.
    assert cancel(project, id_of(third)[:20]) == ["removed"]
    assert project.tasks() == []
    assert cancel(project, first, second.name, status=GONE) == ["gone", "gone"]


def test_delayed_and_urgent_ones_are_pending_too(project: Project) -> None:
    delayed = submit(project, "f", "--delay", "1000")
    urgent = submit(project, "f", "--priority", "5")
    mail = submit(project, "f", "--priority", "mail")
    assert cancel(project, delayed, id_of(urgent), mail.name) == ["removed"] * 3
    assert project.tasks() == []
    assert cancel(project, urgent, f"5/{urgent.name}", status=GONE) == ["gone", "gone"]


def test_the_answer_as_json(project: Project) -> None:
    path = submit(project, "f")
    done = project.unspool("cancel", "--json", path, path, check=False)
    assert done.returncode == GONE
    assert json.loads(done.stdout) == {
        "tasks": [
            {"task": str(path), "path": str(path), "became": "removed"},
            {"task": str(path), "path": None, "became": "gone"},
        ]
    }


@pytest.mark.parametrize("folder", ["dead", "corrupt"])
def test_what_is_not_pending_is_left_alone(project: Project, folder: str) -> None:
    path = submit(project, "f")
    kept = project.spool / folder / path.name
    kept.parent.mkdir()
    path.rename(kept)
    for name in (path, path.name, kept, id_of(kept)):
        assert cancel(project, name, status=GONE) == [folder]
    assert kept.exists()


def test_an_id_that_is_not_enough_cancels_nothing(project: Project) -> None:
    paths = [submit(project, "f") for _ in range(2)]
    pairs = zip(*(id_of(path) for path in paths), strict=True)
    common = "".join(a for a, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    assert "names 2 tasks" in complaint(project, common, status=USAGE)
    assert project.tasks() == sorted(paths)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["odd"], "names no task"),
        (["nowhere/deep/uwsgi_spoolfile_on_x"], "names no task"),
        (["--grace", "-1", "TASK"], "unexpected argument|grace"),
        (["--grace=-1", "TASK"], "grace is -1"),
        (["--grace=nan", "TASK"], "grace is NaN"),
        ([], "required"),
    ],
)
def test_what_makes_no_sense_is_said(project: Project, arguments: list[str], says: str) -> None:
    path = submit(project, "f")
    arguments = [str(path) if argument == "TASK" else argument for argument in arguments]
    assert re.search(says, complaint(project, *arguments, status=USAGE))
    assert project.tasks() == [path]


def test_from_python(project: Project) -> None:
    done = project.python(
        """
        import pathlib
        import unspool

        def told(*arguments, **options):
            try:
                return unspool.cancel(*arguments, **options)
            except (TypeError, ValueError, unspool.CancelError) as error:
                return type(error).__name__

        first, second = unspool.spool(a=1), unspool.spool(a=2, priority=5)
        print(told(pathlib.Path(first.decode())), told(first.decode()))
        print(told(second.rpartition(b"/")[2]), told(second))
        print(told("odd"), told(3), told(first, grace=-1))
        """
    )
    assert done.stdout.splitlines() == [
        "removed gone",
        "removed gone",
        "ValueError TypeError gone",
    ]


@root_only
def test_who_may_not_is_told_so(project: Project) -> None:
    path = submit(project, "f")
    project.root.chmod(0o755)
    # Where it can be executed by another user.
    command = Path(shutil.copy(UNSPOOL, project.root / "unspool"))
    command.chmod(0o755)

    def try_it(*arguments: str | Path) -> str:
        done = subprocess.run(
            [command, "cancel", *arguments],
            env=project.env, user=USER, cwd="/", capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (FAILED, "")
        return done.stderr

    assert "Permission denied" in try_it(path)
    project.spool.chmod(0o755)
    (project.spool / ".unspool").chmod(0o755)
    assert "is not writable for uid" in try_it(path)
    for folder in (project.spool, project.spool / ".unspool"):
        folder.chmod(0o777)
    (project.spool / ".unspool" / "version").chmod(0o644)
    assert "which belongs to uid 0" in try_it(path)
    assert path.exists()


# With a daemon.


def test_a_task_that_a_daemon_knows_is_removed_and_forgotten(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon)
    delayed = submit(project, "mark", "--delay", "1", id="cancelled")
    assert cancel(project, delayed) == ["removed"]
    # Due after the other one was.
    submit(project, "mark", "--delay", "1.2", id="later")
    assert project.events.wait("mark")["id"] == "later"
    stop_without_complaints(running)


def test_a_task_that_waits_for_another_attempt_goes_with_its_record(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, "--spooler-frequency", "1000")
    path = submit(project, "fail")
    running.wait_log("task failed")
    record = wait_present(project.spool / ".unspool" / "attempts", path.name)
    assert cancel(project, path) == ["removed"]
    assert not record.exists()


def test_a_task_handed_out_ahead_is_taken_back(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", QUICK_OR_HELD)
    running = start(project, daemon)
    with Producer(project) as producer:
        first = hand_ahead(project, producer, 3)
        ahead = [path for path in project.tasks() if path != first.path]
        assert len(ahead) == 3
        assert cancel(project, ahead[1]) == ["removed"]
        project.gate("ahead").release()
        project.wait_empty()
    marks = [e["id"] for e in project.events.history if e.name == "mark"]
    assert [n for n in marks if n not in ("warm", "first")] == ["0", "2"]
    stop_without_complaints(running)


def test_a_running_task_is_told_and_ends(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    path = submit(project, "sleep")
    worker = project.events.wait("sleep").pid
    assert cancel(project, path) == ["stopped"]
    assert not path.exists()
    project.events.wait("cleaned up")
    running.wait_log(f"task cancelled.*{path.name}")
    # In the same process: nothing was killed.
    assert runs_another(project) == worker
    assert [e.name for e in project.events.history] == ["sleep", "cleaned up", "mark"]
    stop_without_complaints(running)


def test_a_task_in_c_code_is_killed_with_its_children(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon)
    path = submit(project, "in_c")
    event = project.events.wait("in C")
    wait_present(project.root, "in C")
    began = time.monotonic()
    assert cancel(project, "--grace", "0.5", path) == ["killed"]
    assert 0.4 < time.monotonic() - began < WAIT_SECONDS_MAX
    assert not path.exists()
    wait_ended(event.pid, event["helper"])
    running.wait_log(rf"its worker was killed.*{path.name}")
    assert runs_another(project) != event.pid
    assert not (project.spool / ".unspool" / "attempts" / path.name).exists()
    assert len([e for e in project.events.history if e.name == "in C"]) == 1


@pytest.mark.parametrize("then", ["raise", "-1", "0"])
def test_however_it_ends_it_does_not_run_again(
    project: Project, daemon: DaemonFactory, then: str
) -> None:
    running = start(project, daemon, "--spooler-frequency", "1", "--spooler-max-attempts", "1")
    path = submit(project, "stubborn", then=then)
    project.events.wait("stubborn")
    assert cancel(project, path) == ["stopped"]
    assert project.events.wait("caught")["kind"] == "TaskCancelled"
    assert project.tasks() == []
    runs_another(project)
    assert not any((project.spool / "dead").glob("*"))
    stop_without_complaints(running)


def test_one_that_finishes_all_the_same_is_done(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    path = submit(project, "stubborn", then="-2")
    project.events.wait("stubborn")
    assert cancel(project, path, status=GONE) == ["gone"]
    running.wait_log(f"task done.*{path.name}")
    assert cancel(project, path, status=GONE) == ["gone"]


def test_of_two_who_cancel_at_once_both_are_answered(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon)
    path = submit(project, "stubborn", then="-1", gate="yes")
    gate = project.gate("stubborn")
    project.events.wait("stubborn")
    answers: list[list[str]] = []
    callers = [
        threading.Thread(target=lambda: answers.append(cancel(project, path))) for _ in range(2)
    ]
    for caller in callers:
        caller.start()
    first = running.wait_log("while it runs")
    running.wait_log("while it runs", since=running.after(first))
    project.events.wait("caught")
    gate.release()
    for caller in callers:
        caller.join()
    assert answers == [["stopped"], ["stopped"]]


def test_who_does_not_wait_is_answered_at_once(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    path = submit(project, "stubborn", then="-1", gate="yes")
    gate = project.gate("stubborn")
    project.events.wait("stubborn")
    assert cancel(project, "--no-wait", path) == ["stopping"]
    project.events.wait("caught")
    assert path.exists()
    gate.release()
    wait_gone(path)
    running.wait_log(f"task cancelled .*{path.name}")


def test_a_task_cancels_itself(project: Project, daemon: DaemonFactory) -> None:
    start(project, daemon)
    path = submit(project, "suicide")
    assert project.events.wait("told")["kind"] == "TaskCancelled"
    wait_gone(path)
    runs_another(project)


def test_who_waits_in_python_can_be_interrupted(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    path = submit(project, "stubborn", then="-1", gate="yes")
    gate = project.gate("stubborn")
    project.events.wait("stubborn")
    # What runs in the background of a shell ignores SIGINT.
    code = (
        "import signal, sys, unspool\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "unspool.cancel(sys.argv[1], grace=1000)"
    )
    with subprocess.Popen(
        [PYTHON, "-c", code, path], env=project.producer_env, stderr=subprocess.PIPE, text=True
    ) as waiting:
        try:
            running.wait_log("while it runs")
            waiting.send_signal(signal.SIGINT)
            said = waiting.communicate(timeout=WAIT_SECONDS_MAX)[1]
        finally:
            waiting.kill()
    assert "KeyboardInterrupt" in said
    gate.release()
    wait_gone(path)


def connected(project: Project) -> socket.socket:
    """A connection to the control socket of the only daemon."""
    (control,) = (project.spool / ".unspool" / "daemons").glob("*/control")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.settimeout(WAIT_SECONDS_MAX / 2)
    made.connect(os.fspath(control))
    return made


def ask(project: Project, request: dict[str, object], place: str = "") -> dict[str, str]:
    """What the only daemon answers on its control socket."""
    with connected(project) as asking:
        asking.send(json.dumps(request).encode() + b"\0" + place.encode())
        answer: dict[str, str] = json.loads(asking.recv(65536))
        return answer


def test_a_done_task_whose_report_is_kept_back_is_gone(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", QUICK_OR_HELD)
    running = start(project, daemon)
    gate, hold = project.gate("ahead"), project.gate("hold")
    with Producer(project) as producer:
        producer.many([call("mark", id="warm") for _ in range(50)])
        project.events.collect(50, "mark")
        project.wait_empty()
        producer.one("hold")
        project.events.wait("hold")
        quick, _ = producer.many([call("mark", id="quick"), call("mark", id="long", gate="ahead")])
        hold.release()
        project.events.wait(lambda event: event.name == "mark" and event["id"] == "long")
        request: dict[str, object] = {"type": "cancel", "grace": 100, "wait": True}
        assert ask(project, request, quick.path.name)["task"] in ("gone", "elsewhere")
        gate.release()
        project.wait_empty()
    stop_without_complaints(running)


def test_many_who_wait_leave_the_control_socket_to_others(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon)
    path = submit(project, "stubborn", then="-1", gate="yes")
    gate = project.gate("stubborn")
    project.events.wait("stubborn")
    wait = json.dumps({"type": "cancel", "grace": 100, "wait": True}).encode()
    with contextlib.ExitStack() as stack:
        waiting = []
        for _ in range(CLIENTS_MAX // 2):
            one = stack.enter_context(connected(project))
            one.send(wait + b"\0" + path.name.encode())
            waiting.append(one)
        project.events.wait("caught")
        said = complaint(project, "--grace", "100", path, status=FAILED)
        assert re.search("as many processes wait.*--no-wait", said)
        assert cancel(project, "--no-wait", path) == ["stopping"]
        # Those who say nothing are told that there is no room.
        for _ in range(CLIENTS_MAX // 2):
            stack.enter_context(connected(project))
        answer = ask(project, {"type": "frequency", "seconds": 1})
        assert "as many processes are connected to this daemon as may be" in answer["error"]
        gate.release()
        answers = [json.loads(one.recv(65536)) for one in waiting]
        assert answers == [{"type": "cancelled", "task": "stopped"}] * len(waiting)
    assert ask(project, {"type": "frequency", "seconds": 1}) == {"type": "done"}
    stop_without_complaints(running)


def test_all_daemons_of_the_spool_are_asked(project: Project, daemon: DaemonFactory) -> None:
    daemons = [start(project, daemon) for _ in range(3)]
    path = submit(project, "sleep")
    project.events.wait("sleep")
    assert cancel(project, path) == ["stopped"]
    for one in daemons:
        stop_without_complaints(one)


# When a daemon is gone, or does not answer.


def test_a_worker_that_outlives_its_daemon_deletes_what_was_cancelled(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon)
    path = submit(project, "stubborn", then="raise", gate="yes")
    gate = project.gate("stubborn")
    project.events.wait("stubborn")
    assert cancel(project, "--no-wait", path) == ["stopping"]
    project.events.wait("caught")
    running.kill()
    gate.release()
    wait_gone(path)
    assert not (project.spool / ".unspool" / "attempts" / path.name).exists()


def test_a_task_whose_daemon_and_worker_died_is_cancelled_by_the_next_daemon(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon)
    path = submit(project, "stubborn", then="-1", gate="yes")
    project.gate("stubborn")
    worker = project.events.wait("stubborn").pid
    assert cancel(project, "--no-wait", path) == ["stopping"]
    project.events.wait("caught")
    running.kill()
    os.kill(worker, signal.SIGKILL)
    wait_ended(worker)
    assert path.exists() and attempts(path) == 0
    after = start(project, daemon)
    wait_gone(path)
    after.wait_log(f"task cancelled.*{path.name}")
    runs_another(project)
    assert [e.name for e in project.events.history].count("stubborn") == 1


def test_a_worker_without_a_daemon_cannot_be_asked(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    path = submit(project, "stubborn", then="-2")
    worker = project.events.wait("stubborn").pid
    running.kill()
    assert "cannot be asked" in complaint(project, "--grace", "0", path, status=HELD)
    assert path.exists()
    os.kill(worker, signal.SIGKILL)
    wait_ended(worker)
    assert cancel(project, path) == ["removed"]


def test_a_daemon_that_hangs_bounds_nobody_for_long(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon)
    path = submit(project, "sleep")
    project.events.wait("sleep")
    running.send(signal.SIGSTOP)
    try:
        said = complaint(project, "--grace", "0", path, status=FAILED)
    finally:
        running.send(signal.SIGCONT)
    assert f"daemon {running.pid} was asked" in said
    # It was asked, and does it once it goes on.
    wait_gone(path)
