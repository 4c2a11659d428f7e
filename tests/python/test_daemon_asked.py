"""What a daemon tells over its control socket: how it is, and what it knows of one task."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from control import ask, request
from factory import DaemonFactory
from harness import Daemon, Project
from spooling import Producer, submit

MODULE = """
    import os

    from uwsgidecorators import spool, spoolraw
    from reporting import pause, report

    @spool
    def mark(args):
        report("mark")

    @spool
    def hold(args):
        report("hold", pid=os.getpid())
        pause("hold")

    @spoolraw
    def leave(args):
        report("leave")
        return 0
"""


def start(project: Project, daemon: DaemonFactory, *options: str) -> Daemon:
    project.write("tasks.py", MODULE)
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    return daemon(*spool, "--spooler-frequency", "3600", *options)


def explain(project: Project, task: Path) -> dict[str, Any]:
    place = os.fsencode(task.relative_to(project.spool))
    answer = ask(project.spool, "explain", place)
    assert isinstance(answer, dict)
    return answer


def explained(
    project: Project, task: Path, holds: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Asks about a task until it is so."""
    deadline = time.monotonic() + 10
    while not holds(answer := explain(project, task)):
        assert time.monotonic() < deadline, answer
    return answer


def test_the_state_of_the_daemon_and_its_spool(project: Project, daemon: DaemonFactory) -> None:
    ini = project.write(
        "app.ini",
        f"""
        [uwsgi]
        spooler = {project.spool}
        spooler-import = tasks
        """,
    )
    project.write("tasks.py", MODULE)
    running = daemon(ini)
    gate = project.gate("hold")
    submit(project, "hold")
    project.events.wait("hold")
    said = ask(project.spool, "status")
    assert (said["pid"], said["stopping"], said["importing"]) == (running.pid, False, False)
    assert said["config_files"] == [str(ini)] and said["import_failure"] is None
    assert sorted(said["functions"]) == ["hold", "leave", "mark"]
    assert said["version"] and said["generation"] == 1
    assert said["spool"]["dir"] == str(project.spool)
    assert said["spool"]["tasks"]["running"] == 1
    assert [worker["current"]["function"] for worker in said["spool"]["workers"]] == ["hold"]
    gate.release()


def test_an_answer_longer_than_a_packet_is_whole(project: Project, daemon: DaemonFactory) -> None:
    folder = "/".join(["a-long-name-of-a-folder" * 8] * 4)
    files = [f"{folder}/{number}.ini" for number in range(250)]
    for name in files:
        project.write(name, "[uwsgi]\n")
    included = "".join(f"ini = {project.root / name}\n" for name in files)
    ini = project.write("app.ini", f"[uwsgi]\nspooler = {project.spool}\n{included}")
    daemon(ini)
    reply, content, fds = request(project.spool, b'{"type":"status"}')
    assert (len(fds), content) == (1, b""), reply
    seals = fcntl.fcntl(fds[0], fcntl.F_GET_SEALS)
    assert seals & fcntl.F_SEAL_WRITE and seals & fcntl.F_SEAL_GROW and seals & fcntl.F_SEAL_SHRINK
    os.close(fds[0])
    said = ask(project.spool, "status")["config_files"]
    assert said == [str(ini), *(str(project.root / name) for name in files)]


def test_where_a_task_stands(project: Project, daemon: DaemonFactory) -> None:
    start(project, daemon)
    gate = project.gate("hold")
    held = submit(project, "hold")
    worker = project.events.wait("hold")["pid"]
    with Producer(project) as producer:
        due = [producer.one("mark").path for _ in range(3)]
    first = submit(project, "mark", "--priority", "5")
    later = submit(project, "mark", "--delay", "500")

    answer = explain(project, held)
    task = answer["task"]
    assert (task["standing"], task["function"]) == ("claimed", "hold")
    assert task["worker"]["pid"] == worker and task["worker"]["running_ms"] >= 0

    waits = explained(project, due[2], lambda answer: answer["task"] is not None)
    assert waits["task"]["standing"] == "due"
    assert waits["task"]["position"] == {"before": 3, "before_in_folder": 2, "exact": True}
    assert [busy["pid"] for busy in waits["dispatch"]["workers"]["busy"]] == [worker]
    assert explain(project, first)["task"]["position"]["before"] == 0

    delayed = explain(project, later)["task"]
    assert delayed["standing"] == "delayed" and delayed["position"] is None
    assert 490 < delayed["due_at"] - time.time() <= 500
    gone = project.spool / "uwsgi_spoolfile_on_nobody_1_1_1_1_1"
    assert explain(project, gone)["task"] is None
    gate.release()
    project.events.collect(4, "mark")


def test_why_a_task_is_put_off(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    ignored = submit(project, "leave")
    unknown = submit(project, "nobody")
    for task in (ignored, unknown):
        running.wait_log(task.name)
    explained(project, ignored, lambda answer: answer["task"]["put_off"] == "ignored")
    explained(project, unknown, lambda answer: answer["task"]["put_off"] == "unknown")
    # Somebody else has it.
    task = submit(project, "mark", "--delay", "1")
    with task.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        explained(project, task, lambda answer: answer["task"]["put_off"] == "busy")


def test_tasks_are_found_by_parts_of_their_names(project: Project, daemon: DaemonFactory) -> None:
    start(project, daemon)
    tasks = [
        submit(project, "mark", "--delay", "500", "--priority", "5"),
        submit(project, "mark", "--delay", "500"),
    ]
    explained(project, tasks[1], lambda answer: answer["task"] is not None)
    for task in tasks:
        place = str(task.relative_to(project.spool))
        tail = task.name.split("_", 4)[4]
        found = ask(project.spool, "find", tail.encode())
        assert found == {"places": [place], "complete": True}
    assert ask(project.spool, "find", b"zzzzzz")["places"] == []


def test_questions_that_make_no_sense_are_refused(project: Project, daemon: DaemonFactory) -> None:
    start(project, daemon)
    for packet in (b'{"type":"explain"}\0dead/x', b'{"type":"find"}\0a', b'{"type":"explain"}'):
        reply, _, _ = request(project.spool, packet)
        assert reply["type"] == "failed" and "`" in reply["error"]
