"""Spools that a group shares, and `spooler-strict-permissions`."""

from __future__ import annotations

import grp
import os
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import Project
from spooling import submit

GROUP = "daemon"
MODULE = """
    from uwsgidecorators import spool
    from reporting import report

    @spool
    def mark(args):
        report("mark", id=args.get("id"))
        if "again" in args:
            mark(id=args["again"], priority="7")
"""

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="not run: only root can name any group")


def meta(path: Path) -> tuple[int, str]:
    """Mode and group of a file."""
    stat = path.stat()
    return stat.st_mode & 0o7777, grp.getgrgid(stat.st_gid).gr_name


@root_only
def test_all_that_a_shared_spool_has_is_its_groups(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", MODULE)
    # The mask would take the group's rights away.
    options = ("--spooler-group", GROUP, "--umask", "077", "--cache2", "name=c,items=10")
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks", *options)
    assert not any("others out" in line for line in running.log)
    path = submit(project, "mark", "--priority", "5", "--delay", "1000", id=0)
    assert meta(path) == (0o660, GROUP)
    submit(project, "mark", id=1, again=2)
    assert [event["id"] for event in project.events.collect(2, "mark")] == ["1", "2"]
    project.python("import uwsgi; uwsgi.cache_set('a', b'b', 0, 'c')")
    for directory, names, files in os.walk(project.spool):
        assert meta(Path(directory)) == (0o2770, GROUP)
        for name in files:
            assert meta(Path(directory, name)) == (0o660, GROUP), name
        assert all(not name.startswith(".5") for name in names)
    assert {"5", "7"} <= set(os.listdir(project.spool))


def test_a_spool_that_is_not_shared_is_refused_with_the_commands(project: Project) -> None:
    project.spool.mkdir(mode=0o700)
    gid = project.spool.stat().st_gid
    project.write("tasks.py", MODULE)
    arguments = ("--spooler", project.spool, "--import", "tasks", "--spooler-mode", "660")
    done = project.unspool("run", *arguments, check=False)
    assert done.returncode == 1
    assert f"chgrp -R {gid} {project.spool}; chmod -R g+rwX,o= {project.spool}; find" in done.stderr
    # They do what is said.
    commands = done.stderr[done.stderr.index("chgrp") : done.stderr.rindex("`")]
    project.run("sh", "-c", commands)
    done = project.unspool("run", *arguments, "--spooler-group", "no-such-group", check=False)
    assert done.returncode == 2 and "there is no group `no-such-group`" in done.stderr
    assert project.spool.stat().st_mode & 0o7777 == 0o2770


@pytest.mark.parametrize("mode", ["666", "777", "770", "604", "x", "0"])
def test_modes_that_let_everybody_in_are_refused(project: Project, mode: str) -> None:
    done = project.unspool("run", "--spooler", "s", f"--spooler-mode={mode}", check=False)
    assert done.returncode == 2 and "write 600, 640 or 660" in done.stderr


@pytest.mark.parametrize("where", ["", "5", ".unspool"])
def test_strict_permissions(project: Project, daemon: DaemonFactory, where: str) -> None:
    project.write("tasks.py", MODULE)
    submit(project, "mark", "--priority", "5", id=1)
    path = project.spool / where
    path.chmod(0o777)
    arguments = ("--spooler", project.spool, "--import", "tasks")
    done = project.unspool("run", *arguments, "--spooler-strict-permissions", check=False)
    assert done.returncode == 1
    assert f"run `chmod o-w {path}`" in done.stderr, done.stderr
    path.chmod(0o755)
    daemon(*arguments, "--spooler-strict-permissions")
    assert project.events.wait("mark")["id"] == "1"


def test_without_it_an_open_spool_is_used_with_a_warning(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    project.spool.mkdir()
    project.spool.chmod(0o777)
    running = daemon("--spooler", project.spool, "--import", "tasks")
    running.wait_log(f"WARN .*has mode 0777.*chmod 700 {project.spool}")


def test_strict_producers_refuse_too(project: Project) -> None:
    ini = project.write("app.ini", f"""
        [uwsgi]
        spooler = {project.spool}
        spooler-strict-permissions = true
    """)  # fmt: skip
    project.spool.mkdir()
    project.spool.chmod(0o777)
    done = project.unspool("spool", "--config", ini, "mark", check=False)
    assert done.returncode == 1 and "chmod o-w" in done.stderr
    source = "import unspool; unspool.spool(a=1)"
    env = {**project.env, "UNSPOOL_CONFIG": os.fspath(ini)}
    done = project.python(source, check=False, env=env)
    assert "SpoolError" in done.stderr and "chmod o-w" in done.stderr
    assert not project.tasks()
