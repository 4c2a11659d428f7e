"""Mules, farms and their messages: the same applications in the real uWSGI and in unspool.

Messages are sent by a mule of its own, `mule_driver.py`, the last one, which evaluates what the
test tells it. What differs on purpose stands in docs/uwsgi-differences.md.
"""

from __future__ import annotations

import os
import signal
import time

import pytest
from both import APPS, Both, System
from harness import Event, Project
from mules import Mules
from processes import wait_ended

SYSTEMS: list[System] = ["uwsgi", "unspool"]
FULL = {"uwsgi": r"MULE MSG QUEUE IS FULL", "unspool": r"finds its queue full"}


def _each(events: list[Event]) -> list[object]:
    return [event["message"] for event in events]


@pytest.mark.parametrize("system", SYSTEMS)
def test_mules_are_numbered_as_they_stand(both: Both, system: System) -> None:
    mules = Mules(both, system, "--mule", "--mules=2", "--mule=interop_mules:program")
    assert mules.driver["mule"] == 5
    assert {mules.wait("forked", number)["mule"] for number in (1, 2, 3, 4, 5)} == {1, 2, 3, 4, 5}
    for number in (1, 2, 3):
        assert mules.ask(f"uwsgi.mule_msg(b'to {number}', {number})") == "True"
        assert mules.wait("message", number)["message"] == f"to {number}".encode()
    assert mules.ask("uwsgi.mule_msg('text, to any')") == "True"
    assert mules.wait("message")["message"] == b"text, to any"


@pytest.mark.parametrize("system", SYSTEMS)
def test_messages_keep_their_order_and_wait_while_the_mule_is_busy(
    both: Both, system: System
) -> None:
    gate = both.project.gate("busy")
    mules = Mules(both, system, "--mule")
    mules.ask("uwsgi.mule_msg(b'pause busy', 1)")
    first = mules.wait("message")
    mules.ask("[uwsgi.mule_msg(b'%d' % n, 1) for n in range(50)]")
    gate.release()
    mules.wait("resumed")
    events = both.project.events.collect(50, "message")
    assert _each(events) == [b"%d" % number for number in range(50)]
    assert {event.pid for event in events} == {first.pid}


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_exception_is_logged_and_the_mule_goes_on(both: Both, system: System) -> None:
    mules = Mules(both, system, "--mule")
    mules.ask("[uwsgi.mule_msg(m, 1) for m in (b'raise', b'next')]")
    first, second = both.project.events.collect(2, "message")
    mules.daemon.wait_log("ValueError: as told")
    assert first.pid == second.pid


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("way", ["exit", "die"])
def test_messages_outlive_the_mule_that_dies(both: Both, system: System, way: str) -> None:
    """The one that it handles is lost, as the log of unspool says; those behind it are not."""
    mules = Mules(both, system, "--mule")
    mules.ask(f"[uwsgi.mule_msg(m, 1) for m in (b'{way}', b'next')]")
    first, second = both.project.events.collect(2, "message")
    assert _each([first, second]) == [way.encode(), b"next"]
    assert first.pid != second.pid
    if system == "unspool":
        how = "exited with status 3" if way == "exit" else "was killed by signal 9"
        mules.daemon.wait_log(f"mule {how} while it handled a message, which is lost.*mule=1")
        mules.daemon.wait_log(f"mule {how}; starting it again.*mule=1")


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_farm_shares_a_queue(both: Both, system: System) -> None:
    mules = Mules(both, system, "--mules=3", "--farm=pair:1,2", "--farm=mine:3,4")
    assert mules.ask("uwsgi.mule_msg(b'as a mule message', b'pair')") == "True"
    assert mules.wait("message")["mule"] in (1, 2)
    assert mules.ask("uwsgi.farm_msg('pair', 'as a farm message')") == "None"
    assert mules.wait("message")["mule"] in (1, 2)
    asked = ["uwsgi.in_farm()", "uwsgi.in_farm('mine')", "uwsgi.in_farm('pair')"]
    assert [mules.ask(expression) for expression in asked] == ["True", "True", "None"]
    by_name = mules.ask("uwsgi.mule_msg(b'a farm as text', 'pair')")
    assert by_name == ("True" if system == "unspool" else "ValueError: invalid mule")


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_message_of_70_000_bytes(both: Both, system: System) -> None:
    """uWSGI cuts it to 65,536 bytes without a word."""
    mules = Mules(both, system, "--mule")
    whole = 70_000 if system == "unspool" else 65_536
    assert mules.ask("uwsgi.mule_msg(b'x' * 70000, 1)") == "True"
    assert mules.wait("message")["message"] == whole
    assert mules.ask("uwsgi.mule_msg(b'x' * 70000, 2)") == "True"
    assert mules.ask("len(uwsgi.mule_get_msg(timeout=5))") == str(whole)
    assert mules.ask("uwsgi.mule_msg(b'x' * 70000, 2)") == "True"
    assert mules.ask("len(uwsgi.mule_get_msg(buffer_size=1000, timeout=5))") == "1000"


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_full_queue_is_said(both: Both, system: System) -> None:
    gate = both.project.gate("full")
    mules = Mules(both, system, "--mule")
    mules.ask("uwsgi.mule_msg(b'pause full', 1)")
    mules.wait("message")
    sent = mules.ask("next(n for n in range(9999) if not uwsgi.mule_msg(b'%10000d' % n, 1))")
    mules.daemon.wait_log(FULL[system])
    assert int(sent) >= 10
    gate.release()
    # All that were taken arrive.
    assert len(both.project.events.collect(int(sent), "message")) == int(sent)


SAME = """
uwsgi.mule_id()
uwsgi.worker_id()
uwsgi.mule_msg(b'x', b'nope')
uwsgi.mule_msg(b'x', 9)
uwsgi.mule_msg(b'x', -1)
uwsgi.mule_msg(b'x', None)
uwsgi.mule_msg(b'x', 1.5)
uwsgi.mule_msg(None)
uwsgi.mule_msg()
uwsgi.mule_msg(b'x', 1, 2)
uwsgi.mule_msg(message=b'x')
uwsgi.mule_get_msg(timeout=0)
uwsgi.mule_get_msg(timeout=1)
uwsgi.mule_get_msg(True, True, 10, 0)
uwsgi.mule_get_msg(farms=False, timeout=0)
uwsgi.mule_get_msg(foo=1)
uwsgi.mule_msg(b'self', 2)
uwsgi.mule_get_msg(timeout=5)
uwsgi.mule_msg('any', 2)
uwsgi.mule_get_msg(False, False, 100, 5)
uwsgi.mule_msg(b'', 2)
uwsgi.mule_get_msg(timeout=5)
uwsgi.mule_msg(b'0123456789', 2)
uwsgi.mule_get_msg(buffer_size=4, timeout=5)
uwsgi.mule_get_msg(buffer_size=4, timeout=0)
uwsgi.farm_msg('mine', b'one')
uwsgi.mule_get_msg(timeout=5)
uwsgi.farm_msg('mine', 'two')
uwsgi.mule_get_msg(farms=False, timeout=0)
uwsgi.farm_get_msg()
uwsgi.farm_msg('nope', b'x')
uwsgi.farm_msg('mine')
uwsgi.in_farm('nope')
uwsgi.set_user_harakiri(0)
uwsgi.signal_registered(5)
sorted(name for name in ('mule', 'mules', 'farm') if name in uwsgi.opt)
uwsgi.opt['mules'], uwsgi.opt['farm']
""".strip().splitlines()


def _comparable(result: str) -> str:
    # The texts of the language's own errors differ with the language of the function; those of
    # uWSGI may be followed by what was wrong.
    kind, _, text = result.partition(": ")
    return kind if kind == "TypeError" else f"{kind}: {text.split(':')[0]}" if text else kind


@pytest.mark.usefixtures("real_uwsgi")
def test_the_functions_give_the_same(project: Project) -> None:
    answers: dict[str, list[str]] = {}
    for system in SYSTEMS:
        both = Both(project)
        try:
            mules = Mules(both, system, "--mules=1", "--farm=mine:2")
            answers[system] = [_comparable(mules.ask(expression)) for expression in SAME]
            both.stop()
        finally:
            both.close()
    pairs = zip(SAME, answers["unspool"], answers["uwsgi"], strict=True)
    assert [pair for pair in pairs if pair[1] != pair[2]] == []


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_program_that_ends_is_started_again(both: Both, system: System) -> None:
    short = str(APPS / "mule_short.py")
    mules = Mules(both, system, f"--mule={short}", "--mule=interop_mules:program")
    first = mules.wait("short")
    assert (first["mule"], first["module"], first["file"]) == (1, "__main__", short)
    assert first["argv"] == ["uwsgi"]
    assert mules.wait("left", 1)["worker"] == 0
    assert mules.wait("short").pid != first.pid
    first = mules.wait("program")
    assert (first["mule"], first["module"]) == (2, "interop_mules")
    mules.wait("left", 2)
    assert mules.wait("program").pid != first.pid


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_program_that_raises(both: Both, system: System) -> None:
    mules = Mules(both, system, f"--mule={APPS / 'mule_short.py'}", INTEROP_FAILS="1")
    mules.daemon.wait_log("ValueError: short and wrong")
    mules.wait("left", 1)
    both.project.events.collect(2, "short")


@pytest.mark.parametrize("system", SYSTEMS)
def test_mulefunc(both: Both, system: System) -> None:
    mules = Mules(both, system, "--mules=2", "--farm=pair:1,2", INTEROP_FUNCTIONS="1")
    call = "__import__('interop_mules')."
    assert mules.ask(call + "anywhere(1, two=2)") == "None"
    event = mules.wait("called")
    assert (event["args"], event["kwargs"]) == ((1,), {"two": 2})
    assert mules.ask(call + "in_two('x')") == "None"
    event = mules.wait("called")
    assert (event["mule"], event["args"]) == (2, ("x",))
    answer = mules.ask(call + "in_a_pair(3)")
    if system == "uwsgi":
        # A name that is text is no farm to it.
        assert answer == "ValueError: invalid mule"
    else:
        assert answer == "None"
        assert mules.wait("called")["mule"] in (1, 2)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_decorators_of_mules(both: Both, system: System) -> None:
    mules = Mules(both, system, "--mules=4", "--farm=pair:4", INTEROP_BRAINS="1")

    def brain(kind: str) -> Event:
        events = both.project.events
        return events.wait(lambda event: event.name == "brain" and event["kind"] == kind)

    assert brain("mule")["mule"] == 1
    assert [brain("muleloop")["mule"] for _ in range(3)] == [2, 2, 2]
    mules.ask("uwsgi.mule_msg(b'for three', 3)")
    event = brain("mulemsg")
    assert (event["mule"], event["message"]) == (3, b"for three")
    mules.ask("uwsgi.farm_msg('pair', b'for a pair')")
    event = brain("farm")
    assert (event["mule"], event["message"]) == (4, b"for a pair")


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_stop_ends_mules_that_sleep_or_read(both: Both, system: System) -> None:
    programs = [f"--mule={APPS / name}" for name in ("mule_sleeps.py", "mule_reads.py")]
    mules = Mules(both, system, "--mule", *programs)
    mules.wait("sleeps")
    mules.wait("reads")
    started = time.monotonic()
    assert mules.daemon.stop() == 0
    assert time.monotonic() - started < 10
    # The hook at the exit runs in each.
    assert {mules.wait("left", number)["mule"] for number in (1, 2, 3, 4)} == {1, 2, 3, 4}


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("how", ["stop", "reload"])
def test_a_mule_that_does_not_end_is_killed(both: Both, system: System, how: str) -> None:
    options = (f"--mule={APPS / 'mule_stubborn.py'}", "--mule-reload-mercy=2")
    mules = Mules(both, system, *options)
    stubborn = mules.wait("stubborn")
    started = time.monotonic()
    if how == "stop":
        assert mules.daemon.stop() == 0
    else:
        mules.daemon.send(signal.SIGHUP)
        assert mules.wait("stubborn").pid != stubborn.pid
    assert 1.5 <= time.monotonic() - started < 12
    if system == "unspool":
        mules.daemon.wait_log("mule does not end within `mule-reload-mercy`; killing it.*mule=1")
        wait_ended(stubborn.pid, stubborn["child"])
    else:
        # uWSGI leaves behind what the mule has started.
        os.kill(stubborn["child"], signal.SIGKILL)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_reload_replaces_mules(both: Both, system: System) -> None:
    """unspool lets the message that a mule handles end; uWSGI does not."""
    gate = both.project.gate("reload")
    mules = Mules(both, system, "--mule", f"--mule={APPS / 'mule_reads.py'}")
    reading = mules.wait("reads")
    mules.ask("uwsgi.mule_msg(b'pause reload', 1)")
    old = mules.wait("message")
    mules.ask("uwsgi.mule_msg(b'behind', 1)")
    mules.daemon.send(signal.SIGHUP)
    assert mules.wait("reads").pid != reading.pid
    assert mules.wait("driver").pid != mules.driver.pid
    if system == "unspool":
        gate.release()
        assert mules.wait("resumed").pid == old.pid
        # The new one has what waited.
        new = mules.wait("message")
        assert (new["message"], new.pid != old.pid) == (b"behind", True)
    wait_ended(old.pid)
    mules.ask("uwsgi.mule_msg(b'later', 1)")
    assert mules.wait("message")["message"] == b"later"


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_limit_of_the_time_of_a_message(both: Both, system: System) -> None:
    """In uWSGI `mule-harakiri` does not end a message."""
    mules = Mules(both, system, "--mule", "--mule-harakiri=1")
    mules.ask("[uwsgi.mule_msg(m, 1) for m in (b'sleep 3', b'next')]")
    first = mules.wait("message")
    second = mules.wait("message")
    if system == "uwsgi":
        assert first.pid == second.pid
        return
    mules.daemon.wait_log("a message takes too long; killing its mule.*mule=1.*bytes=7.*limit_s=1")
    mules.daemon.wait_log("while it handled a message, which is lost")
    assert first.pid != second.pid
    assert 0.9 < second.time - first.time < 2.9


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_limit_that_the_application_sets(both: Both, system: System) -> None:
    mules = Mules(both, system, "--mule")
    mules.ask("[uwsgi.mule_msg(m, 1) for m in (b'limit 1', b'next')]")
    first, second = both.project.events.collect(2, "message")
    assert first.pid != second.pid
    assert second.time - first.time < 10
