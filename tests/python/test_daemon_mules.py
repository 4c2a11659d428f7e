"""Mules of the daemon, from beside it too; the same as in uWSGI is in tests/interop."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from factory import DaemonFactory
from harness import Daemon, Project
from processes import WAIT_SECONDS_MAX, wait_ended
from spooling import submit
from statistics_client import statistics

MODULE = """
    import os, subprocess, sys, time
    import uwsgi
    from uwsgidecorators import mulefunc, postfork, spool
    from reporting import pause, report

    @mulefunc
    def work(*args, **kwargs):
        report("worked", mule=uwsgi.mule_id(), args=args, kwargs=kwargs)
        if args == ("hold",):
            pause("hold")
            report("held", mule=uwsgi.mule_id())
        if args == ("child",):
            report("child", pid=subprocess.Popen(["sleep", "1000"]).pid)
        if args == ("fork",):
            if os.fork() == 0:
                report("forked")
                return

    @mulefunc(2)
    def in_two(*args):
        report("worked", mule=uwsgi.mule_id(), args=args)

    @mulefunc("pair")
    def in_a_pair(*args):
        report("worked", mule=uwsgi.mule_id(), args=args)

    @spool
    def tell(args):
        work(args["what"])

    def locals_of_the_mule():
        report("program", mule=uwsgi.mule_id(), worker=uwsgi.worker_id(),
               spooler=uwsgi.i_am_the_spooler())
        while True:
            uwsgi.mule_get_msg()
"""


@pytest.fixture
def application(project: Project) -> Project:
    project.write("jobs.py", MODULE)
    return project


def start(daemon: DaemonFactory, project: Project, *options: str) -> Daemon:
    return daemon("--spooler", project.spool, "--import", "jobs", *options)


BESIDE = """
    import uwsgi
    import jobs
    jobs.work(1, two=2)
    jobs.in_two("x")
    jobs.in_a_pair("y")
    print(uwsgi.mule_msg(b"long" * 40_000), uwsgi.mule_msg(b"", 9), uwsgi.mule_msg(b"", -1))
    for call in (lambda: uwsgi.mule_msg(b"", b"nope"), lambda: uwsgi.mule_msg(b"", 1.5)):
        try:
            print(call())
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
    print(uwsgi.farm_msg("pair", b"not a pickle"))
    print(uwsgi.mule_id(), uwsgi.in_farm())
"""


def test_messages_from_beside_the_daemon(application: Project, daemon: DaemonFactory) -> None:
    running = start(daemon, application, "--mules=2", "--farm=pair:1,2")
    done = application.python(BESIDE)
    # Two mules: in any order.
    events = {event["args"]: event for event in application.events.collect(3, "worked")}
    assert set(events) == {(1,), ("x",), ("y",)}
    assert (events[1,]["kwargs"], events["x",]["mule"]) == ({"two": 2}, 2)
    assert done.stdout.splitlines() == [
        "False False False",
        "ValueError: the daemon refuses `message`: unknown farm: nope",
        "ValueError: invalid mule: 1.5",
        "None",
        "0 None",
    ]
    assert [line for line in done.stderr.splitlines() if "message of" in line] == [
        "unspool: mule_msg: a message of 160000 bytes to any mule was not sent: is longer than "
        "120000 bytes",
        "unspool: mule_msg: a message of 0 bytes to mule 9 was not sent: there is no mule 9",
        "unspool: mule_msg: a message of 0 bytes to mule -1 was not sent: there is no mule -1",
    ]
    running.wait_log("UnpicklingError")


def test_a_message_of_100_000_bytes_from_beside(
    application: Project, daemon: DaemonFactory
) -> None:
    start(daemon, application, "--mules=1")
    application.python("import jobs; jobs.work(bytes(range(256)) * 390)")
    assert application.events.wait("worked")["args"] == (bytes(range(256)) * 390,)


def test_without_a_daemon_or_mules_a_message_is_an_error(
    application: Project, daemon: DaemonFactory
) -> None:
    told = "import jobs\ntry: jobs.work(1)\nexcept ValueError as error: print(error)"
    done = application.python(told)
    assert re.search("unable to ask for `message`: no daemon runs the spool", done.stdout)
    start(daemon, application)
    assert "no mule configured" in application.python(told).stdout


def test_packages_beside_the_daemon_take_the_spool(
    application: Project, daemon: DaemonFactory
) -> None:
    """uwsgi-tasks prefers a mule where the options name some: it would need the daemon to be up."""
    config = application.write("app.ini", f"[uwsgi]\nspooler = {application.spool}\nmules = 2\n")
    application.write(
        "automatic.py",
        """
        import uwsgi
        from reporting import report
        from uwsgi_tasks import task, TaskExecutor

        @task
        def automatic(*args):
            report("ran", mule=uwsgi.mule_id(), args=args)

        @task(executor=TaskExecutor.MULE)
        def for_a_mule(*args):
            report("ran", mule=uwsgi.mule_id(), args=args)

        """,
    )
    env = {**application.env, "UNSPOOL_CONFIG": os.fspath(config)}
    source = """
        import uwsgi, automatic
        print([name for name in ("mule", "mules", "farm") if name in uwsgi.opt])
        automatic.automatic(1)
        automatic.for_a_mule(2)
    """
    assert application.python(source, env=env).stdout == "[]\n"
    assert len(application.tasks()) == 2
    daemon(config, "--import", "automatic")
    events = application.events.collect(2, "ran")
    assert [(event["mule"], event["args"]) for event in events] == [(0, (1,)), (0, (2,))]


def test_tasks_of_the_daemon_send_messages(application: Project, daemon: DaemonFactory) -> None:
    start(daemon, application, "--mules=2")
    submit(application, "tell", what="done")
    event = application.events.wait("worked")
    assert (event["mule"] in (1, 2), event["args"]) == (True, ("done",))


def test_a_program_of_the_application(application: Project, daemon: DaemonFactory) -> None:
    start(daemon, application, "--mule=jobs:locals_of_the_mule")
    event = application.events.wait("program")
    assert (event["mule"], event["worker"], event["spooler"]) == (1, 0, None)
    title = Path(f"/proc/{event.pid}/cmdline").read_bytes().rstrip(b"\0")
    assert title == b"unspool mule 1"


def test_a_killed_mule_is_replaced_and_takes_its_children_along(
    application: Project, daemon: DaemonFactory
) -> None:
    address = application.root / "stats"
    running = start(daemon, application, "--mules=1", f"--stats={address}")
    submit(application, "tell", what="child")
    mule = application.events.wait("worked").pid
    child = application.events.wait("child")["pid"]
    wait_doing(address, {1: "waits"})
    os.kill(mule, signal.SIGKILL)
    running.wait_log("mule was killed by signal 9; starting it again.*mule=1")
    wait_ended(child)
    submit(application, "tell", what="done")
    assert application.events.wait("worked").pid != mule


def test_a_handler_that_forks_is_one_mule(application: Project, daemon: DaemonFactory) -> None:
    """Its child, which comes back from the handler, ends."""
    start(daemon, application, "--mules=1")
    submit(application, "tell", what="fork")
    first = application.events.wait("worked")
    child = application.events.wait("forked").pid
    assert child != first.pid
    wait_ended(child)
    submit(application, "tell", what="done")
    assert application.events.wait("worked").pid == first.pid


def test_a_program_that_cannot_be_imported_is_tried_again_less_and_less(
    application: Project, daemon: DaemonFactory
) -> None:
    running = daemon("--mule=nothing_there:program", ready=False)
    for again_ms in ("0", "100", "200", "400"):
        running.wait_log(
            f"mule exited with status 1; starting it again mule=1 .*again_ms={again_ms}$"
        )
    running.wait_log("ModuleNotFoundError: No module named 'nothing_there'")


def test_a_reload_whose_import_fails_keeps_the_mules(
    application: Project, daemon: DaemonFactory
) -> None:
    running = start(daemon, application, "--mules=1")
    submit(application, "tell", what="1")
    first = application.events.wait("worked")
    application.write("jobs.py", "raise ValueError('broken')")
    running.send(signal.SIGHUP)
    running.wait_log("ValueError: broken")
    submit(application, "tell", what="2")
    assert application.events.wait("worked").pid == first.pid


def test_messages_wait_for_the_mules_of_a_reload(
    application: Project, daemon: DaemonFactory
) -> None:
    running = start(daemon, application, "--mules=1")
    gate = application.gate("hold")
    for what in ("hold", "1", "2", "3"):
        submit(application, "tell", what=what)
    old = application.events.wait("worked").pid
    application.wait_empty()
    mark = running.mark()
    running.send(signal.SIGHUP)
    running.wait_reloaded(mark)
    gate.release()
    assert application.events.wait("held").pid == old
    events = application.events.collect(3, "worked")
    assert [event["args"] for event in events] == [("1",), ("2",), ("3",)]
    assert {event.pid for event in events} & {old} == set()


def test_a_stop_lets_the_message_end(application: Project, daemon: DaemonFactory) -> None:
    running = start(daemon, application, "--mules=1")
    gate = application.gate("hold")
    submit(application, "tell", what="hold")
    application.events.wait("worked")
    running.send(signal.SIGTERM)
    running.wait_log("stopping")
    gate.release()
    application.events.wait("held")
    assert running.wait_exit() == 0


def test_what_no_mule_has_read_at_a_stop_is_counted(
    application: Project, daemon: DaemonFactory
) -> None:
    running = start(daemon, application, "--mules=1", "--farm=pair:1")
    gate = application.gate("hold")
    submit(application, "tell", what="hold")
    application.events.wait("worked")
    application.python("import uwsgi; uwsgi.mule_msg(b''); uwsgi.mule_msg(b'x' * 100_000, 1)")
    application.python("import uwsgi; uwsgi.farm_msg('pair', b'x')")
    running.send(signal.SIGTERM)
    running.wait_log("stopping")
    gate.release()
    running.wait_log("messages that no mule has read are lost messages=3")
    assert running.wait_exit() == 0


def wait_doing(address: Path, wanted: dict[int, str]) -> list[dict[str, Any]]:
    """Asks until the mules do this, by their numbers; what is said of them then."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        mules: list[dict[str, Any]] = statistics(address)["unspool"]["mules"]
        assert [mule["id"] for mule in mules] == sorted(wanted)
        doing = {mule["id"]: mule["doing"] for mule in mules}
        if doing == wanted:
            return mules
        assert time.monotonic() < deadline, doing


def test_statistics_name_the_mules(application: Project, daemon: DaemonFactory) -> None:
    address = application.root / "stats"
    start(daemon, application, "--mules=2", f"--stats={address}")
    gate = application.gate("hold")
    submit(application, "tell", what="hold")
    event = application.events.wait("worked")
    busy = event["mule"]
    # The other one is ready before it waits.
    mules = wait_doing(address, {busy: "message", 3 - busy: "waits"})
    mule = mules[busy - 1]
    assert mule["pid"] == event.pid and mule["message_ms"] >= 0 and mule["respawns"] == 0
    assert mules[2 - busy]["message_ms"] is None
    gate.release()


def test_mules_end_with_a_daemon_that_is_killed(
    application: Project, daemon: DaemonFactory
) -> None:
    """One that handles a message finishes it."""
    application.write(
        "sleeps.py",
        """
        import time
        import uwsgi
        from reporting import report

        report("sleeps")
        time.sleep(1000)
        """,
    )
    running = start(daemon, application, "--mules=2", "--mule=sleeps.py")
    sleeps = application.events.wait("sleeps").pid
    gate = application.gate("hold")
    submit(application, "tell", what="hold")
    busy = application.events.wait("worked").pid
    children = running.children
    os.kill(running.pid, signal.SIGKILL)
    running.wait_exit()
    wait_ended(sleeps)
    gate.release()
    assert application.events.wait("held").pid == busy
    wait_ended(*children)


def test_the_second_stop_interrupts_a_message(application: Project, daemon: DaemonFactory) -> None:
    running = start(daemon, application, "--mules=1")
    application.gate("hold")
    submit(application, "tell", what="hold")
    application.events.wait("worked")
    running.send(signal.SIGQUIT)
    running.wait_log("mule exited with status 0 while it handled a message, which is lost")
    assert running.wait_exit() == 0


def test_what_the_options_give_to_programs(application: Project, daemon: DaemonFactory) -> None:
    """The directory, the variables and the arguments of the options."""
    (application.root / "site").mkdir()
    application.write(
        "site/where.py",
        """
        import os, sys
        from reporting import report
        report("where", cwd=os.getcwd(), env=os.environ["NAME"], argv=sys.argv)
        import uwsgi
        uwsgi.mule_get_msg()
        """,
    )
    daemon("--chdir=site", "--env=NAME=value", "--pyargv=a b", "--mule=where.py")
    event = application.events.wait("where")
    assert event["cwd"] == str(application.root / "site")
    assert (event["env"], event["argv"]) == ("value", ["uwsgi", "a", "b"])


def test_a_full_queue_is_said_beside_the_daemon(
    application: Project, daemon: DaemonFactory
) -> None:
    start(daemon, application, "--mules=1", "--mule-msg-size=300000")
    gate = application.gate("hold")
    submit(application, "tell", what="hold")
    application.events.wait("worked")
    done = application.python(
        """
        import jobs, uwsgi, pickle
        call = {"service": "uwsgi_mulefunc", "func": "work", "args": ("x" * 50_000,), "kwargs": {}}
        print(next(n for n in range(1000) if not uwsgi.mule_msg(pickle.dumps(call))))
        """
    )
    sent = int(done.stdout)
    assert 1 <= sent < 100
    assert re.search(r"any mule was not sent: its queue is full \(300000 bytes", done.stderr)
    gate.release()
    application.events.wait("held")
    # All that were taken arrive.
    assert len(application.events.collect(sent, "worked")) == sent
