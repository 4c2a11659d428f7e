"""Real shells complete words of the command line, as somebody types them."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import UNSPOOL, Project
from processes import WAIT_SECONDS_MAX

TAB, SHOW, CLEAR = "\t", "\x07", "\x15"

# What the key SHOW does: it prints the line as it is.
BEGIN = {
    "bash": r"""
        PS1='$ '; bind 'set enable-bracketed-paste off'; bind 'set bell-style none'
        eval "$(unspool completions bash)"
        show() { printf '\n<<%s>>\n' "$READLINE_LINE"; }; bind -x '"\C-g": show'
    """,
    "zsh": r"""
        PS1='$ '; unsetopt zle_bracketed_paste beep; zstyle ':completion:*' use-cache no
        autoload -U compinit; compinit -u -D
        eval "$(unspool completions zsh)"
        show() { print -r; print -r "<<$BUFFER>>"; zle -I }; zle -N show; bindkey -e
        bindkey '^G' show; bindkey '^U' kill-whole-line
    """,
}
PROGRAM = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}


class Shell:
    """A shell on a terminal."""

    def __init__(self, name: str, project: Project) -> None:
        home = project.root / "home"
        env = {
            **project.env,
            "HOME": str(home), "PATH": f"{UNSPOOL.parent}:/usr/bin:/bin", "TERM": "dumb",
            "INPUTRC": "/dev/null", "HISTFILE": "", "LC_ALL": "C.UTF-8",
        }  # fmt: skip
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(project.root)
                os.execvpe(PROGRAM[name][0], PROGRAM[name], env)
            finally:
                os._exit(127)
        lines = [line.strip() for line in BEGIN[name].strip().splitlines()]
        self.send("".join(f"{line}\n" for line in lines) + "echo rea''dy\n")
        self.wait_for("ready")

    def send(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def wait_for(self, text: str) -> str:
        deadline, seen = time.monotonic() + WAIT_SECONDS_MAX, ""
        while text not in seen:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.terminal], [], [], left)[0], seen
            seen += os.read(self.terminal, 4096).decode(errors="replace")
        return seen

    def complete(self, typed: str) -> str:
        """The line that becomes of this one."""
        self.send(CLEAR + typed + TAB + SHOW)
        shown = self.wait_for(">>").partition("<<")[2]
        return shown.partition(">>")[0]

    def close(self) -> None:
        os.close(self.terminal)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture(params=["bash", "zsh"])
def shell(project: Project, request: pytest.FixtureRequest) -> Iterator[Shell]:
    if shutil.which(request.param) is None:
        pytest.skip(f"not run: {request.param} is not installed")
    lay_out(project)
    shell = Shell(request.param, project)
    yield shell
    shell.close()


def lay_out(project: Project) -> None:
    for folder in ("spool one", "it's here", "plain", "home/below", "$HOME"):
        (project.root / folder).mkdir(parents=True)
    (project.root / "app one.ini").touch()
    (project.root / "home" / "unspool.ini").touch()


@pytest.mark.parametrize(
    ("typed", "word"),
    [
        ("ls --spooler=pl", "--spooler=plain/"),
        ("ls --spooler pl", "plain/"),
        ("ls --spooler=sp", "--spooler=spool one/"),
        ("ls --spooler spool\\ o", "spool one/"),
        ("ls --spooler 'spool o", "spool one/"),
        ('ls --spooler "spool o', "spool one/"),
        ('ls --spooler="spool o', "--spooler=spool one/"),
        ("ls --spooler it", "it's here/"),
        ("ls --spooler \\$H", "$HOME/"),
        ("ls --spooler ~/bel", "~/below/"),
        ("why --config ~/uns", "~/unspool.ini"),
        ("why --config app", "app one.ini"),
        ("schedule pa", "pause"),
        ("purge --dry", "--dry-run"),
    ],
)
def test_a_word_is_completed_as_it_is_typed(shell: Shell, typed: str, word: str) -> None:
    line = shell.complete(f"unspool {typed}")
    # A quote stays open where more may come.
    for close in ("", "'", '"'):
        try:
            words = shlex.split(line + close)
            break
        except ValueError:
            continue
    assert words[-1] == word, line
    # What stands for the home folder is read by the shell only where it is not quoted.
    assert line.split()[-1].startswith("~/") == word.startswith("~/"), line


def test_ids_of_a_spool_whose_name_is_quoted(shell: Shell, project: Project) -> None:
    place = project.root / "spool one"
    task = Path(project.unspool("spool", "--spooler", place, "mark").stdout.strip())
    digits = task.read_bytes().split(b"unspool1[id=", 1)[1][:32].decode()[-8:]
    line = shell.complete(f"unspool retry --spooler=spool\\ one {digits[:4]}")
    assert line.split()[-1] == digits, line


def test_fish_completes(project: Project) -> None:
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("not run: fish is not installed")
    lay_out(project)
    env = {
        **project.env, "HOME": str(project.root / "home"), "PATH": f"{UNSPOOL.parent}:/usr/bin:/bin"
    }  # fmt: skip

    def candidates(typed: str) -> list[str]:
        program = "unspool completions fish | source; complete --do-complete=$argv[1]"
        done = subprocess.run(
            [fish, "--no-config", "-c", program, typed],
            cwd=project.root, env=env, capture_output=True, text=True, check=False,
            timeout=WAIT_SECONDS_MAX,
        )  # fmt: skip
        assert done.stderr == "", done.stderr
        return [line.partition("\t")[0] for line in done.stdout.splitlines()]

    assert candidates("unspool ls --spooler=pl") == ["--spooler=plain/"]
    assert candidates("unspool ls --spooler sp") == ["spool one/"]
    assert candidates("unspool ls --spooler 'spool o") == ["spool one/"]
    assert candidates("unspool ls --spooler it") == ["it's here/"]
    assert candidates("unspool ls --spooler ~/bel") == ["~/below/"]
    assert candidates("true; unspool schedule pa") == ["pause"]
