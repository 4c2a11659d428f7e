"""Signals whose target is a mule or a farm, on the real uWSGI and on unspool.

The last mule is the driver of the test, which raises the signals and waits for none itself.
"""

from __future__ import annotations

import json
import os
import signal

import pytest
from both import APPS, Both, System
from mules import Mules
from processes import wait_ended

SYSTEMS: list[System] = ["uwsgi", "unspool"]
WAITS = APPS / "mule_waits.py"


def start(both: Both, system: System, targets: list[str], *options: str, **env: str) -> Mules:
    # Workers are targets too, and uWSGI has them with a socket alone.
    env = {**env, "INTEROP_TARGETS": json.dumps(targets)}
    processes = ["--processes=1"] if system == "uwsgi" else []
    return Mules(both, system, *processes, *options, application="interop_mule_signals", **env)


def raised(mules: Mules, number: int) -> None:
    assert mules.ask(f"uwsgi.signal({number})") == "None"


# The target, and in which mules its handler runs: in each of these sets one does.
TARGETS: list[tuple[str, list[set[int]]]] = [
    ("mule", [{1, 2}]),
    ("mule0", [{1, 2}]),
    ("mule1", [{1}]),
    ("mule2", [{2}]),
    ("farm_pair", [{1, 2}]),
    ("farm_two", [{2}]),
    ("farm1", [{1, 2}]),
    ("farm2", [{2}]),
    ("worker", [{0}]),
    ("", [{0}]),
    # Nowhere.
    ("mule9", []),
    ("farm_nope", []),
    ("farm9", []),
    ("farm0", []),
    ("farm_1", []),
    ("farmpair", []),
    ("cluster", []),
]


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_target(both: Both, system: System) -> None:
    targets = [target for target, _ in TARGETS]
    options = ["--mules=2", "--farm=pair:1,2", "--farm=two:2"]
    mules = start(both, system, targets, *options)
    for number, (target, places) in enumerate(TARGETS, start=1):
        raised(mules, number)
        for place in places:
            event = mules.wait("handled")
            assert (event["signal"], event["mule"] in place) == (number, True), target
            assert event["worker"] == (0 in place), target
    # What went nowhere would have been handled before this.
    raised(mules, 3)
    assert mules.wait("handled")["signal"] == 3
    if system == "unspool":
        for number, target in enumerate(targets, start=1):
            if target in ("mule9", "farm_nope", "farm9", "farm0", "farm_1"):
                why = "signal is for a mule that there is none of"
                mules.daemon.wait_log(rf"{why}: never handled signal={number} target={target}")
        mules.daemon.wait_log(r"a target that there is none of: never handled .*target=cluster")


@pytest.mark.parametrize("system", SYSTEMS)
def test_all_mules(both: Both, system: System) -> None:
    """Also the driver, once it waits."""
    mules = start(both, system, ["mules"], "--mules=2", f"--mule={WAITS}")
    mules.wait("waits")
    raised(mules, 1)
    assert {mules.wait("handled", number)["mule"] for number in (1, 2, 3)} == {1, 2, 3}
    assert mules.ask("(uwsgi.signal_wait(), uwsgi.signal_received())") == "(b'', 1)"
    assert mules.wait("handled")["mule"] == 4


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_program_that_waits_for_signals(both: Both, system: System) -> None:
    mules = start(both, system, ["mule", "mule1", "mule1"], f"--mule={WAITS}")
    mules.wait("waits")
    for number in (1, 2, 3, 2):
        raised(mules, number)
        assert mules.wait("handled")["mule"] == 1
        event = mules.wait("waited")
        assert (event["mule"], event["result"], event["signal"]) == (1, b"", number)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_program_that_waits_for_one_signal(both: Both, system: System) -> None:
    """Handlers of others run meanwhile."""
    targets = ["mule1", "mule1"]
    mules = start(both, system, targets, f"--mule={WAITS}", INTEROP_WANTED="2")
    mules.wait("waits")
    for number in (1, 2):
        raised(mules, number)
        assert mules.wait("handled")["signal"] == number
    assert mules.wait("waited")["signal"] == 2
    assert [e.name for e in both.project.events.history].count("waited") == 1


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_a_handler_raises_ends_the_wait_all_the_same(both: Both, system: System) -> None:
    mules = start(both, system, [], f"--mule={WAITS}")
    waits = mules.wait("waits")
    raised(mules, 100)
    mules.daemon.wait_log("ValueError: as told")
    event = mules.wait("waited")
    assert (event["signal"], event.pid) == (100, waits.pid)


@pytest.mark.parametrize("system", SYSTEMS)
def test_signals_wait_while_the_mule_is_busy(both: Both, system: System) -> None:
    gate = both.project.gate("handler")
    mules = start(both, system, ["mule1", "mule1"], f"--mule={WAITS}")
    mules.wait("waits")
    raised(mules, 101)
    mules.wait("handled")
    raised(mules, 1)
    raised(mules, 2)
    gate.release()
    assert [mules.wait("waited")["signal"] for _ in range(3)] == [101, 1, 2]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_handler_that_waits_for_another_signal(both: Both, system: System) -> None:
    mules = start(both, system, ["mule1"], f"--mule={WAITS}")
    mules.wait("waits")
    raised(mules, 103)
    assert mules.wait("handled")["signal"] == 103
    raised(mules, 1)
    assert mules.wait("handled")["signal"] == 1
    assert mules.wait("other")["signal"] == 1


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("target", ["mule1", "mule", "farm_one", "mules"])
def test_a_timer_whose_target_is_a_mule(both: Both, system: System, target: str) -> None:
    mules = start(both, system, [target], "--mule", "--farm=one:1", INTEROP_TIMER="1")
    ticks = [mules.wait("handled") for _ in range(2)]
    assert [tick["mule"] for tick in ticks] == [1, 1]
    assert 0.4 < ticks[1].monotonic - ticks[0].monotonic < 3


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("how", ["reload", "stop"])
def test_a_mule_that_waits_ends(both: Both, system: System, how: str) -> None:
    mules = start(both, system, ["mule1"], f"--mule={WAITS}")
    first = mules.wait("waits")
    # A uWSGI that is asked while it starts may not hear it.
    raised(mules, 1)
    mules.wait("waited")
    if how == "stop":
        assert mules.daemon.stop() == 0
    else:
        mules.daemon.send(signal.SIGHUP)
        assert mules.wait("waits").pid != first.pid
    wait_ended(first.pid)
    if system == "unspool":
        assert mules.wait("ended").pid == first.pid


def test_a_signal_that_waits_outlives_the_mule(both: Both) -> None:
    """The one whose handler has begun is not raised again."""
    mules = start(both, "unspool", ["mule1"], f"--mule={WAITS}")
    waits = mules.wait("waits")
    gate = both.project.gate("handler")
    raised(mules, 101)
    mules.wait("handled")
    raised(mules, 1)
    # It arrives behind the other.
    assert mules.ask("uwsgi.mule_id()") == "2"
    os.kill(waits.pid, signal.SIGKILL)
    mules.daemon.wait_log("tick failed: its mule was killed by signal 9.*signal=101.*mule=1")
    event = mules.wait("handled")
    assert (event["signal"], event.pid != waits.pid) == (1, True)
    gate.release()


def test_a_handler_that_ends_its_mule_is_not_called_again(both: Both) -> None:
    mules = start(both, "unspool", ["mule1"], "--mule")
    raised(mules, 102)
    first = mules.wait("handled")
    mules.daemon.wait_log("tick failed: its mule was killed by signal 9.*signal=102.*mule=1")
    raised(mules, 1)
    second = mules.wait("handled")
    assert (second["signal"], second.pid != first.pid) == (1, True)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("options", [["--mule"], [f"--mule={WAITS}"]])
def test_a_handler_that_takes_too_long(both: Both, system: System, options: list[str]) -> None:
    """Both kill its mule for `mule-harakiri`, uWSGI up to two seconds late."""
    lines = ["--spooler-log-format=uwsgi"] if system == "unspool" else []
    mules = start(both, system, ["mule1"], *options, "--mule-harakiri=1", *lines)
    both.project.gate("handler")
    raised(mules, 101)
    hangs = mules.wait("handled")
    mules.daemon.wait_log(rf"^\*\*\* HARAKIRI ON MULE 1 HANDLING SIGNAL 101 \(pid: {hangs.pid}\)")
    raised(mules, 1)
    event = mules.wait("handled")
    assert (event["signal"], event["mule"], event.pid != hangs.pid) == (1, 1, True)
    if system == "unspool":
        assert 0.9 < event.time - hangs.time < 3
        why = "the handler of a signal takes too long; killing its mule"
        mules.daemon.wait_log(f"{why}.*mule=1.*signal=101.*limit_s=1")


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_a_program_does_for_a_signal_has_no_limit(both: Both, system: System) -> None:
    """Nobody can know when it is done. A handler that begins later is killed meanwhile."""
    options = ["--mule", f"--mule={WAITS}", "--mule-harakiri=1"]
    mules = start(both, system, ["mule2"], *options, INTEROP_PAUSES="1")
    gates = [both.project.gate(name) for name in ("handler", "waited")]
    raised(mules, 1)
    works = mules.wait("waited")
    raised(mules, 101)
    hangs = next(event for event in iter(lambda: mules.wait("handled"), None) if event["mule"] == 1)
    wait_ended(hangs.pid)
    gates[1].release(2)
    raised(mules, 1)
    assert mules.wait("waited").pid == works.pid


def test_raised_again_and_again_it_waits_once(both: Both) -> None:
    gate = both.project.gate("handler")
    mules = start(both, "unspool", ["mule1"], "--mule")
    raised(mules, 101)
    mules.wait("handled")
    mules.ask("[uwsgi.signal(1) for _ in range(50)]")
    mules.ask("uwsgi.mule_id()")
    gate.release()
    mules.wait("resumed")
    mules.wait("handled")
    raised(mules, 100)
    # One was told to the mule, one more waited.
    signals = [mules.wait("handled")["signal"] for _ in range(2)]
    assert 100 in signals
    assert len([e for e in both.project.events.history if e.name == "handled"]) <= 4


def test_a_mule_registers_at_run_time(both: Both) -> None:
    """uWSGI refuses it in mules. As often as it is raised, one after the other."""
    mules = start(both, "unspool", [], "--mule")
    call = "__import__('interop_mule_signals').register_here(50)"
    assert mules.ask(call) == "None"
    for _ in range(5):
        raised(mules, 50)
        assert mules.ask("(uwsgi.signal_wait(50), uwsgi.signal_received())") == "(b'', 50)"
        assert mules.wait("handled")["mule"] == 2
    assert mules.ask("uwsgi.add_timer(50, 0.2)") == "None"
    assert mules.ask("(uwsgi.signal_wait(), uwsgi.signal_received())") == "(b'', 50)"


def test_a_waiting_mule_takes_what_nobody_handles_and_nothing_else(both: Both) -> None:
    mules = start(both, "unspool", ["", "worker"], f"--mule={WAITS}")
    mules.wait("waits")
    for number in (1, 2):
        raised(mules, number)
        assert mules.wait("handled")["mule"] == 0
    raised(mules, 77)
    event = mules.wait("waited")
    assert (event["mule"], event["signal"]) == (1, 77)


def test_threads_of_a_mule_wait_for_different_things(both: Both) -> None:
    """Whichever thread reads what the daemon says, the one that it is for hears of it."""
    threads = APPS / "mule_threads.py"
    mules = start(both, "unspool", ["mule1"], f"--mule={threads}")
    mules.wait("threads")
    for round_ in range(10):
        raised(mules, 1)
        assert mules.wait("waited")["signal"] == 1
        mules.ask(f"uwsgi.mule_msg(b'{round_}', 1)")
        assert mules.wait("read")["message"] == str(round_).encode()
    assert mules.daemon.stop() == 0
    assert {mules.wait("ended")["thread"] for _ in range(2)} == {"signals", "messages"}
