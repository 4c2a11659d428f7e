"""`unspool why` where files, disks or the daemon itself keep tasks from running."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import time

from control import ask
from factory import DaemonFactory
from faults import append_only, or_not_run, unreadable, unreadable_backlog
from frozen import frozen, wait_woken
from harness import UNSPOOL, Project, wait_gone
from processes import WAIT_SECONDS_MAX
from reasons import MODULE, NOTHING, codes, reason, start, wait_why, why
from spooling import QUICK_OR_HELD, Producer, call, hand_ahead, submit

from torture.inject import need_strace

# Done tasks of a folder that cannot be deleted, at which no more of it is run.
UNDELETED = 64


def test_nobody_knows_what_is_paused(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    record = project.spool / ".unspool" / "paused"
    record.write_text("rubbish")
    running.wait_log("no task runs, since it is not known what is paused")
    task = submit(project, "mark")
    answer = wait_why(project, task, lambda answer: "pauses_unreadable" in codes(answer))
    assert "is damaged" in reason(answer, "pauses_unreadable")["problem"]
    project.unspool("resume", "--all")
    project.events.wait("mark")


def test_somebody_had_it_when_its_turn_came(project: Project, daemon: DaemonFactory) -> None:
    start(project, daemon)
    gate = project.gate("hold")
    task = submit(project, "mark", "--delay", "4000")
    # A file that is only read tells nobody when it is closed.
    with task.open("rb") as file:
        fcntl.lockf(file, fcntl.LOCK_SH)
        os.utime(task, (1, 1))
        deadline = time.monotonic() + 10
        while ask(project.spool, "explain", task.name.encode())["task"]["put_off"] != "busy":
            assert time.monotonic() < deadline
        assert reason(why(project, task), "held")["pid"] == os.getpid()
        submit(project, "hold")
        project.events.wait("hold")
    answer = why(project, task)
    held = reason(answer, "was_held")
    assert codes(answer)[0] == "was_held"
    assert "Somebody had it locked when its turn came: it is looked at again" in held["text"]
    gate.release()
    project.events.wait("mark")


def test_its_file_cannot_be_opened(project: Project, daemon: DaemonFactory) -> None:
    with or_not_run():
        need_strace()
    running = start(project, daemon)
    task = submit(project, "mark", "--delay", "4000")
    with unreadable(running, [task]):
        os.utime(task, (1, 1))
        running.wait_log("cannot open a task")
        answer = why(project, task)
        assert codes(answer) == ["unreadable"] and reason(answer, "unreadable")["again_s"] > 0


def test_the_disk_gives_no_task(project: Project, daemon: DaemonFactory) -> None:
    with or_not_run():
        need_strace()
    running = start(project, daemon, "--spooler-frequency", "3")
    with unreadable_backlog(project, running) as tasks:
        # Those that were not tried yet wait until it has rested.
        answers = [why(project, task) for task in tasks]
        while not (waiting := [one for one in answers if "claims_failed" in codes(one)]):
            answers = [why(project, task) for task in tasks]
        failed = reason(waiting[0], "claims_failed")
        assert "Input/output error" in failed["problem"]
        assert failed["text"].startswith("No task is started for ")


def test_done_tasks_cannot_be_deleted(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon, "--spooler-quiet")
    wait_gone(submit(project, "mark", "--priority", "1"))
    task = submit(project, "mark", "--priority", "1", "--delay", "4000")
    with append_only(project.spool / "1"):
        with Producer(project) as producer:
            producer.many([call("mark", priority="1") for _ in range(UNDELETED + 40)])
        running.wait_log("no more tasks of this folder run")
        os.utime(task, (1, 1))
        waiting = wait_why(project, task, lambda answer: codes(answer) != ["delayed"])
        assert codes(waiting)[0] == "undeleted_stop"
        assert reason(waiting, "undeleted_stop")["undeleted"] >= UNDELETED
        answers = [why(project, path) for path in project.tasks()]
        done = [answer for answer in answers if codes(answer) == ["done_undeleted"]]
        assert len(done) >= UNDELETED
        assert reason(done[0], "done_undeleted")["daemon"] == running.pid


def test_a_worker_has_it_behind_another_one(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", QUICK_OR_HELD)
    start(project, daemon)
    with Producer(project) as producer:
        first = hand_ahead(project, producer, 3).path
        worker = project.events.history[-1].pid
        behind = [task for task in project.tasks() if task != first]
        answers = [why(project, task) for task in behind]
        assert {code for answer in answers for code in codes(answer)} == {"handed_out"}
        handed = reason(answers[0], "handed_out")
        assert handed["pid"] == worker and "ahead of its turn" in handed["text"]
        project.gate("ahead").release()
        project.wait_empty()


def test_the_spool_is_listed_for_the_first_time(project: Project) -> None:
    with or_not_run():
        need_strace()
    project.write("tasks.py", MODULE)
    with Producer(project) as producer:
        producer.many([call("mark") for _ in range(10_000)])
    task = project.tasks()[-1]
    # Each look at a file takes longer than it would. The tracer is no parent of the daemon.
    slow = ["-e", "trace=newfstatat", "-e", "inject=newfstatat:delay_exit=500"]
    running = project.daemon("--spooler", project.spool, "--import", "tasks")
    running.arguments = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", *slow, *running.arguments]
    with contextlib.closing(running.start()):
        answer = wait_why(project, task, lambda answer: "first_scan" in codes(answer))
        assert "for the first time" in reason(answer, "first_scan")["text"]
        if "not_seen" in codes(answer):
            assert reason(answer, "not_seen")["scanning"]


def test_its_worker_has_not_begun(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    (worker,) = running.workers
    os.kill(worker, signal.SIGSTOP)
    try:
        task = submit(project, "mark")
        answer = wait_why(project, task, lambda answer: "claimed" in codes(answer))
        claimed = reason(answer, "claimed")
        assert (claimed["pid"], claimed["daemon"]) == (worker, running.pid)
        assert f"handed it to worker {worker}" in claimed["text"]
        done = project.unspool("stack", task, check=False)
        assert done.returncode == NOTHING and "has not begun" in done.stderr
    finally:
        os.kill(worker, signal.SIGCONT)
    project.events.wait("mark")


def test_nothing_keeps_it(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    task = submit(project, "mark", "--delay", "2")
    wait_why(project, task, lambda answer: codes(answer) == ["delayed"])
    # It becomes due while nobody can take it, and is asked about before it is taken.
    with frozen(running.pid, "dispatcher") as dispatcher:
        time.sleep(max(0.0, task.stat().st_mtime - time.time()))
        asking = subprocess.Popen(
            [UNSPOOL, "why", "--json", task],
            env=project.producer_env, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        # The question how the daemon is, and that about the task.
        wait_woken(running.pid, 2)
        dispatcher.go_on_to_open(task.name)
        answer = json.loads(asking.communicate(timeout=WAIT_SECONDS_MAX)[0])
    assert codes(answer) == ["about_to_run"], answer
    assert reason(answer, "about_to_run")["daemon"] == running.pid
    project.events.wait("mark")
