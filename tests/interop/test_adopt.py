"""A spool that the real uWSGI used, and unspool's first start on it.

The real uWSGI writes the tasks and runs what it runs; unspool then must run no more than uWSGI with
the same configuration would have, until somebody decides.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from pathlib import Path

import pytest
from both import Both, Call
from harness import wait_gone
from inotify import DirectoryWatch

DAY = 86_400.0


def task(number: int, **pairs: bytes) -> Call:
    """Submits a task of that number."""
    message = {b"id": b"%d" % number, **{key.encode(): value for key, value in pairs.items()}}
    return ("spool", (message,), {})


def ran(both: Both) -> Counter[tuple[int, str]]:
    """Every run so far: the task's number and who ran it."""
    log = both.project.root / "runs.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return Counter((int(line.split()[0]), line.split()[1]) for line in lines)


def age(path: Path, days: float) -> None:
    """`touch -d`."""
    os.utime(path, (time.time() - days * DAY,) * 2)


def held(both: Both) -> list[tuple[str, int]]:
    """What is held, by folder."""
    done = both.project.unspool("adopt", "--spooler", str(both.project.spool), "--json")
    groups = json.loads(done.stdout)["spools"][0]["held"]
    return [(group["folder"], group["tasks"]) for group in groups]


def wait_runs(both: Both, count: int) -> None:
    """Waits until so many tasks have run since this was last called."""
    both.project.events.collect(count, "done")


@pytest.mark.parametrize(
    ("options", "uwsgi_runs"),
    [((), {1, 2}), (("--spooler-ordered",), {1, 2, 3})],
    ids=["unordered", "ordered"],
)
def test_unspool_runs_what_uwsgi_would_have_run_and_the_rest_when_told(
    both: Both, options: tuple[str, ...], uwsgi_runs: set[int]
) -> None:
    both.project.gate("start").release(20)
    paths = both.write(
        "uwsgi",
        task(1),
        task(2),
        task(3, priority=b"5"),
        task(4, priority=b"mail"),
        task(5, priority=b"5/7"),
    )
    # What the real daemon runs of all that...
    uwsgi = both.run("uwsgi", "interop_count", *options)
    # uWSGI enters folders of digits in folders of digits too; we never do.
    by_uwsgi = uwsgi_runs | ({5} if options else set())
    wait_runs(both, len(by_uwsgi))
    for number in by_uwsgi:
        wait_gone(paths[number - 1])
    assert uwsgi.stop() == 0
    assert ran(both) == Counter((number, "uwsgi") for number in by_uwsgi)

    # ...and of what was submitted while it was down, with one that waits for weeks.
    more = both.write(
        "uwsgi", task(11), task(13, priority=b"5"), task(14, priority=b"mail"), task(16)
    )
    age(more[3], 20)
    like_uwsgi = {11, 13} if options else {11}
    unspool = both.run("unspool", "interop_count", *options, adopt="")
    wait_runs(both, len(like_uwsgi))
    warning = unspool.wait_log(r"WARN .*tasks are held that the old configuration never ran").string
    assert "1 in the spool itself" in warning
    assert "20 days ago" in warning
    # Without a priority it comes last of all.
    (later,) = both.write("unspool", task(20))
    wait_runs(both, 1)
    wait_gone(later)
    mine = {*like_uwsgi, 20}
    assert {key for key in ran(both) if key[1] == "unspool"} == {(n, "unspool") for n in mine}
    rest = {3, 4, 5, 13, 14, 16} - by_uwsgi - mine
    assert sum(tasks for _, tasks in held(both)) == len(rest)

    both.project.unspool("adopt", "--spooler", str(both.project.spool), "--run")
    wait_runs(both, len(rest))
    both.project.wait_empty()
    both.stop()
    expected = Counter((number, "uwsgi") for number in by_uwsgi)
    expected.update((number, "unspool") for number in mine | rest)
    assert ran(both) == expected


def test_both_daemons_at_once_on_such_a_directory(both: Both) -> None:
    gate = both.project.gate("start")
    first = both.write(
        "uwsgi", *(task(n) for n in range(40)), *(task(n, priority=b"5") for n in range(100, 110))
    )
    for path in first[30:40]:
        age(path, 3)
    both.run("uwsgi", "interop_count", processes=2)
    both.run("unspool", "interop_count", processes=2, adopt="").wait_log(r"WARN .*tasks are held")
    # Each process of both has a task now, none of which can end.
    gated = both.project.events.collect(4, "gated")
    assert Counter(event["daemon"] for event in gated) == {"uwsgi": 2, "unspool": 2}
    gate.release(4)
    # uWSGI runs those that are overdue: they are held from unspool alone.
    wait_runs(both, 40)
    for path in first[:40]:
        wait_gone(path)
    assert held(both) == [("5", 10)]
    assert {n for n, who in ran(both) if who == "unspool"} <= set(range(30))

    both.project.unspool("adopt", "--spooler", str(both.project.spool), "--run")
    wait_runs(both, 10)
    both.project.wait_empty()
    both.stop()
    assert Counter(number for number, _ in ran(both).elements()) == Counter(
        [*range(40), *range(100, 110)]
    )
    assert {who for number, who in ran(both) if number >= 100} == {"unspool"}


def test_a_burial_leaves_what_uwsgi_runs(both: Both) -> None:
    gate = both.project.gate("start")
    running, waiting = both.write("uwsgi", task(1), task(2))
    for path in (running, waiting):
        age(path, 3)
    both.run("uwsgi", "interop_count")
    (event,) = both.project.events.collect(1, "gated")
    assert event["daemon"] == "uwsgi"
    both.run("unspool", "interop_count", adopt="").wait_log(r"WARN .*2 tasks are held")
    done = both.project.unspool("adopt", "--spooler", str(both.project.spool), "--bury", "--json")
    (spool,) = json.loads(done.stdout)["spools"]
    assert (spool["buried"], spool["skipped"], spool["tasks"]) == (1, 1, 1)
    gate.release()
    wait_runs(both, 1)
    with DirectoryWatch(both.project.spool) as watch:
        assert watch.wait(lambda: not both.project.tasks(), 20)
    both.stop()
    assert len(ran(both)) == 1
    assert len(list((both.project.spool / "dead").iterdir())) == 1
