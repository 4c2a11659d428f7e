"""Workers: forked from one process that imported once, and replaced when they die."""

from __future__ import annotations

import os
import signal

from factory import DaemonFactory
from harness import Project, wait_gone
from processes import parent_of
from spooling import Producer, call, submit

MODULE = """
    import os
    import time

    from uwsgidecorators import spool
    from reporting import pause, report

    IMPORTED_IN = os.getpid()
    with open(os.path.join(os.environ["UNSPOOL_TEST_ROOT"], "imports"), "a") as file:
        print(IMPORTED_IN, file=file)

    @spool
    def hold(args):
        report("hold", id=args.get("id"), imported_in=IMPORTED_IN)
        pause(args.get("gate", "hold"))
        report("held", id=args.get("id"))

    @spool
    def mark(args):
        report("mark", id=args.get("id"), imported_in=IMPORTED_IN)

    @spool
    def die(args):
        report("die")
        pause("die")
        os._exit(9)

    @spool
    def fork_child(args):
        if os.fork() == 0:
            # It keeps the task's descriptor, but not the pipe in which the test reads the log.
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 1)
            os.dup2(null, 2)
            report("child")
            pause("child")
            os._exit(0)
        report("fork_child")

    @spool
    def chain(args):
        left = int(args["left"])
        report("chain", left=left, started=time.monotonic())
        if left:
            chain.spool(left=left - 1)

    @spool
    def sometimes_long(args):
        report("sometimes_long", id=args["id"])
        if args["id"] == "long":
            pause("long")
            report("long ends")
"""


def test_workers_are_forked_from_one_process_that_imported_once(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    gate, death = project.gate("hold"), project.gate("die")
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    running = daemon(*spool, "--spooler-processes", "3")
    for _ in range(3):
        submit(project, "hold")
    started = project.events.collect(3, "hold")
    workers = {event.pid for event in started}
    assert len(workers) == 3
    assert {parent_of(pid) for pid in workers} == {running.pid}
    (imported_in,) = {event["imported_in"] for event in started}
    assert imported_in not in workers
    # The one that replaces a dead worker did not import again either.
    submit(project, "die")
    gate.release()
    project.events.wait("die")
    death.release()
    running.wait_log(r"worker exited with status 9; replacing it")
    submit(project, "hold")
    event = project.events.wait("hold")
    assert event.pid not in workers and event["imported_in"] == imported_in
    assert (project.root / "imports").read_text().split() == [str(imported_in)]
    gate.release(3)


def test_a_dying_worker_does_not_touch_the_tasks_of_others(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    gate, death = project.gate("hold"), project.gate("die")
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    running = daemon(*spool, "--spooler-processes", "2")
    held = submit(project, "hold", id="other")
    worker = project.events.wait("hold").pid
    submit(project, "die")
    dying = project.events.wait("die").pid
    death.release()
    running.wait_log(rf"replacing it pid={dying}\b")
    # The task that waited behind the dead one runs in the new worker.
    submit(project, "mark", id="after")
    assert project.events.wait("mark").pid not in (worker, dying)
    gate.release()
    event = project.events.wait("held")
    assert (event["id"], event.pid) == ("other", worker)
    wait_gone(held)
    assert len([event for event in project.events.history if event.name == "hold"]) == 1


def test_a_worker_killed_while_idle_is_replaced(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", MODULE)
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    (worker,) = running.workers
    project.run("kill", "-9", str(worker))
    running.wait_log(rf"worker was killed by signal 9; replacing it pid={worker}\b")
    submit(project, "mark")
    assert project.events.wait("mark").pid != worker


def test_tasks_wait_for_a_zygote_that_was_killed(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", MODULE)
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    (zygote,) = set(running.children) - set(running.workers)
    (worker,) = running.workers
    # The zygote first: nobody is there then who could replace the worker before another one has
    # imported.
    for pid in (zygote, worker):
        os.kill(pid, signal.SIGKILL)
    submit(project, "mark")
    event = project.events.wait("mark")
    assert event.pid != worker and event["imported_in"] != zygote
    running.wait_log(r"ERROR zygote was killed by signal 9; starting another one")


def test_several_spools_in_one_daemon(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", MODULE)
    gate = project.gate("hold")
    spools = [project.root / name for name in ("one", "two", "three")]
    options = [part for spool in spools for part in ("--spooler", spool)]
    running = daemon(*options, "--spooler-import", "tasks", "--spooler-processes", "2")
    assert len(running.workers) == 6
    # All workers of the first are busy; the others do not wait for it.
    for _ in range(2):
        submit(project, "hold", "--spooler", str(spools[0]))
    project.events.collect(2, "hold")
    waiting = submit(project, "mark", "--spooler", str(spools[0]), id="one")
    for spool in spools[1:]:
        path = submit(project, "mark", "--spooler", str(spool), id=spool.name)
        assert path.parent == spool
        assert project.events.wait("mark")["id"] == spool.name
    assert waiting.exists()
    gate.release(2)
    assert project.events.wait("mark")["id"] == "one"


def test_a_child_that_keeps_the_tasks_descriptor_keeps_nothing_waiting(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    gate = project.gate("child")
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    path = submit(project, "fork_child")
    project.events.wait("fork_child")
    project.events.wait("child")
    wait_gone(path)
    submit(project, "mark", id="next")
    assert project.events.wait("mark")["id"] == "next"
    assert running.stop() == 0
    gate.release()


def test_a_failed_task_whose_child_lives_is_tried_again(
    project: Project, daemon: DaemonFactory
) -> None:
    source = MODULE.replace('report("fork_child")', 'report("fork_child"); raise ValueError')
    project.write("tasks.py", source)
    gate = project.gate("child")
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    running = daemon(*spool, "--spooler-frequency", "0.1")
    submit(project, "fork_child")
    project.events.collect(2, "child")
    assert running.stop() == 0
    gate.release(len([event for event in project.events.history if event.name == "child"]))


def test_a_task_submits_tasks(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", MODULE)
    daemon("--spooler", project.spool, "--spooler-import", "tasks")
    submit(project, "chain", left=20)
    chain = project.events.collect(21, "chain")
    assert [event["left"] for event in chain] == list(range(20, -1, -1))
    # uWSGI would wait for its frequency, 30 s, at each link.
    assert chain[-1]["started"] - chain[0]["started"] < 5
    project.wait_empty()


def test_a_long_task_does_not_hold_up_the_short_ones_handed_ahead_behind_it(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    gate, long = project.gate("hold"), project.gate("long")
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    daemon(*spool, "--spooler-processes", "2")
    with Producer(project) as producer:
        # The daemon learns that this function is quick, and so hands several of it ahead.
        producer.many([call("sometimes_long", id="warm") for _ in range(50)])
        project.events.collect(50, "sometimes_long")
        project.wait_empty()
        producer.many([call("hold"), call("hold")])
        project.events.collect(2, "hold")
        ids = ["long", *(str(number) for number in range(30))]
        producer.many([call("sometimes_long", id=each) for each in ids])
    gate.release()
    assert project.events.wait("sometimes_long")["id"] == "long"
    # One worker runs the long one, and the rest is handed to it or waits; now the other is free.
    gate.release()
    short = project.events.collect(30, "sometimes_long")
    assert sorted(int(event["id"]) for event in short) == list(range(30))
    assert not [event for event in project.events.history if event.name == "long ends"]
    long.release()
    project.events.wait("long ends")
    project.wait_empty()


def test_the_log_says_who_ran_what(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", MODULE)
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    path = submit(project, "mark")
    pid = project.events.wait("mark").pid
    running.wait_log(rf"task done task={path.name} function=mark pid={pid} ms=\d")
    assert running.stop(signal.SIGTERM) == 0


def test_workers_that_die_at_their_start_are_tried_again_with_growing_pauses(
    project: Project, daemon: DaemonFactory
) -> None:
    dying = "from uwsgidecorators import postfork\n\n@postfork\ndef die():\n    os._exit(5)\n"
    (project.root / "tasks.py").write_text("import os\n" + dying)
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks", ready=False)
    path = submit(project, "mark")
    for pause in (0, 100, 200, 400):
        running.wait_log(rf"worker exited with status 5; replacing it pid=\d+ again_ms={pause}$")
    assert path.exists()
    project.write("tasks.py", MODULE)
    running.send(signal.SIGHUP)
    running.wait_ready()
    project.events.wait("mark")
    wait_gone(path)


def test_threads_of_the_import_are_a_warning(project: Project, daemon: DaemonFactory) -> None:
    project.write(
        "tasks.py",
        """
        import threading

        stop = threading.Event()
        threading.Thread(target=stop.wait, name="poller", daemon=True).start()
        """,
    )
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    running.wait_log(r"WARN  .*they do not exist in the workers.*threads=poller")
