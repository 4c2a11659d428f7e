"""Both daemons on one directory at once: each task runs exactly once, whoever wrote it."""

from __future__ import annotations

from collections import Counter

from both import Both, Call, System

TASKS = 2_000
PROCESSES = 2
# Enough that neither daemon can hold all of them while its processes are at the gate.
SEEDS = 64
DRAIN_SECONDS_MAX = 90.0


def tasks(first: int, count: int) -> list[Call]:
    """Calls that submit tasks numbered from `first` on."""
    return [("spool", ({b"id": b"%d" % number},), {}) for number in range(first, first + count)]


def wait_until_all_have_started(both: Both) -> None:
    """Every process of both daemons is in its first task, held at the gate."""
    gated = both.project.events.collect(2 * PROCESSES, "gated")
    assert Counter(event["daemon"] for event in gated) == {"uwsgi": PROCESSES, "unspool": PROCESSES}
    assert len({event.pid for event in gated}) == 2 * PROCESSES


def check_each_ran_once(both: Both, count: int) -> None:
    """After both have ended, so that no second run can still come."""
    both.project.events.collect(count, "done", DRAIN_SECONDS_MAX)
    both.project.wait_empty()
    both.stop()
    runs = [line.split() for line in (both.project.root / "runs.log").read_text().splitlines()]
    times = Counter(int(number) for number, _daemon, _pid in runs)
    assert times == Counter(range(count))
    by_daemon = Counter(daemon for _number, daemon, _pid in runs)
    assert set(by_daemon) == {"uwsgi", "unspool"}, by_daemon
    folders = [both.project.spool / name for name in ("corrupt", "dead")]
    assert not [entry for folder in folders if folder.is_dir() for entry in folder.iterdir()]


def test_backlog_of_both_writers_is_drained_by_both_daemons(both: Both) -> None:
    gate = both.project.gate("start")
    half = TASKS // 2
    both.write("uwsgi", *tasks(0, half))
    both.write("unspool", *tasks(half, half))
    assert len(both.project.tasks()) == TASKS
    both.run("uwsgi", "interop_count", processes=PROCESSES)
    both.run("unspool", "interop_count", processes=PROCESSES)
    wait_until_all_have_started(both)
    gate.release(2 * PROCESSES)
    check_each_ran_once(both, TASKS)


def test_both_daemons_drain_while_both_writers_go_on(both: Both) -> None:
    start, submit = both.project.gate("start"), both.project.gate("submit")
    half = (TASKS - SEEDS) // 2
    both.write("uwsgi", *tasks(0, SEEDS))
    parts: list[tuple[System, int]] = [("uwsgi", SEEDS), ("unspool", SEEDS + half)]
    for runner, first in parts:
        submits = ("submit", tasks(first, half))
        both.run(runner, "interop_count", processes=PROCESSES, submits=submits)
    wait_until_all_have_started(both)
    submit.release(2)
    start.release(2 * PROCESSES)
    wrote = both.project.events.collect(2, "wrote")
    assert [event["error"] for event in wrote] == ["", ""]
    check_each_ran_once(both, SEEDS + 2 * half)
    first_done = min(e.monotonic for e in both.project.events.history if e.name == "done")
    assert first_done < max(event.monotonic for event in wrote)
