"""SIGHUP: the application is imported anew, and no task is lost, doubled or interrupted."""

from __future__ import annotations

import signal
from collections import Counter

from factory import DaemonFactory
from harness import Project, wait_gone
from spooling import QUICK_OR_HELD, Producer, attempts, call, hand_ahead, submit

MODULE = """
    import os

    from uwsgidecorators import spool
    from reporting import pause, report

    VERSION = 1

    @spool
    def hold(args):
        report("hold", version=VERSION)
        pause("hold")
        report("held", version=VERSION)

    @spool
    def mark(args):
        report("mark", version=VERSION, id=args.get("id"))
"""


def version(number: int) -> str:
    return MODULE.replace("VERSION = 1", f"VERSION = {number}")


def test_the_running_task_finishes_in_the_old_code_and_new_ones_run_in_the_new(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    gate = project.gate("hold")
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    held = submit(project, "hold")
    project.events.wait("hold")
    # It waits behind the held one, and must not be run by the old worker.
    submit(project, "mark", id="waiting")
    project.write("tasks.py", version(2))
    running.reload()
    event = project.events.wait("mark")
    assert (event["id"], event["version"]) == ("waiting", 2)
    gate.release()
    assert project.events.wait("held")["version"] == 1
    wait_gone(held)
    running.wait_log("worker left")
    assert Counter(event.name for event in project.events.history)["hold"] == 1


def test_what_was_handed_to_an_old_worker_ahead_of_time_runs_in_the_new_code(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", QUICK_OR_HELD)
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    with Producer(project) as producer:
        hand_ahead(project, producer, 20)
    project.write("tasks.py", QUICK_OR_HELD.replace("VERSION = 1", "VERSION = 2"))
    running.reload()
    ran = project.events.collect(20, "mark")
    assert [(event["id"], event["version"]) for event in ran] == [(str(n), 2) for n in range(20)]
    project.gate("ahead").release()
    event = project.events.wait("mark ends")
    assert (event["id"], event["version"]) == ("first", 1)
    project.wait_empty()
    assert len([event for event in project.events.history if event.name == "mark"]) == 71


def test_nothing_is_lost_or_doubled_by_reloads_under_load(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    running = daemon(*spool, "--spooler-processes", "2", "--spooler-quiet")
    rounds, each = 4, 150
    with Producer(project) as producer:
        for number in range(rounds):
            project.write("tasks.py", version(number + 2))
            mark = running.mark()
            producer.many([call("mark", id=f"{number}.{task}") for task in range(each)])
            running.send(signal.SIGHUP)
            producer.many([call("mark", id=f"{number}.{each + task}") for task in range(each)])
            running.wait_log("application imported", since=mark)
        running.wait_reloaded(mark)
    ran = project.events.collect(rounds * 2 * each, "mark")
    project.wait_empty()
    wanted = {f"{number}.{task}" for number in range(rounds) for task in range(2 * each)}
    assert {event["id"] for event in ran} == wanted
    submit(project, "mark", id="last")
    assert project.events.wait("mark")["version"] == rounds + 1
    assert running.stop() == 0
    assert len(project.events.history) == rounds * 2 * each + 1


def test_several_signals_end_in_the_newest_code(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", MODULE)
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    # The first reload has read the old text when it is told to go on; a second one follows it.
    imports = "from reporting import *; report('import'); pause('import')\n"
    gate = project.gate("import")
    (project.root / "tasks.py").write_text(imports)
    running.send(signal.SIGHUP)
    project.events.wait("import")
    project.write("tasks.py", version(2))
    running.send(signal.SIGHUP)
    mark = running.mark()
    gate.release()
    imported = running.wait_log(r"application imported .*functions=\"hold, mark\"", since=mark)
    running.wait_log("reload done", since=running.after(imported))
    submit(project, "mark")
    assert project.events.wait("mark")["version"] == 2


def test_a_broken_module_keeps_the_old_code_and_is_logged_with_its_traceback(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    (before,) = running.workers
    broken = MODULE.replace("VERSION = 1", "raise LookupError('half an edit')")
    project.write("tasks.py", broken)
    mark = running.mark()
    running.send(signal.SIGHUP)
    running.wait_log(r"ERROR cannot import module=tasks", since=mark)
    running.wait_log(r"^    Traceback \(most recent call last\):$", since=mark)
    running.wait_log(r'^      File ".*tasks\.py", line \d+', since=mark)
    running.wait_log(r"^    LookupError: half an edit$", since=mark)
    running.wait_log(r"reload given up: the workers go on with the application as it was")
    submit(project, "mark")
    event = project.events.wait("mark")
    assert (event["version"], event.pid) == (1, before)
    # It is mended and reloaded.
    project.write("tasks.py", version(3))
    running.reload()
    running.wait_log(rf"worker left pid={before}\b")
    submit(project, "mark")
    assert project.events.wait("mark")["version"] == 3


def test_an_import_error_at_the_start_is_logged_with_its_traceback(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", "import a_module_that_nobody_wrote\n")
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks", ready=False)
    running.wait_log(r"ERROR cannot import module=tasks")
    running.wait_log(r'^      File ".*tasks\.py", line 1, in <module>$')
    running.wait_log(r"^    ModuleNotFoundError: No module named 'a_module_that_nobody_wrote'$")
    # A task is not lost to it: it waits for a reload that mends the module.
    path = submit(project, "mark")
    running.wait_log(rf"ERROR task not run: .* task={path.name}")
    assert attempts(path) == 0
    project.write("tasks.py", MODULE)
    running.reload()
    project.events.wait("mark")
    wait_gone(path)


def test_a_missing_module_is_named(project: Project, daemon: DaemonFactory) -> None:
    running = daemon("--spooler", project.spool, "--spooler-import", "taskz", ready=False)
    running.wait_log(r"ERROR cannot import module=taskz")
    running.wait_log(r"^    ModuleNotFoundError: No module named 'taskz'$")


def test_an_import_that_ends_its_process_is_tried_again(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", "import os; os._exit(4)")
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks", ready=False)
    running.wait_log(r"ERROR zygote exited with status 4 while it imported the application")
    project.write("tasks.py", MODULE)
    running.wait_ready()
    submit(project, "mark")
    project.events.wait("mark")
