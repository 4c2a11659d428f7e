"""docs/reference/uwsgi-module.md says what real processes answer, and the stub has every name."""

from __future__ import annotations

import ast

import pytest
from harness import REAL_UWSGI, ROOT
from module_kinds import ABSENT
from module_page import OURS, PAGE, Kinds, ask, page


@pytest.fixture(scope="module")
def kinds() -> Kinds:
    if not REAL_UWSGI.exists():
        pytest.skip(f"not run: {REAL_UWSGI} is missing (`make test` installs it)")
    return ask()


def table(text: str) -> dict[str, str]:
    return {line.split(" | ")[0]: line for line in text.splitlines() if line.startswith("| ")}


def test_each_row_of_the_page_is_what_processes_answer(kinds: Kinds) -> None:
    again = "write the page anew: .venv/bin/python tests/interop/module_page.py"
    now, written = page(kinds), PAGE.read_text("utf-8")
    assert table(written) == table(now), again
    assert written == now, again


def test_what_is_absent_has_one_reason_and_is_absent(kinds: Kinds) -> None:
    theirs = kinds.names["uWSGI's spooler"]
    assert set(ABSENT) <= theirs
    assert kinds.names["uWSGI's mule"] == theirs
    for column in OURS:
        ours = kinds.names[column]
        assert ours.isdisjoint(ABSENT), column
        absent = theirs - ours - {"spooler", "mule_msg_hook"}
        assert absent <= set(ABSENT), column


def test_the_stub_has_the_names_of_the_module(kinds: Kinds) -> None:
    path = ROOT / "crates/unspool-python/python/uwsgi.pyi"
    names = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    # What the module's own text imports.
    inside = {"annotations", "os", "Callable", "TYPE_CHECKING", "Any"}
    ours = set.union(*(kinds.names[column] for column in OURS)) - inside
    # There once the application has set them.
    hooks = {"atexit", "mule_msg_hook", "post_fork_hook"}
    assert names - hooks == ours - hooks
