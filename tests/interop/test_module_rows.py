"""The module `uwsgi` in a process that runs tasks: the same question to uWSGI and to unspool.

`module_cases` has the rows. Each table runs once in each system, in one task, one of them while the
application is imported; each row is a test.
"""

from __future__ import annotations

import os
import pickle
import re
from typing import Any

import pytest
from both import Both, System
from harness import REAL_UWSGI, ROOT, Project
from module_cases import BARE, FULL, IMPORT, RPC, WEB, Row
from spooling import foreign, publish

Outcome = tuple[str, Any]

FULL_OPTIONS = (
    "--cache2=name=default,items=100",
    "--cache2=name=other,items=4,blocksize=16",
    "--cache2=name=blocks,items=5,blocksize=16,blocks=5,bitmap=1",
    "--cache2=name=start,items=8,math_initial=10",
    "--cache2=name=short,items=8,keysize=4",
    "--cache2=name=lru,items=4,purge_lru=1",
    "--cache-expire-freq=600",
    "--queue=4",
    "--metric=mine",
    "--metric=name=initial,initial_value=7",
    "--metric=name=oid,oid=1.100",
    "--metric=name=alias,type=alias,alias=mine",
    "--metric=bare",
    "--locks=3",
    "--set=my-own=value",
    "--mode=fast",
    "--pidfile=the.pid",
)
WEB_OPTIONS = (
    "--socket=web.sock",
    "--processes=2",
    "--workers=3",
    "--threads=2",
    "--buffer-size=70000",
)
TABLES: dict[str, tuple[list[Row], tuple[str, ...]]] = {
    "full": (FULL, FULL_OPTIONS),
    "bare": (BARE, ()),
    "web": (WEB, WEB_OPTIONS),
    "import": (IMPORT, (*WEB_OPTIONS, "--import=interop_surface", "--mules=1", "--farm=a:1")),
    "rpc": (RPC, ("--import=interop_surface",)),
}
CASES = [
    pytest.param(table, number, id=f"{table}-{number}-{row.expression[:60]}")
    for table, (rows, _) in TABLES.items()
    for number, row in enumerate(rows)
]


def evaluate(system: System, table: str) -> dict[int, Outcome]:
    """What one system makes of the rows of a table, by their numbers."""
    rows, options = TABLES[table]
    asked = [n for n, row in enumerate(rows) if system == "unspool" or not row.crashes]
    project = Project()
    try:
        both = Both(project)
        try:
            path = project.root / "rows"
            path.write_bytes(pickle.dumps([rows[number].expression for number in asked]))
            project.env["INTEROP_ROWS"] = os.fspath(path)
            if table == "import":
                project.env["INTEROP_AT_IMPORT"] = "1"
            publish(project.spool, "rows", foreign({b"key": b"value"}))
            daemon = both.run(system, "interop_surface", *options)
            outcomes = project.events.wait("rows", 60)["outcomes"]
            if table == "import":
                # It answered in the middle of its start, in which uWSGI misses a signal.
                project.events.wait("started")
                daemon.wait_log("spawned uWSGI mule 1" if system == "uwsgi" else "mule is ready")
            both.stop()
        finally:
            both.close()
    finally:
        project.close()
    return dict(zip(asked, outcomes, strict=True))


@pytest.fixture(scope="module")
def outcomes() -> dict[tuple[System, str], dict[int, Outcome]]:
    """What came out of each table in each system."""
    if not REAL_UWSGI.exists():
        pytest.skip(f"not run: {REAL_UWSGI} is missing (`make test` installs it)")
    systems: tuple[System, ...] = ("uwsgi", "unspool")
    return {(system, table): evaluate(system, table) for system in systems for table in TABLES}


def comparable(row: Row, outcome: Outcome) -> Outcome:
    """What counts of an outcome: the text of a TypeError and of a KeyError is the language's."""
    name, value = outcome
    if row.compare == "type" or name in ("!TypeError", "!AttributeError"):
        return name, None
    return name, value


@pytest.mark.parametrize(("table", "number"), CASES)
def test_row(
    outcomes: dict[tuple[System, str], dict[int, Outcome]], table: str, number: int
) -> None:
    row = TABLES[table][0][number]
    ours = comparable(row, outcomes["unspool", table][number])
    if row.crashes:
        assert number not in outcomes["uwsgi", table]
        assert ours[0].startswith("!"), ours
        return
    theirs = comparable(row, outcomes["uwsgi", table][number])
    if row.differs:
        assert ours != theirs, f"no difference any more: both {ours}"
    else:
        assert ours == theirs


def test_each_difference_is_in_the_documentation() -> None:
    page = (ROOT / "docs/uwsgi-differences.md").read_text("utf-8")
    page = re.sub(r"\s+", " ", page)
    said = {row.differs for rows, _ in TABLES.values() for row in rows if row.differs}
    assert {words for words in said if words not in page} == set()


def test_there_are_enough_rows() -> None:
    assert sum(len(rows) for rows, _ in TABLES.values()) >= 300
