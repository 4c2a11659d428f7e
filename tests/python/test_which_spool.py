"""Which spool a command is about: it says how one is named, and what is wrong with what was."""

from __future__ import annotations

import pytest
from harness import Project

USAGE_STATUS = 2
TASK = "uwsgi_spoolfile_on_host_1_1_1_1_1"
# Each command, and the option before its configuration.
COMMANDS = [
    (("spool", "f"), ("--config",)),
    (("cancel", TASK), ("--config",)),
    (("adopt",), ()),
    (("fsck",), ()),
]
parametrized = pytest.mark.parametrize(
    ("command", "option"), COMMANDS, ids=[command[0] for command, _ in COMMANDS]
)


def refused(project: Project, *arguments: str, **env: str) -> str:
    done = project.unspool(*arguments, check=False, env=project.env | env)
    assert (done.returncode, done.stdout) == (USAGE_STATUS, "")
    return done.stderr


@parametrized
def test_without_a_spool_it_says_how_to_name_one(
    project: Project, command: tuple[str, ...], option: tuple[str, ...]
) -> None:
    said = refused(project, *command)
    for way in ("--spooler", *(option or ("a configuration file",)), "UNSPOOL_SPOOL"):
        assert way in said
    assert "UNSPOOL_CONFIG" in said


@parametrized
def test_a_configuration_without_a_spool_is_named(
    project: Project, command: tuple[str, ...], option: tuple[str, ...]
) -> None:
    ini = project.write("app.ini", "[uwsgi]\nmodule = site\n")
    named = f"`{ini}` names no spool"
    assert named in refused(project, *command, *option, str(ini))
    assert named in refused(project, *command, UNSPOOL_CONFIG=str(ini))


@parametrized
def test_a_configuration_that_is_missing_is_told_with_who_named_it(
    project: Project, command: tuple[str, ...], option: tuple[str, ...]
) -> None:
    said = refused(project, *command, *option, "missing.ini")
    assert "missing.ini" in said and "UNSPOOL_CONFIG" not in said
    said = refused(project, *command, UNSPOOL_CONFIG="missing.ini")
    assert "missing.ini" in said and "UNSPOOL_CONFIG" in said
