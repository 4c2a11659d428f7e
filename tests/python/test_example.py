"""The article's example, run from a copy of `examples/mysite` as a user would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from article import EXAMPLE, PRINTED, copy_site
from harness import PYTHON, Daemon, Project, pending_tasks, wait_gone
from web import uwsgi_get


@pytest.fixture
def site(project: Project) -> Path:
    return copy_site(project)


@pytest.fixture
def running(project: Project, site: Path) -> Iterator[Daemon]:
    daemon = Daemon(site / "mysite.ini", cwd=site, env=project.env)
    try:
        yield daemon
    finally:
        daemon.close()


def test_a_console_submits_while_no_daemon_runs_and_the_daemon_runs_it(
    project: Project, site: Path, running: Daemon
) -> None:
    console = """
import uwsgi_spools.mysite_spool as mysite_spool

mysite_spool.my_func.spool(test=True)
"""
    env = {**project.env, "UNSPOOL_CONFIG": str(site / "mysite.ini")}
    env["PYTHONPATH"] = f"{site}:{env['PYTHONPATH']}"
    project.run(PYTHON, "-c", console, env=env)
    (path,) = pending_tasks(site / "mysite_spool")

    running.start().wait_ready()
    printed = running.wait_output(r"^\{.*\}$")[0]
    assert "'test': 'True'" in printed
    assert "'ud_spool_func': 'my_func'" in printed
    assert "'spooler_task_name'" in printed
    wait_gone(path)
    assert running.stop() == 0


def test_the_script_submits_each_function(project: Project, site: Path) -> None:
    for arguments in ([], ["my_func_forever"]):
        done = project.run(PYTHON, site / "submit.py", *arguments, env=project.env)
        assert Path(done.stdout.strip()).parent == site / "mysite_spool"
    assert len(list(pending_tasks(site / "mysite_spool"))) == 2


# As the article prints it, and as it is meant.
@pytest.mark.parametrize("module", ["wsgi: application", "wsgi:application"])
def test_one_file_starts_the_web_application_and_its_spooler(
    site: Path, running: Daemon, module: str
) -> None:
    ini = site / "mysite.ini"
    ini.write_text(ini.read_text().replace("wsgi:application", module))
    running.start().wait_ready()
    running.wait_log("unspool is ready .*workers=1 mules=0 web=4")
    answer = uwsgi_get(site / "mysite.sock")
    assert (answer.status, answer.body) == (202, b"spooled\n")
    assert "'test': 'True'" in running.wait_output(r"^\{.*\}$")[0]
    # `touch-reload = wsgi.py`
    (site / "wsgi.py").touch()
    running.wait_log("reload done: new web workers answer")
    assert uwsgi_get(site / "mysite.sock").status == 202
    assert running.stop() == 0
    assert not (site / "mysite.sock").exists()
    assert not [line for line in running.log if "not yet in effect" in line]


def test_the_ini_is_the_articles_but_for_five_lines() -> None:
    ours = (EXAMPLE / "mysite.ini").read_text("utf-8").splitlines()
    differing = [
        theirs.split(" = ")[0]
        for theirs, line in zip(PRINTED.splitlines(), ours, strict=True)
        if theirs != line
    ]
    assert differing == ["socket", "project_dir", "spooler", "spooler-import", "module"]
    for theirs, line in zip(PRINTED.splitlines(), ours, strict=True):
        assert theirs.split(" = ")[0] == line.split(" = ")[0]
        assert theirs.partition("#")[2] == line.partition("#")[2]
