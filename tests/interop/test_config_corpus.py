"""Configurations as users write them, read by the real uWSGI and by unspool: the same options.

uWSGI prints its options in their order (``--show-config``) and ends (``--no-server``); unspool does
with ``unspool config --json``. Where they differ on purpose the case says how, and the page that
lists the differences must have the line.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from config_cases import CORPUS, FAILS, VARIABLES, Case, all_cases
from harness import ROOT, UNSPOOL

CASES = all_cases()
# Without its line breaks.
DIFFERENCES = " ".join((ROOT / "docs" / "uwsgi-differences.md").read_text().split())
SECONDS_MAX = 20
START, END = ";uWSGI instance configuration\n[uwsgi]\n", ";end of configuration\n"
# What the test itself adds on the command line.
ADDED = {"show-config", "no-server"}
Options: TypeAlias = "list[tuple[str, str]]"


def environment(case: Case) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**inherited, **VARIABLES, **case.env}


def of_uwsgi(uwsgi: Path, case: Case, folder: Path) -> Options | str:
    """The options that uWSGI shows, or that it refuses them."""
    command = [str(uwsgi), "--show-config", "--no-server", *case.arguments]
    ended = subprocess.run(
        command,
        cwd=folder,
        env=environment(case),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SECONDS_MAX,
        check=False,
    )
    output = ended.stdout.decode(errors="surrogateescape")
    if START not in output:
        assert ended.returncode != 0, output
        return FAILS
    shown = output.split(START, 1)[1].split(END, 1)[0]
    # A line that begins like no option is the rest of a value with several.
    lines = re.split(r"\n(?=[^\n]+ = )", shown.removesuffix("\n"))
    pairs = [line.split(" = ", 1) for line in lines]
    return [(name, value) for name, value in pairs if name not in ADDED]


def of_unspool(case: Case, folder: Path) -> Options | str:
    """The same of unspool."""
    ended = subprocess.run(
        [UNSPOOL, "config", "--json", "--show-secrets", "--no-server", *case.arguments],
        cwd=folder,
        env=environment(case),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert ended.returncode in (0, 2), ended.stderr.decode()
    answer: dict[str, Any] = json.loads(ended.stdout)
    if "options" not in answer:
        assert ended.returncode == 2
        assert answer["error"] in ended.stderr.decode()
        return FAILS
    pairs = [(option["name"], option["value"]) for option in answer["options"]]
    # What stands bare on the command line shows as `true` in uWSGI.
    return [(name, "true" if v is None else v) for name, v in pairs if name not in ADDED]


def by_name(options: Options | str) -> dict[str, list[str]]:
    assert not isinstance(options, str), "one refuses what the other takes"
    found: dict[str, list[str]] = defaultdict(list)
    for name, value in options:
        found[name].append(value)
    return dict(found)


def differing(mine: Options | str, other: Options | str) -> dict[str, list[str]]:
    """What of the first is not so in the second."""
    ours, theirs = by_name(mine), by_name(other)
    return {name: values for name, values in ours.items() if theirs.get(name) != values}


Result: TypeAlias = "tuple[Options | str, Options | str]"
Results: TypeAlias = "dict[str, Future[Result]]"


@pytest.fixture(scope="session")
def results(real_uwsgi: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    """Every case on both, each side in a copy of the corpus: uWSGI creates its spools."""
    folders = [tmp_path_factory.mktemp(name) / "corpus" for name in ("uwsgi", "unspool")]
    for folder in folders:
        shutil.copytree(CORPUS, folder)

    def run(case: Case) -> Result:
        # Paths are part of the values: both see the same one.
        return of_uwsgi(real_uwsgi, case, folders[0]), of_unspool(case, folders[0])

    with ThreadPoolExecutor(max_workers=2) as pool:
        yield {case.name: pool.submit(run, case) for case in CASES}


def test_corpus_is_large_enough() -> None:
    assert sum(case.name in case.arguments for case in CASES) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_options_are_those_of_uwsgi(case: Case, results: Results) -> None:
    uwsgi, unspool = results[case.name].result()
    if case.differs is None:
        assert unspool == uwsgi
        return
    assert case.differs.documented in DIFFERENCES
    if FAILS in (case.differs.uwsgi, case.differs.unspool):
        assert (uwsgi == FAILS, unspool == FAILS) == (
            case.differs.uwsgi == FAILS,
            case.differs.unspool == FAILS,
        )
        return
    assert differing(uwsgi, unspool) == case.differs.uwsgi
    assert differing(unspool, uwsgi) == case.differs.unspool


def test_a_comment_behind_a_directory_is_part_of_its_name_in_uwsgi_alone(
    real_uwsgi: Path, tmp_path: Path
) -> None:
    # Both show the raw value as the option: what differs is which directory it means.
    (tmp_path / "app.ini").write_text("[uwsgi]\nspooler = spool # of mails\n")
    case = Case("comment", ("--ini", "app.ini"))
    uwsgi, unspool = of_uwsgi(real_uwsgi, case, tmp_path), of_unspool(case, tmp_path)
    assert uwsgi == unspool == [("ini", "app.ini"), ("spooler", "spool # of mails")]
    assert (tmp_path / "spool # of mails").is_dir()
    ended = subprocess.run(
        [UNSPOOL, "config", "--json", "app.ini"], cwd=tmp_path, capture_output=True, check=True
    )
    first = json.loads(ended.stdout)["settings"][0]
    assert (first["name"], first["value"]) == ("spooler", str(tmp_path / "spool"))
    assert "a blank followed by `#` or `;` starts a comment in a file" in DIFFERENCES
