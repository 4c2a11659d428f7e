"""`unspool doctor`: what is wrong with a set-up, and how to mend it."""

from __future__ import annotations

import json
import os
import textwrap
from typing import Any

import pytest
from everybody import USER, python_for, root_only
from harness import Project
from spooling import submit

WELL, WRONG = 0, 1

MODULE = """
    from uwsgidecorators import spool

    @spool
    def mark(args):
        pass
"""


@pytest.fixture
def config(project: Project) -> str:
    project.write("tasks.py", MODULE)
    project.write("app.ini", f"[uwsgi]\nspooler = {project.spool}\nspooler-import = tasks\n")
    return "app.ini"


def examine(project: Project, *arguments: str, status: int) -> dict[str, list[dict[str, Any]]]:
    """The findings of each subject."""
    done = project.unspool("doctor", "--json", *arguments, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    report = json.loads(done.stdout)
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in report["findings"]:
        found.setdefault(finding["subject"], []).append(finding)
    problems = [finding for finding in report["findings"] if finding["level"] == "problem"]
    assert len(problems) == report["problems"]
    # The text of an error says itself what to do.
    errors = found.get("configuration", [])
    assert all(finding["cure"] for finding in problems if finding not in errors), problems
    return found


def whole(findings: list[dict[str, Any]]) -> str:
    return json.dumps(findings)


def test_a_set_up_that_works(project: Project, config: str) -> None:
    running = project.daemon(config)
    try:
        running.start().wait_ready()
        found = examine(project, config, status=WELL)
        assert f"process {running.pid} runs" in whole(found["daemon"])
    finally:
        running.close()
    assert "imported by Python" in whole(found["application"])
    assert found["application"][0]["what"].endswith(": mark")
    assert "application" not in examine(project, config, "--no-import", status=WELL)


def test_nothing_is_made(project: Project, config: str) -> None:
    before = sorted(os.listdir(project.root))
    found = examine(project, config, "--no-import", status=WELL)
    assert "is not there yet" in whole(found["spool"])
    assert sorted(os.listdir(project.root)) == before


def test_a_task_that_should_have_run(project: Project, config: str) -> None:
    path = submit(project, "mark", id=1)
    assert "no daemon of this machine" in whole(examine(project, config, status=WELL)["daemon"])
    (project.spool / "dead").mkdir()
    path.rename(project.spool / "dead" / path.name)
    found = examine(project, config, status=WELL)
    assert "1 task was given up in" in whole(found["spool"])


def test_what_is_paused_and_what_was_given_up(project: Project, config: str) -> None:
    task = submit(project, "mark", "--delay", "3600", "--priority", "5")
    os.utime(task, (1, 1))
    dead = project.spool / "dead"
    dead.mkdir()
    (dead / task.name).write_bytes(task.read_bytes())
    project.unspool("pause", "--priority", "5", "--why", "the printer")
    found = whole(examine(project, config, status=WELL)["spool"])
    assert f"priority 5 of {project.spool} is paused by" in found and "the printer" in found
    assert "`unspool resume --priority 5`" in found
    assert f"1 task was given up in {project.spool}" in found and "`unspool retry`" in found


def test_submissions_are_refused_for_want_of_room(project: Project, config: str) -> None:
    submit(project, "mark")
    ini = project.root / config
    ini.write_text(f"{ini.read_text()}spooler-min-free = 1000000000000000\n")
    (problem,) = (
        finding
        for finding in examine(project, config, status=WRONG)["spool"]
        if finding["level"] == "problem"
    )
    assert "are refused" in problem["what"] and "`spooler-min-free` asks for" in problem["what"]


def test_hooks_around_the_import_change_nothing_but_the_process(
    project: Project, config: str
) -> None:
    needs = "import os\nassert os.environ['NEEDED'] == 'yes'\n"
    project.write("tasks.py", needs + textwrap.dedent(MODULE))
    made = project.root / "made"
    hooks = f"hook-pre-app = putenv:NEEDED=yes\nhook-post-app = exec:touch {made}\n"
    project.write(config, (project.root / config).read_text() + hooks)
    found = examine(project, config, status=WELL)
    assert found["application"][0]["what"].endswith(": mark")
    assert not made.exists()


def test_an_application_that_cannot_be_imported(project: Project, config: str) -> None:
    project.write("tasks.py", "import nothing_of_this_name\n")
    [problem] = examine(project, config, status=WRONG)["application"]
    assert "`tasks` cannot be imported" in problem["what"]
    assert "ModuleNotFoundError" in problem["detail"] and "virtualenv" in problem["cure"]
    project.write("tasks.py", "import os\nos._exit(7)\n")
    [problem] = examine(project, config, status=WRONG)["application"]
    assert "exit status: 7" in problem["what"]
    project.write("tasks.py", "x = 1\n")
    [problem] = examine(project, config, status=WRONG)["application"]
    assert "registers no function" in problem["what"]


def test_a_spool_that_anybody_can_write(project: Project, config: str) -> None:
    submit(project, "mark", id=1)
    project.spool.chmod(0o777)
    found = examine(project, config, status=WRONG)
    assert f"chmod 700 {project.spool}" in whole(found["spool"])


def test_options_without_effect_and_a_configuration_that_is_none(
    project: Project, config: str
) -> None:
    project.write("odd.ini", f"[uwsgi]\nspooler = {project.spool}\nspoolr = x\n")
    found = examine(project, "odd.ini", "--no-import", status=WELL)
    assert "did you mean `spooler`" in whole(found["configuration"])
    project.write("odd.ini", "[uwsgi]\nspooler-processes = many\n")
    assert "many" in whole(examine(project, "odd.ini", status=WRONG)["configuration"])
    missing = project.unspool("doctor", env={**project.env, "UNSPOOL_SPOOL": ""}, check=False)
    assert missing.returncode == WRONG and "no spool: give the configuration" in missing.stdout


@root_only
def test_root_looks_as_the_user_of_the_daemon(project: Project, config: str) -> None:
    home = python_for(project)
    submit(project, "mark", id=1)
    lines = f"{(project.root / config).read_text()}uid = {USER}\nvirtualenv = {home}\n"
    project.write(config, lines)
    found = examine(project, config, status=WRONG)
    assert f"the daemon is `{USER}`" in whole(found["configuration"])
    assert "cannot be opened" in whole(found["spool"])
    assert "chown -R 65534" in whole(found["spool"])
    project.write(config, f"{lines}uid = nobody-of-this-name\n")
    found = examine(project, config, status=WRONG)
    assert "there is no user `nobody-of-this-name`" in whole(found["configuration"])
