"""A negative number behind an option is its value, and no option of its own."""

from __future__ import annotations

import pytest
from harness import Project
from spooling import submit
from steering import USAGE, complaint, words


def test_a_priority_may_be_negative(project: Project) -> None:
    path = submit(project, "f")
    assert words(project, "mv", "--priority", "-1", path) == ["moved"]
    assert project.tasks() == [project.spool / "-1" / path.name]
    assert words(project, "pause", "--priority", "-1") == ["paused"]
    project.unspool("spool", "--priority", "-2", "f")
    assert (project.spool / "-2").is_dir()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mv", "--at", "-5", "x"], "for '--at <TIME>': give `now`"),
        (["mv", "--delay", "-5", "x"], "for '--delay <AGE>': give a number with a unit"),
        (["retry", "--all", "--older", "-5"], "for '--older <AGE>'"),
        (["spool", "--max-attempts", "-1", "f"], "-1 is not in 0..=255"),
        (["top", "--interval", "-1"], "give seconds from 0.1 to 3600"),
    ],
    ids=str,
)
def test_what_is_wrong_with_one_is_said(project: Project, arguments: list[str], says: str) -> None:
    said = complaint(project, *arguments, status=USAGE)
    assert says in said and "unexpected argument" not in said
