"""Which spool a command is about: it says how one is named, and what is wrong with what was."""

from __future__ import annotations

import pytest
from harness import Project
from spooling import submit

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


@pytest.mark.parametrize("command", ["ls", "stats", "logs", "pause --list"])
def test_one_of_several_that_is_missing_keeps_none_of_the_others_from_being_shown(
    project: Project, command: str
) -> None:
    task = submit(project, "send", "--max-attempts", "1")
    project.unspool("pause", "--why", "a test")
    ini = f"[uwsgi]\nspooler = {project.root}/missing\nspooler = {project.spool}\n"
    config = ("--config", str(project.write("app.ini", ini)))
    done = project.unspool(*command.split(), *config, check=False)
    assert done.returncode == 1 and f"`{project.root}/missing` is missing" in done.stderr
    assert done.stdout or command == "logs"
    shown = project.unspool("show", *config, task.name, check=False)
    assert shown.returncode == 0 and "missing" in shown.stderr and "send" in shown.stdout
    for changes in (("purge", "--pending", "--yes"), ("pause",), ("retry", "--all")):
        done = project.unspool(*changes, *config, check=False)
        assert (done.returncode, done.stdout) == (1, "") and "missing" in done.stderr
    assert task.exists()
    # A task that is named is found, whatever else is missing.
    project.unspool("mv", "--priority", "5", *config, task.name)
    project.unspool("cancel", *config, task.name)
    assert not task.exists() and not (project.root / "missing").exists()


@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_filters_need_all(project: Project, command: str) -> None:
    for choice in (("--func", "a*"), ("--priority", "1"), ("--older", "1h"), ("--newer", "1h")):
        said = refused(project, command, *choice, UNSPOOL_SPOOL=str(project.spool))
        assert "--all" in said and "filters" in said


def test_keys_that_may_not_be_read_are_needed_for_little(project: Project) -> None:
    task = submit(project, "send")
    ini = f"[uwsgi]\nspooler = {project.spool}\nspooler-keys = {project.root}/keys\n"
    config = ("--config", str(project.write("app.ini", ini)))
    for command in ("why", "show", "retry", "mv --delay 5"):
        done = project.unspool(*command.split(), *config, task, check=False)
        assert done.returncode in (0, 3), (command, done.stderr)
    done = project.unspool("edit", *config, task, "to=me", check=False)
    assert done.returncode == 1 and f"{project.root}/keys" in done.stderr


@pytest.mark.parametrize("command", ["ls", "mv TASK", "retry --all", "purge --pending"])
def test_a_priority_that_can_be_none_is_told_once(project: Project, command: str) -> None:
    project.spool.mkdir(mode=0o700)
    words = command.replace("TASK", TASK).split()
    said = refused(project, *words, "--priority", "a/b", UNSPOOL_SPOOL=str(project.spool))
    assert said.startswith("unspool: --priority: ") and said.count("`a/b`") == 1
