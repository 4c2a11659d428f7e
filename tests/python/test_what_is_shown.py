"""What every command shows of others' texts: no secrets, and nothing that a terminal obeys."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import UNSPOOL, Project
from spooling import foreign, publish, submit

DONE, FAILED, USAGE = 0, 1, 2

FAILS = """
    from uwsgidecorators import spool

    @spool
    def pay(arguments):
        print("paying with token=hush-printed")
        raise ValueError("refused: https://me:hush-raised@bank/?api_key=hush-key of order 7")
"""

# What terminals obey: control characters of both kinds, DEL, and marks of direction.
OBEYED = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
ODD = "odd\x1b[31m\x7f\x9b\u061c\u200f\u202e\u2066"


def test_attempts_are_shown_without_secrets(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", FAILS)
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    ways = ["ls", "ls --json", "show TASK", "show --json TASK", "why TASK", "why --json TASK"]
    ways += ["logs", "logs --json", "logs TASK", "logs --json TASK"]

    def shown(task: Path) -> dict[str, str]:
        spool = ("--spooler", str(project.spool))
        words = {way: way.replace("TASK", task.name).split() for way in ways}
        return {way: project.unspool(*words[way], *spool).stdout for way in ways}

    retrying = submit(project, "pay", "--retry-delay", "1000", order="7")
    running.wait_log("task failed")
    buried = submit(project, "pay", "--max-attempts", "1", order="8")
    running.wait_log("task given up")
    for task in (retrying, buried):
        for way, text in shown(task).items():
            assert "hush" not in text and "refused" in text, (way, text)
    running.stop()
    # Without a daemon there are the records.
    for way, text in shown(buried).items():
        assert "hush" not in text and "refused" in text, (way, text)
    assert "hush-raised" in project.write("app.log", "\n".join(running.log)).read_text()
    project.write("app.ini", f"[uwsgi]\nspooler = {project.spool}\nlogto = app.log\n")
    for form in ((), ("--json",)):
        text = project.unspool("logs", *form, "--config", "app.ini").stdout
        assert "hush" not in text and "refused" in text, text
    # Who asks for them gets them, and nothing is lost.
    spool = ("--spooler", str(project.spool), buried.name)
    for words in (["--show-secrets"], ["--show-secrets", "--json"], ["--capsule"]):
        text = project.unspool("show", *words, *spool).stdout
        assert {"hush-printed", "hush-raised", "hush-key"} <= set(re.findall(r"hush-\w+", text))


@pytest.fixture
def odd(project: Project) -> tuple[Path, Path]:
    """A spool and a task in it whose names have everything that a terminal obeys."""
    spool = project.root / ODD
    spool.mkdir()
    content = foreign({b"ud_spool_func": ODD.encode(), ODD.encode(): ODD.encode()})
    return spool, publish(spool, f"{ODD}_1_1_7_1795000000_0", content, due=1)


@pytest.mark.parametrize(
    "words",
    [
        "spool --json --spooler SPOOL f", "ls --json --spooler SPOOL", "show --json TASK",
        "show --capsule TASK", "why --json TASK", "why --json --spooler SPOOL nothing",
        "stats --json --functions 3 --spooler SPOOL", "top --once --json --spooler SPOOL",
        "fsck --json --spooler SPOOL", "adopt --json --spooler SPOOL",
        "pause --json --spooler SPOOL --why ODD", "pause --list --json --spooler SPOOL",
        "drain --json --spooler SPOOL --why ODD", "resume --json --spooler SPOOL",
        "mv --json --priority 7 TASK", "mv --json --priority 7 ODD --spooler SPOOL",
        "edit --json TASK a=b", "retry --json TASK", "cancel --json TASK",
        "purge --json --dead --spooler SPOOL", "config --json --spooler SPOOL",
        "doctor --json --spooler SPOOL", "schedule ls --json --spooler SPOOL",
        "logs --json --spooler SPOOL", "stack --json TASK",
        "replay --json --trust --import ODD TASK",
    ],
)  # fmt: skip
def test_json_commands_no_terminal(project: Project, odd: tuple[Path, Path], words: str) -> None:
    spool, task = odd
    project.unspool("pause", "--spooler", str(spool), "--func", ODD, "--why", ODD)
    means = {"SPOOL": str(spool), "TASK": str(task), "ODD": ODD}
    done = project.unspool(*[means.get(word, word) for word in words.split()], check=False)
    for text in (done.stdout, done.stderr):
        assert not OBEYED.search(text), ascii(text)
    assert "unrecognized" not in done.stderr and "unexpected" not in done.stderr, done.stderr
    if done.stdout.startswith("{\n"):
        json.loads(done.stdout)
    else:
        for line in done.stdout.splitlines():
            json.loads(line)


@pytest.mark.parametrize(
    "words",
    [
        "fsck --spooler SPOOL", "adopt --spooler SPOOL", "drain --spooler SPOOL", "ODD",
        "ls --ODD", "ls --limit ODD", "ls ODD", "pause --spooler SPOOL --why ODD",
        "pause --list --spooler SPOOL", "resume --spooler SPOOL", "spool --spooler SPOOL f ODD",
        "spool --spooler SPOOL f --at ODD", "config --ODD", "doctor --spooler SPOOL",
        "ls --spooler SPOOL", "top --once --spooler SPOOL", "stats --spooler SPOOL",
    ],
)  # fmt: skip
def test_text_commands_no_terminal(project: Project, odd: tuple[Path, Path], words: str) -> None:
    spool, _ = odd
    project.unspool("pause", "--spooler", str(spool), "--func", ODD, "--why", ODD)
    means = {"SPOOL": str(spool), "ODD": ODD}
    replaced = [means.get(word, word.replace("ODD", ODD)) for word in words.split()]
    done = project.unspool(*replaced, check=False)
    assert done.stdout or done.stderr
    for text in (done.stdout, done.stderr):
        assert not OBEYED.search(text), ascii(text)
        assert not text or "odd" in text, text


def test_a_path_is_for_programs_unless_it_is_on_a_terminal(
    project: Project, odd: tuple[Path, Path]
) -> None:
    spool, _ = odd
    command = [str(UNSPOOL), "spool", "--spooler", str(spool), "f"]
    plain = subprocess.run(command, env=project.env, stdout=subprocess.PIPE, check=True).stdout
    assert Path(os.fsdecode(plain.rstrip(b"\n"))).exists()
    terminal, theirs = pty.openpty()
    subprocess.run(command, env=project.env, stdout=theirs, check=True)
    os.close(theirs)
    shown = os.read(terminal, 4096).decode().replace("\r\n", "\n")
    os.close(terminal)
    assert not OBEYED.search(shown) and "odd\\u{1b}" in shown, ascii(shown)


def test_wide_characters_shift_no_column(project: Project) -> None:
    for function in ("漢字", "plain", "e\u0301t\u00e9", "😀"):
        submit(project, function, "--delay", "9000")
    shown = project.unspool("ls", "--spooler", str(project.spool)).stdout
    before = [re.split(r" -  +\d{4}-", line)[0] for line in shown.splitlines()[1:]]
    # The column of functions is as wide as its title.
    widths = {"漢字": 4, "plain": 5, "e\u0301t\u00e9": 3, "😀": 2}
    for line in before:
        function = line.split()[2]
        blanks = len(line) - len(line.rstrip()) + widths[function]
        assert blanks == len("FUNCTION") + len("  ") - 1, shown
