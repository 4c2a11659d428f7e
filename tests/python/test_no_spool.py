"""Commands on a directory that is no spool: they say so, and make nothing there."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from harness import UNSPOOL, Project
from spooling import foreign, publish
from steering import FAILED, NOTHING

ID = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "arguments",
    [
        ["rm", ID],
        ["rm", "--all", "--yes"],
        ["mv", "--at", "now", ID],
        ["edit", ID, "a=b"],
        ["retry", ID],
        ["retry", "--all"],
        ["retry", "--all", "--dry-run"],
        ["purge", "--dead", "--yes"],
        ["purge", "--dead", "--dry-run"],
        ["resume"],
        ["resume", "--all"],
        ["adopt"],
        ["adopt", "--run"],
        ["drain", "--timeout", "1"],
    ],
    ids=" ".join,
)
def test_a_mistyped_directory_is_told_and_left(project: Project, arguments: list[str]) -> None:
    mistyped = project.root / "mistyped"
    mistyped.mkdir()
    (mistyped / "a folder").mkdir()
    (mistyped / "a file").write_text("")
    given = [*arguments, "--spooler", str(mistyped)]
    done = project.unspool(*given, check=False)
    assert done.returncode == FAILED and f"`{mistyped}` is no spool" in done.stderr, done
    assert sorted(os.listdir(mistyped)) == ["a file", "a folder"]


@pytest.mark.parametrize("command", ["ls", "resume", "retry --all", "adopt", "pause"])
def test_a_file_is_no_missing_directory(project: Project, command: str) -> None:
    file = project.root / "file"
    file.write_text("")
    done = project.unspool(*command.split(), "--spooler", str(file), check=False)
    assert done.returncode == FAILED and "is not a directory" in done.stderr, done


def old_spool(project: Project) -> tuple[Path, Path]:
    spool = project.root / "old"
    spool.mkdir()
    name = "uwsgi_spoolfile_on_old_1_2_3_4_5"
    return spool, publish(spool, name, foreign({b"a": b"1"}))


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["retry", ID], NOTHING),
        (["rm", ID], NOTHING),
        (["mv", "--at", "now", ID], NOTHING),
        (["retry", "--all", "--dry-run"], NOTHING),
        (["purge", "--pending", "--dry-run"], 0),
        (["resume"], NOTHING),
        (["adopt"], 0),
    ],
    ids=str,
)
def test_a_spool_of_a_uwsgi_is_only_looked_at(
    project: Project, arguments: list[str], status: int
) -> None:
    spool, path = old_spool(project)
    done = project.unspool(*arguments, "--spooler", str(spool), check=False)
    assert done.returncode == status, done
    assert os.listdir(spool) == [path.name]


def test_a_task_of_a_uwsgi_is_changed_by_its_path(project: Project) -> None:
    spool, path = old_spool(project)
    project.unspool("rm", str(path), "--spooler", str(spool))
    assert not path.exists() and (spool / ".unspool").is_dir()


@pytest.mark.parametrize("arguments", ["retry --all --dry-run", "purge --dead --dry-run"])
def test_what_is_only_said_has_to_arrive(project: Project, arguments: str) -> None:
    project.spool.mkdir()
    (project.spool / ".unspool").mkdir()
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [UNSPOOL, *arguments.split()],
            env=project.producer_env, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == FAILED and "cannot write to standard output" in done.stderr, done


@pytest.mark.parametrize(
    "arguments",
    [
        ["retry", "--all"],
        ["rm", "--all"],
        ["rm", "--all", "--yes"],
        ["purge", "--dead", "--dry-run"],
        ["mv", "--priority", "a/b", ID],
        ["schedule", "ls"],
        ["schedule", "pause", "x"],
        ["pause", "--priority", "a/b"],
        ["resume"],
        ["drain"],
        ["adopt"],
        ["replay", ID],
    ],
    ids=" ".join,
)
def test_why_a_command_failed_is_json_too(project: Project, arguments: list[str]) -> None:
    given = [*arguments, "--json", "--spooler", str(project.root / "missing")]
    done = project.unspool(*given, check=False)
    assert done.returncode != 0
    answer = json.loads(done.stdout)
    assert done.stderr == f"unspool: {answer['error']}\n"
