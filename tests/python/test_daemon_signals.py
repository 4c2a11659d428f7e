"""uwsgi signals: raised and handled anywhere, registered at import or at run time, waited for."""

from __future__ import annotations

import pytest
from factory import DaemonFactory
from harness import Daemon, Project
from spooling import submit

MODULE = """
    import os
    import threading

    import uwsgi
    from uwsgidecorators import get_free_signal, signal, spool
    from reporting import pause, report

    def handler(name):
        def handle(number):
            report(name, number=number, worker=uwsgi.worker_id(),
                   spooler=uwsgi.i_am_the_spooler())
        return handle

    @spool
    def raise_one(args):
        uwsgi.signal(int(args["number"]))

    @spool
    def mark(args):
        report("mark")
"""


def start(project: Project, daemon: DaemonFactory, source: str, *options: str) -> Daemon:
    project.write("tasks.py", MODULE)
    with open(project.root / "tasks.py", "a") as file:
        file.write(source)
    return daemon("--spooler", project.spool, "--spooler-import", "tasks", *options)


def raise_from_outside(project: Project, number: int) -> None:
    project.python(f"import uwsgi; assert uwsgi.signal({number}) is None")


@pytest.mark.parametrize("target", ["", "worker", "worker1", "workers", "active-workers"])
def test_a_signal_of_a_task_runs_its_handler_beside_the_tasks(
    project: Project, daemon: DaemonFactory, target: str
) -> None:
    start(project, daemon, f"uwsgi.register_signal(17, {target!r}, handler('handled'))\n")
    submit(project, "raise_one", number=17)
    handled = project.events.wait("handled")
    assert (handled["number"], handled["spooler"]) == (17, None)
    assert handled["worker"] > 0


def test_a_signal_for_the_spooler_takes_itself_for_one(
    project: Project, daemon: DaemonFactory
) -> None:
    source = "uwsgi.register_signal(17, 'spooler', handler('handled'))\n"
    source += f"uwsgi.register_signal(18, {str(project.spool)!r}, handler('handled'))\n"
    start(project, daemon, source)
    for number in (17, 18):
        raise_from_outside(project, number)
        handled = project.events.wait("handled")
        assert handled.fields == {"number": number, "worker": 0, "spooler": True}


def test_a_signal_raised_by_an_import_is_handled(project: Project, daemon: DaemonFactory) -> None:
    source = "uwsgi.signal(17)\nuwsgi.register_signal(17, '', handler('handled'))\n"
    start(project, daemon, source)
    assert project.events.wait("handled")["number"] == 17


def test_signals_that_pile_up_are_coalesced(project: Project, daemon: DaemonFactory) -> None:
    source = """
@signal(17)
def slow(number):
    report("slow")
    pause("slow")

@spool
def many(args):
    for _ in range(100):
        uwsgi.signal(17)
    report("raised")
"""
    gate = project.gate("slow")
    running = start(project, daemon, source)
    raise_from_outside(project, 17)
    project.events.wait("slow")
    submit(project, "many")
    project.events.wait("raised")
    gate.release(1000)
    project.events.wait("slow")
    running.stop()
    assert [event.name for event in project.events.history].count("slow") == 2


def test_a_handler_registered_by_a_task_runs_in_its_process(
    project: Project, daemon: DaemonFactory
) -> None:
    source = """
@spool
def register(args):
    number = get_free_signal()
    uwsgi.register_signal(number, "", handler("handled"))
    assert uwsgi.signal_registered(number)
    uwsgi.add_ms_timer(number, 100)
    report("registered", number=number)

@spool
def busy(args):
    report("busy", here=os.getpid())
    pause("busy")
"""
    gate = project.gate("busy")
    start(project, daemon, source)
    submit(project, "register")
    registered = project.events.wait("registered")
    first = project.events.collect(3, "handled")
    assert {event.pid for event in first} == {registered.pid}
    # Between its tasks, and no more than one waits meanwhile.
    submit(project, "busy")
    project.events.wait("busy")
    before = len([event for event in project.events.history if event.name == "handled"])
    submit(project, "register")
    gate.release()
    # The process that is already taken by the first number gives out another one.
    assert project.events.wait("registered")["number"] != registered["number"]
    project.events.collect(before + 3, "handled")


def test_a_number_registered_by_one_process_is_taken_for_all(
    project: Project, daemon: DaemonFactory
) -> None:
    source = """
@spool
def hold(args):
    uwsgi.register_signal(30, "", handler("handled"))
    report("held")
    pause("hold")

@spool
def take(args):
    try:
        uwsgi.register_signal(30, "", handler("handled"))
    except ValueError as error:
        report("refused", text=str(error), registered=uwsgi.signal_registered(30))
"""
    gate = project.gate("hold")
    start(project, daemon, source, "--spooler-processes", "2")
    submit(project, "hold")
    holder = project.events.wait("held")
    submit(project, "take")
    refused = project.events.wait("refused")
    assert str(holder.pid) in refused["text"] and refused["registered"] is True
    gate.release()


def test_what_an_import_registered_cannot_be_registered_again(
    project: Project, daemon: DaemonFactory
) -> None:
    source = """
uwsgi.register_signal(17, "", handler("handled"))

@spool
def again(args):
    try:
        uwsgi.register_signal(17, "", handler("other"))
    except ValueError as error:
        report("refused", text=str(error))
"""
    start(project, daemon, source)
    submit(project, "again")
    assert "use another number" in project.events.wait("refused")["text"]


def test_a_task_waits_for_signals(project: Project, daemon: DaemonFactory) -> None:
    source = """
uwsgi.register_signal(17, "", handler("handled"))

@spool
def wait(args):
    report("waiting", received=uwsgi.signal_received())
    result = uwsgi.signal_wait(17)
    report("received", result=result, received=uwsgi.signal_received())
    uwsgi.signal_wait()
    report("received", result=b"", received=uwsgi.signal_received())
"""
    start(project, daemon, source, "--spooler-processes", "2")
    submit(project, "wait")
    waiting = project.events.wait("waiting")
    assert waiting["received"] == 0
    # Raised before the wait began or during it: both are heard.
    submit(project, "raise_one", number=17)
    received = project.events.wait("received")
    assert received.fields == {"result": b"", "received": 17}
    # Its handler ran in the process that waits if it waited already, else in another one.
    assert project.events.wait("handled")["number"] == 17
    raise_from_outside(project, 99)
    assert project.events.wait("received")["received"] == 99


def test_a_signal_without_a_handler_is_kept_for_who_waits_for_it(
    project: Project, daemon: DaemonFactory
) -> None:
    source = """
@spool
def wait(args):
    for _ in range(3):
        uwsgi.signal_wait()
        report("received", received=uwsgi.signal_received())
"""
    running = start(project, daemon, source)
    for number in (50, 51, 50):
        raise_from_outside(project, number)
    running.wait_log("signal has no handler")
    submit(project, "wait")
    received = project.events.collect(2, "received")
    assert [event["received"] for event in received] == [50, 51]
    raise_from_outside(project, 52)
    assert project.events.wait("received")["received"] == 52


def test_a_wait_ends_with_the_daemon(project: Project, daemon: DaemonFactory) -> None:
    source = """
@spool
def wait(args):
    report("waiting")
    try:
        uwsgi.signal_wait()
    except SystemError as error:
        report("ended", text=str(error))
"""
    running = start(project, daemon, source)
    submit(project, "wait")
    project.events.wait("waiting")
    assert running.stop() == 0
    assert "error waiting for signal" in project.events.wait("ended")["text"]


def test_handlers_end_with_their_process(project: Project, daemon: DaemonFactory) -> None:
    source = """
@spool
def register(args):
    uwsgi.register_signal(30, "", handler("handled"))
    uwsgi.add_ms_timer(30, 50)

@spool
def die(args):
    if os.path.exists("../died"):
        return
    open("../died", "w").close()
    os._exit(3)
"""
    running = start(project, daemon, source)
    submit(project, "register")
    project.events.collect(2, "handled")
    submit(project, "die")
    running.wait_log("handlers that were registered at run time end")
    submit(project, "mark")
    project.events.wait("mark")
    # The number is free again.
    submit(project, "register")
    project.events.collect(2, "handled")


def test_a_process_that_a_task_forked_can_raise_and_not_register(
    project: Project, daemon: DaemonFactory
) -> None:
    source = """
uwsgi.register_signal(17, "", handler("handled"))

@spool
def fork(args):
    if os.fork() == 0:
        try:
            uwsgi.register_signal(30, "", handler("handled"))
        except ValueError as error:
            report("refused", text=str(error))
        uwsgi.signal(17)
        os._exit(0)
    os.wait()
"""
    start(project, daemon, source)
    submit(project, "fork")
    assert "forked by a worker" in project.events.wait("refused")["text"]
    project.events.wait("handled")


def test_reload_and_stop_from_the_application(project: Project, daemon: DaemonFactory) -> None:
    source = """
@spool
def reload(args):
    report("asked", result=uwsgi.reload())

@spool
def stop(args):
    report("asked", result=uwsgi.stop())
"""
    running = start(project, daemon, source)
    submit(project, "reload")
    assert project.events.wait("asked")["result"] is True
    running.wait_log("reload done")
    submit(project, "mark")
    project.events.wait("mark")
    submit(project, "stop")
    assert project.events.wait("asked")["result"] is True
    assert running.wait_exit() == 0


def test_reload_and_stop_from_outside(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon, "")
    project.python("import uwsgi; assert uwsgi.reload() is True")
    running.wait_log("reload done")
    project.python("import uwsgi; assert uwsgi.stop() is True")
    assert running.wait_exit() == 0
    refused = project.python("import uwsgi; uwsgi.signal(1)", check=False)
    assert "no daemon runs the spool" in refused.stderr


def test_the_frequency_of_retries_can_be_set(project: Project, daemon: DaemonFactory) -> None:
    source = """
@spool
def often(args):
    uwsgi.set_spooler_frequency(0.05)
    report("set")

@spool
def fail(args):
    report("fail")
    raise RuntimeError("again")
"""
    start(project, daemon, source, "--spooler-frequency", "600")
    submit(project, "often")
    project.events.wait("set")
    submit(project, "fail")
    project.events.collect(4, "fail")


def test_an_unknown_target_is_named(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon, "uwsgi.register_signal(17, 'cluster', handler('no'))\n")
    assert running.wait_log("signal has a target that there is none of").string.count("cluster")


def test_requests_that_make_no_sense_harm_nothing(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon, "")
    source = """
    import json, os, unspool._native as native
    spool = os.environ["UNSPOOL_SPOOL"].encode()
    for request in (b"", b"{", b"[]", b"{}", b'{"type": "nonsense"}', b"x" * 100_000,
                    b'{"type": "signal", "signal": 256}', b'{"type": "register", "signal": 1}',
                    b'{"type": "wait", "worker": 1}', b'{"type": "frequency", "seconds": -1}'):
        try:
            answer = native.ask_daemon(spool, request)
        except OSError:
            # An empty packet is the end of a connection.
            assert request == b""
        else:
            assert json.loads(answer)["type"] == "failed", (request, answer)
    """
    project.python(source)
    submit(project, "mark")
    project.events.wait("mark")
    assert running.running
