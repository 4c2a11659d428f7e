"""The command line's reference is what the program says, and shells are told what comes next."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness import ROOT, UNSPOOL, Project
from spooling import submit
from steering import bury

sys.path.insert(0, str(ROOT / "tools"))

import cli_reference


def test_the_page_has_the_options_of_every_command() -> None:
    page = cli_reference.PAGE.read_text("utf-8")
    said = "run `python tools/cli_reference.py`"
    assert not cli_reference.missing(page, str(UNSPOOL)), said
    assert cli_reference.rendered(page, str(UNSPOOL)) == page, said


def candidates(project: Project, shell: str, *words: str) -> list[str]:
    arguments = [shell, str(len(words)), "--", "unspool", *words]
    return project.unspool("complete", *arguments).stdout.splitlines()


def test_commands_options_and_tasks_are_offered(project: Project) -> None:
    pending = submit(project, "mail", "--delay", "1000")
    dead = bury(project, submit(project, "send"))
    short = {id_of(path)[-8:]: path for path in (pending, dead)}
    assert "retry" in candidates(project, "bash", "re")
    assert candidates(project, "bash", "schedule", "pa") == ["pause"]
    assert "--dry-run" in candidates(project, "bash", "purge", "--d")
    assert set(candidates(project, "bash", "retry", "")) >= set(short)
    one = id_of(dead)[-8:]
    assert f"{one}\tsend (dead)" in candidates(project, "fish", "retry", one[:3])
    assert f"{one}:send (dead)" in candidates(project, "zsh", "edit", one[:3])
    env = project.env
    words = ["bash", "4", "--", "unspool", "mv", "--spooler", str(project.spool), ""]
    done = project.unspool("complete", *words, env=env)
    assert set(done.stdout.splitlines()) >= set(short)
    # An option's value may be a file.
    (project.root / "some.ini").touch()
    assert "some.ini" in candidates(project, "bash", "cancel", "--config", "so")
    assert not candidates(project, "bash", "retry", "--nothing-like-that")


def id_of(path: Path) -> str:
    return path.read_bytes().split(b"unspool1[id=", 1)[1][:32].decode()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_are_their_shells(project: Project, shell: str) -> None:
    script = project.unspool("completions", shell).stdout
    assert "unspool complete" in script or f"complete {shell}" in script
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"not run: {shell} is not installed")
    checked = subprocess.run([found, "-n"], input=script, text=True, capture_output=True)
    assert checked.returncode == 0, checked.stderr
