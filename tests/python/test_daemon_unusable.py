"""Files that cannot be opened, or not be deleted: those of them that can go on."""

from __future__ import annotations

import os

from factory import DaemonFactory
from faults import append_only, or_not_run, unreadable_backlog
from harness import Daemon, Project, wait_gone
from processes import WAIT_SECONDS_MAX
from spooling import QUICK_OR_HELD, Producer, call, foreign, publish, submit

from torture.inject import need_strace

MODULE = """
    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def mark(args):
        report("mark", id=args.get("id"))
"""
# Of one folder, at which no more of it is run, but for those that a worker was handed before.
UNDELETED = 64
HANDED = 64


def start(project: Project, daemon: DaemonFactory, *options: str) -> Daemon:
    project.write("tasks.py", MODULE)
    return daemon("--spooler", project.spool, "--import", "tasks", *options)


def test_many_that_cannot_be_opened_keep_no_other_from_its_turn(
    project: Project, daemon: DaemonFactory
) -> None:
    with or_not_run():
        need_strace()
    running = start(project, daemon, "--spooler-frequency", "3")
    with unreadable_backlog(project, running) as bad:
        for number in range(4):
            good = submit(project, "mark", id=number)
            assert project.events.wait("mark")["id"] == str(number)
            wait_gone(good)
    # Each of them ran, later each time.
    assert len([line for line in running.log if "cannot open a task" in line]) >= 16
    for path in bad:
        os.utime(path, (1, 1))
    project.events.collect(len(bad), "mark")
    project.wait_empty()


def test_what_cannot_be_deleted_is_told_at_once(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", QUICK_OR_HELD)
    running = daemon("--spooler", project.spool, "--import", "tasks")
    gate, hold = project.gate("ahead"), project.gate("hold")
    with Producer(project) as producer:
        producer.many([call("mark", id="warm", priority="1") for _ in range(50)])
        project.events.collect(50, "mark")
        project.wait_empty()
        producer.one("hold")
        project.events.wait("hold")
        with append_only(project.spool / "1"):
            quick, _ = producer.many(
                [call("mark", id="quick", priority="1"), call("mark", id="long", gate="ahead")]
            )
            hold.release()
            project.events.wait(lambda event: event.name == "mark" and event["id"] == "long")
            running.wait_log(f"cannot be deleted.*{quick.path.name}")
            done = project.unspool("cancel", "--grace", "0", quick.path, check=False)
            assert done.stdout.startswith("gone"), (done.stdout, done.stderr)
        gate.release()
        project.wait_empty()


def test_a_folder_where_nothing_can_be_deleted_stops_no_other(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, "--spooler-quiet")
    wait_gone(submit(project, "mark", "--priority", "1", id="first"))
    count = UNDELETED + 2 * HANDED
    with append_only(project.spool / "1"):
        with Producer(project) as producer:
            producer.many([call("mark", id=str(n), priority="1") for n in range(count)])
        said = running.wait_log("no more tasks of this folder run.*")
        assert str(project.spool / "1") in running.log[running.after(said) - 1]
        good = submit(project, "mark", id="good")
        project.events.wait(lambda event: event.name == "mark" and event["id"] == "good")
        wait_gone(good)
        # What was handed out before is run, and no more.
        ran = [event["id"] for event in project.events.history if event.name == "mark"]
        assert UNDELETED <= len(ran) - 2 < count
    running.wait_log("tasks of this folder run again")
    project.wait_empty(WAIT_SECONDS_MAX)
    ran = [event["id"] for event in project.events.history if event.name == "mark"]
    assert sorted(ran) == sorted(["first", "good", *(str(n) for n in range(count))])
    assert len([line for line in running.log if "no more tasks of this folder" in line]) == 1


# Folders of priorities that a daemon knows at one time.
FOLDERS = 1024


def test_tasks_in_folders_beyond_all_that_are_known_keep_their_records(
    project: Project, daemon: DaemonFactory
) -> None:
    project.spool.mkdir(mode=0o700)
    kept = submit(project, "mark", at=4_000_000_000)
    records = project.spool / ".unspool" / "attempts"
    records.mkdir()
    tasks = []
    for number in range(FOLDERS + 40):
        folder = project.spool / f"p{number}"
        folder.mkdir(mode=0o700)
        task = folder / f"{kept.name}-{number}"
        os.link(kept, task)
        tasks.append(task)
        record = records / task.name
        record.write_text("{}\n")
        # Long enough ago that it would be removed if its task were nowhere.
        os.utime(record, (1, 1))
    config = project.write(
        "app.ini",
        f"[uwsgi]\nspooler = {project.spool}\nspooler-import = tasks\n"
        f"spooler-max-pending = {FOLDERS}\n",
    )
    project.write("tasks.py", MODULE)
    running = daemon(config)
    running.wait_log("there are more folders of priorities than the limit")
    # All of them count, also those that the daemon does not look at.
    env = {**project.env, "UNSPOOL_CONFIG": os.fspath(config)}
    said = project.unspool("spool", "mark", check=False, env=env).stderr
    assert f"{FOLDERS + 41} tasks are pending" in said
    # The records are looked through in the meantime, a few after each thing that happens.
    for number in range(100):
        publish(project.spool, f"{number}", foreign({b"ud_spool_func": b"mark"}))
        project.events.wait("mark")
    assert [task.name for task in tasks if not (records / task.name).exists()] == []
    assert len([line for line in running.log if "more folders of priorities" in line]) == 1
