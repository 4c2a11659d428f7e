"""`lazy-apps` and `spooler-fork`: a worker that imports the application itself works like a fork.

The same as in uWSGI is in tests/interop.
"""

from __future__ import annotations

import os
import signal

import pytest
from factory import DaemonFactory
from harness import Daemon, Event, Project, wait_gone
from processes import parent_of, wait_ended
from spooling import submit

MODULE = """
    import os, random, subprocess, sys, threading, time

    import uwsgi
    from uwsgidecorators import mulefunc, postfork, spool, timer
    from reporting import pause, report

    VERSION = 1
    IMPORTED_IN = os.getpid()
    started = threading.Event()
    threading.Thread(target=started.set, name="of the import").start()
    lasting = threading.Thread(target=time.sleep, args=(1000,), name="lasting", daemon=True)
    lasting.start()
    report("imported", parent=os.getppid(), luck=random.random(), worker=uwsgi.worker_id())

    @postfork
    def forked():
        report("hook", imported_in=IMPORTED_IN, threads=lasting.is_alive())

    @spool
    def mark(args):
        report("mark", version=VERSION, imported_in=IMPORTED_IN, threads=lasting.is_alive())

    @spool
    def hold(args):
        report("hold")
        pause("hold")
        report("held")

    @spool
    def die(args):
        os._exit(3)

    @spool
    def sleep(args):
        report("sleep")
        time.sleep(1000)

    @spool
    def register(args):
        number = int(args["number"])
        uwsgi.register_signal(number, "", lambda _: report("own", number=number))
        report("registered", number=number)

    @spool
    def tell(args):
        work(args["what"])

    @mulefunc
    def work(what):
        report("worked", imported_in=IMPORTED_IN, mule=uwsgi.mule_id())
"""
TICKING = """
    @timer(0.2)
    def beat(number):
        report("beat", imported_in=IMPORTED_IN, worker=uwsgi.worker_id())

    uwsgi.register_signal(9, "", lambda number: report("thrice"))
    uwsgi.add_rb_timer(9, 0.05, 3)
"""


def start(
    project: Project,
    daemon: DaemonFactory,
    *options: str,
    more: str = "",
    fork: str = "--lazy-apps",
    ready: bool = True,
) -> Daemon:
    project.write("tasks.py", MODULE + more)
    spool = ("--spooler", str(project.spool), "--spooler-import", "tasks")
    return daemon(*spool, fork, "--spooler-frequency", "1", *options, ready=ready)


def imported(project: Project, count: int) -> list[Event]:
    return project.events.collect(count, "imported")


@pytest.mark.parametrize("fork", ["--lazy-apps", "--lazy", "--spooler-fork=never"])
def test_each_worker_imports_the_application_itself(
    project: Project, daemon: DaemonFactory, fork: str
) -> None:
    gate = project.gate("hold")
    running = start(project, daemon, "--spooler-processes=3", fork=fork)
    first, *own = imported(project, 4)
    zygote = int(running.wait_log(r"application imported pid=(\d+)")[1])
    # A child of the zygote tells what there is, and ends.
    assert first["parent"] == zygote and parent_of(first.pid) is None
    assert {event.pid for event in own} == set(running.workers)
    # What an import draws is not the same in all.
    assert len({event["luck"] for event in own}) == 3
    hooks = project.events.collect(3, "hook")
    assert all(event["imported_in"] == event.pid and event["threads"] for event in hooks)
    for _ in range(3):
        submit(project, "hold")
    assert len({event.pid for event in project.events.collect(3, "hold")}) == 3
    gate.release(3)
    submit(project, "mark")
    event = project.events.wait("mark")
    assert event["imported_in"] == event.pid and event["threads"]
    names = [event.name for event in project.events.history]
    assert (names.count("imported"), names.count("hook")) == (4, 3)
    assert not [line for line in running.log if "do not exist in the workers" in line]


def test_an_explicit_policy_is_stronger_than_lazy_apps(
    project: Project, daemon: DaemonFactory
) -> None:
    start(project, daemon, "--spooler-fork=always", "--spooler-processes=2")
    submit(project, "mark")
    event = project.events.wait("mark")
    assert event["imported_in"] != event.pid and not event["threads"]
    assert [event.name for event in project.events.history].count("imported") == 1


def test_what_threads_of_the_import_are_told_to_do_names_the_cure(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, fork="--spooler-fork=auto")
    running.wait_log(r"WARN .*do not exist in the workers.*`spooler-fork = never`.*lasting")


def test_it_is_ready_when_every_worker_has_its_functions(
    project: Project, daemon: DaemonFactory
) -> None:
    gate = project.gate("import")
    running = start(
        project, daemon, "--spooler-processes=2", more="\n    pause('import')", ready=False
    )
    imported(project, 1)
    gate.release()
    imported(project, 2)
    gate.release()
    project.events.wait("hook")
    submit(project, "mark")
    project.events.wait("mark")
    assert not [line for line in running.log if "is ready" in line]
    gate.release()
    running.wait_ready()


def test_what_shared_import_names_is_imported_once_in_the_zygote(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write(
        "shared.py",
        """
        import os, threading, time
        from reporting import report

        report("shared")
        threading.Thread(target=time.sleep, args=(1000,), name="of shared", daemon=True).start()
        """,
    )
    running = start(project, daemon, "--shared-import", "shared", "--spooler-processes=2")
    (shared,) = [event for event in project.events.history if event.name == "shared"]
    assert shared.pid == int(running.wait_log(r"application imported pid=(\d+)")[1])
    running.wait_log(r"WARN .*do not exist in the workers.*threads=\"?of shared")
    assert len(imported(project, 3)) == 3


BROKEN = """
    if os.path.exists("broken") and "unspool import" not in open("/proc/self/cmdline").read():
        raise RuntimeError("broken in this worker")
"""


def test_a_worker_whose_import_fails_is_tried_again_with_back_off(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, more=BROKEN)
    broken = project.write("broken", "")
    mark = running.mark()
    submit(project, "die")
    for delay in (100, 200, 400):
        found = running.wait_log(
            rf"worker exited with status 1; replacing it pid=(\d+) again_ms={delay}", since=mark
        )
        # The traceback is the last word about it.
        running.wait_log(
            rf"ERROR a worker cannot import pid={found[1]} module=\"?tasks", since=mark
        )
        running.wait_log(r"tasks\.py\", line \d+, in <module>", since=mark)
        running.wait_log(r"RuntimeError: broken in this worker", since=mark)
        mark = running.mark()
    broken.unlink()
    submit(project, "mark")
    assert project.events.wait("mark")["threads"]


def test_workers_of_a_reload_that_cannot_import_leave_the_old_ones_at_work(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, more=BROKEN)
    old = running.workers
    broken = project.write("broken", "")
    project.write("tasks.py", (MODULE + BROKEN).replace("VERSION = 1", "VERSION = 2"))
    mark = running.mark()
    running.send(signal.SIGHUP)
    running.wait_log("a worker cannot import", since=mark)
    submit(project, "mark")
    event = project.events.wait("mark")
    assert event["version"] == 1 and [event.pid] == old
    broken.unlink()
    running.wait_log("reload done", since=mark)
    submit(project, "mark")
    assert project.events.wait("mark")["version"] == 2


def test_a_reload_imports_again_in_each_worker(project: Project, daemon: DaemonFactory) -> None:
    gate = project.gate("hold")
    running = start(project, daemon, "--spooler-processes=2")
    imported(project, 3)
    held = submit(project, "hold")
    project.events.wait("hold")
    project.write("tasks.py", MODULE.replace("VERSION = 1", "VERSION = 2"))
    running.reload()
    assert len({event.pid for event in imported(project, 3)}) == 3
    submit(project, "mark")
    event = project.events.wait("mark")
    assert event["version"] == 2 and event["imported_in"] == event.pid
    gate.release()
    project.events.wait("held")
    wait_gone(held)
    mark = running.mark()
    project.write("tasks.py", "1 / 0\n")
    running.send(signal.SIGHUP)
    running.wait_log("reload given up", since=mark)
    running.wait_log("ZeroDivisionError", since=mark)
    submit(project, "mark")
    assert project.events.wait("mark")["version"] == 2


def test_a_reload_does_not_wait_for_imports_of_the_one_before(
    project: Project, daemon: DaemonFactory
) -> None:
    gate = project.gate("import")
    stuck = (
        MODULE
        + "\n    if 'unspool import' not in open('/proc/self/cmdline').read(): pause('import')"
    )
    running = start(project, daemon)
    imported(project, 2)
    project.write("tasks.py", stuck)
    running.send(signal.SIGHUP)
    _, worker = imported(project, 2)
    project.write("tasks.py", MODULE.replace("VERSION = 1", "VERSION = 3"))
    running.reload()
    wait_ended(worker.pid)
    submit(project, "mark")
    assert project.events.wait("mark")["version"] == 3
    gate.release()


@pytest.mark.parametrize("where", ["zygote", "worker"])
def test_an_import_that_hangs_is_ended_with_its_traceback(
    project: Project, daemon: DaemonFactory, where: str
) -> None:
    flag = project.write("hangs", "")
    in_worker = "not in" if where == "worker" else "in"
    hang = f"""
    if os.path.exists("hangs") and "unspool import" {in_worker} open("/proc/self/cmdline").read():
        report("hangs", child=subprocess.Popen(["sleep", "1000"]).pid)
        time.sleep(1000)
    """
    limits = ("--spooler-import-timeout=1", "--spooler-start-timeout=1")
    running = start(project, daemon, *limits, more=hang, ready=False)
    event = project.events.wait("hangs")
    if where == "worker":
        running.wait_log(rf"ERROR worker is not ready in time; .* pid={event.pid}\b")
    else:
        running.wait_log("import of the application takes longer than `spooler-import-timeout`")
    running.wait_log(r'  File ".*tasks\.py", line \d+ in <module>')
    flag.unlink()
    wait_ended(event.pid, event["child"])
    running.wait_ready()
    submit(project, "mark")
    project.events.wait("mark")


@pytest.mark.parametrize(
    ("end", "how"),
    [("os._exit(4)", "exited with status 4"), ("os.kill(os.getpid(), 11)", "killed by signal 11")],
)
def test_an_import_that_ends_its_process_is_tried_again(
    project: Project, daemon: DaemonFactory, end: str, how: str
) -> None:
    flag = project.write("ends", "")
    more = f"\n    if os.path.exists('ends'): {end}"
    running = start(project, daemon, more=more, ready=False)
    running.wait_log(rf"zygote .*{how} while it imported the application")
    flag.unlink()
    running.wait_ready()


def test_a_first_import_that_fails_in_part_is_used_all_the_same(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("broken.py", "1 / 0\n")
    running = start(project, daemon, "--import", "broken")
    running.wait_log("ZeroDivisionError")
    submit(project, "mark")
    project.events.wait("mark")
    assert len([line for line in running.log if "ZeroDivisionError" in line]) == 1


def test_a_stop_in_the_middle_of_an_import_leaves_nothing(
    project: Project, daemon: DaemonFactory
) -> None:
    more = """
    signal = __import__("signal")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    report("child", pid=subprocess.Popen(["sleep", "1000"]).pid)
    pause("import")
    """
    gate = project.gate("import")
    running = start(project, daemon, more=more, ready=False)
    first, child = imported(project, 1)[0].pid, project.events.wait("child")["pid"]
    assert running.stop() == 0
    wait_ended(first, child)
    running = start(project, daemon, more=more, ready=False)
    gate.release()
    _, worker = imported(project, 2)
    children = [event["pid"] for event in project.events.collect(2, "child")]
    assert running.stop() == 0
    wait_ended(worker.pid, *children)


def test_what_the_first_import_started_ends_with_it(
    project: Project, daemon: DaemonFactory
) -> None:
    more = "\n    report('child', pid=subprocess.Popen(['sleep', '1000']).pid)"
    running = start(project, daemon, more=more)
    first, of_worker = project.events.collect(2, "child")
    wait_ended(first["pid"])
    assert parent_of(of_worker["pid"]) == of_worker.pid
    # One of a worker that dies goes with it, as always.
    submit(project, "die")
    wait_ended(of_worker["pid"])
    assert running.running


@pytest.mark.parametrize("action", ["stop", "reload"])
def test_threads_of_the_import_do_not_hold_a_worker_up(
    project: Project, daemon: DaemonFactory, action: str
) -> None:
    more = """
    threading.Thread(target=time.sleep, args=(1000,)).start()
    atexit = __import__("atexit")
    atexit.register(lambda: report("atexit"))
    """
    running = start(project, daemon, more=more)
    _, worker = imported(project, 2)
    if action == "stop":
        assert running.stop() == 0
    else:
        running.reload()
    wait_ended(worker.pid)
    assert worker.pid in {event.pid for event in project.events.history if event.name == "atexit"}
    running.wait_log(rf"worker left pid={worker.pid}\b")


def test_mules_import_it_too_and_handle_messages(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon, "--mules=2")
    submit(project, "tell", what="x")
    event = project.events.wait("worked")
    assert event["imported_in"] == event.pid and event["mule"] in (1, 2)
    # The zygote's child, two mules and a worker.
    assert len(imported(project, 4)) == 4
    running.reload()
    imported(project, 4)
    submit(project, "tell", what="x")
    event = project.events.wait("worked")
    assert event["imported_in"] == event.pid


def test_a_mule_whose_import_fails_is_tried_again(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon, "--mules=1", more=BROKEN)
    submit(project, "tell", what="x")
    pid = project.events.wait("worked").pid
    broken = project.write("broken", "")
    mark = running.mark()
    os.kill(pid, signal.SIGKILL)
    running.wait_log(r"mule exited with status 1; starting it again .*again_ms=100", since=mark)
    running.wait_log("a worker cannot import", since=mark)
    broken.unlink()
    submit(project, "tell", what="x")
    assert project.events.wait("worked")["mule"] == 1


def test_timers_are_registered_once_and_lose_nothing_to_the_import(
    project: Project, daemon: DaemonFactory
) -> None:
    slow = TICKING + "\n    time.sleep(0.5)"
    running = start(project, daemon, "--spooler-processes=3", more=slow)
    beats = project.events.collect(6, "beat")
    assert {event["imported_in"] for event in beats} == {event.pid for event in beats}
    assert len({event.pid for event in beats}) == 1 and beats[0]["worker"] == 1
    # Not once for each of the five processes that have registered it.
    pace = (beats[-1].monotonic - beats[0].monotonic) / 5
    assert 0.15 < pace < 1
    project.events.collect(3, "thrice")
    assert [event.name for event in project.events.history].count("thrice") == 3
    mark = running.mark()
    running.reload()
    # The worker of the old application leaves, and one of the new takes over.
    running.wait_log("tick done signal=0", since=mark)
    new = project.events.collect(3, lambda e: e.name == "beat" and e.pid != beats[0].pid)
    assert {event["imported_in"] for event in new} == {event.pid for event in new}


def test_handlers_that_workers_register_are_theirs_alone(
    project: Project, daemon: DaemonFactory
) -> None:
    gate = project.gate("hold")
    running = start(project, daemon, "--spooler-processes=2")
    submit(project, "register", number=5)
    owner = project.events.wait("registered").pid
    # The other one may not take the same number.
    submit(project, "hold")
    held = project.events.wait("hold").pid
    if held != owner:
        gate.release()
        project.events.wait("held")
    project.python("import uwsgi; uwsgi.signal(5)")
    if held == owner:
        submit(project, "register", number=5)
        running.wait_log("unable to register signal 5")
        gate.release()
    assert project.events.wait("own").pid == owner


def test_a_killed_worker_is_replaced_by_one_that_imports(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, "--spooler-harakiri", "0.5", "--spooler-max-tasks", "1")
    submit(project, "sleep")
    pid = project.events.wait("sleep").pid
    running.wait_log(r'  File ".*tasks\.py", line \d+ in sleep')
    wait_ended(pid)
    seen = set()
    for _ in range(2):
        submit(project, "mark")
        event = project.events.wait("mark")
        assert event["imported_in"] == event.pid
        seen.add(event.pid)
    assert len(seen) == 2 and pid not in seen


def test_a_killed_daemon_takes_workers_that_import_with_it(
    project: Project, daemon: DaemonFactory
) -> None:
    gate = project.gate("import")
    running = start(project, daemon, "--mules=1", more="\n    pause('import')", ready=False)
    gate.release()
    _, *own = imported(project, 3)
    running.kill()
    gate.release(2)
    wait_ended(*(event.pid for event in own))


def test_a_saved_module_is_imported_again_in_each_worker(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon, "--py-autoreload=1", "--spooler-processes=2")
    imported(project, 3)
    mark = running.mark()
    project.write("tasks.py", MODULE.replace("VERSION = 1", "VERSION = 2"))
    running.wait_reloaded(mark)
    imported(project, 3)
    submit(project, "mark")
    assert project.events.wait("mark")["version"] == 2
    assert len([line for line in running.log if "reloading the application" in line]) == 1


# What a lock does that a thread of the zygote holds at the fork: in the worker, or in the process
# between the two already.
STUCK = """
    os.register_at_fork(after_in_child=lambda: os.getppid() {} IMPORTED_IN and time.sleep(1000))
"""


@pytest.mark.parametrize("where", ["!=", "=="])
def test_forked_workers_that_do_not_start_are_given_up(
    project: Project, daemon: DaemonFactory, where: str
) -> None:
    running = start(
        project,
        daemon,
        "--spooler-start-timeout=0.5",
        more=STUCK.format(where),
        fork="--spooler-fork=auto",
        ready=False,
    )
    late = "worker is not ready in time" if where == "!=" else "the zygote forks no workers"
    running.wait_log(late)
    running.wait_log("WARN .*from now on each worker imports the application itself")
    running.wait_ready()
    submit(project, "mark")
    event = project.events.wait("mark")
    assert event["imported_in"] == event.pid
    running.reload()
    submit(project, "mark")
    event = project.events.wait("mark")
    assert event["imported_in"] == event.pid
    assert len([line for line in running.log if late in line]) in (2, 3)


def test_with_always_workers_that_do_not_start_are_forked_on(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(
        project,
        daemon,
        "--spooler-start-timeout=0.2",
        more=STUCK.format("!="),
        fork="--spooler-fork=always",
        ready=False,
    )
    mark = 0
    for _ in range(4):
        running.wait_log("worker is not ready in time", since=mark)
        mark = running.mark()
    assert [event.name for event in project.events.history].count("imported") == 1
