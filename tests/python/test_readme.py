"""The README's first task, typed as printed, against the real daemon."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
from harness import ROOT, UNSPOOL, Daemon, Project

README = (ROOT / "README.md").read_text("utf-8")
TITLE = "A first task in five minutes"
# The line that only the reader can fill in; here the environment of this test stands in for it.
PLACE = 'export PATH="$HOME/unspool/.venv/bin:$PATH"'


def section(title: str) -> str:
    """The text from a heading to the next one of its level."""
    found = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", README, re.DOTALL | re.MULTILINE)
    assert found is not None, f"the README has no section {title!r}"
    return found[1]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def write_files(project: Project) -> None:
    """Each file is a block that begins with a comment of its name."""
    for block in blocks(section(TITLE), "(?:python|ini)"):
        named = re.match(r"[#;] (\S+\.\w+)\n", block)
        if named is not None:
            project.write(named[1], block)


@pytest.fixture
def environment(project: Project) -> dict[str, str]:
    return {**project.env, "PATH": f"{UNSPOOL.parent}:/usr/bin:/bin"}


def shell(project: Project, script: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=project.root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_first_task_works_as_printed(project: Project, environment: dict[str, str]) -> None:
    write_files(project)
    first, run, second = blocks(section(TITLE), "sh")
    assert PLACE in first

    listed = shell(project, first.replace(PLACE, "true"), environment)
    assert re.search(r"^uwsgi_spoolfile_on_", listed, re.MULTILINE), listed

    command = shlex.split(run)
    assert command[0] == "unspool"
    daemon = Daemon(*command[1:], cwd=project.root, env=environment, command=(UNSPOOL,)).start()
    try:
        daemon.wait_output("^hello, Ada$")
        # The second terminal has the path of the first one.
        shell(project, second, environment)
        daemon.wait_output("^hello, Grace$")
        project.wait_empty()
        assert daemon.stop() == 0
    finally:
        daemon.close()


def test_the_code_that_configures_works_as_printed(
    project: Project, environment: dict[str, str]
) -> None:
    write_files(project)
    (code,) = [block for block in blocks(section(TITLE), "python") if "configure" in block]
    code += '\nimport tasks\ntasks.greet.spool(name="Ada")\n'
    shell(project, f"python -c {shlex.quote(code)}", environment)
    assert len(project.tasks()) == 1


def test_the_two_commands_are_those_of_the_makefile() -> None:
    (commands,) = blocks(section("Two commands"), "sh")
    assert commands.splitlines() == [
        "make build",
        ".venv/bin/unspool run examples/mysite/mysite.ini",
    ]
    assert re.search(r"^build:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


def test_every_local_link_leads_somewhere() -> None:
    targets = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert targets
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert missing == []
