"""The page on running as a service, typed as printed."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from harness import ROOT, UNSPOOL, Project, wait_gone
from logfile import LogFile
from processes import ProcessHandle
from spooling import submit

PAGE = (ROOT / "docs" / "howto" / "service.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_in_the_background_as_printed(project: Project) -> None:
    (_, ini), (commands,), (rotation,) = blocks("ini"), blocks("sh"), blocks("conf")
    project.write("app.ini", ini)
    project.write(
        "tasks.py",
        """
        from uwsgidecorators import spool

        @spool
        def greet(arguments):
            print("hello,", arguments["name"], flush=True)
        """,
    )

    def type_in(line: str) -> None:
        program, *arguments = shlex.split(line)
        assert program == "unspool"
        project.unspool(*arguments, env=project.env)

    start, reload, stop = commands.splitlines()
    log, pidfile = LogFile(project.root / "app.log"), project.root / "app.pid"
    type_in(start)
    daemon = ProcessHandle(int(pidfile.read_text()))
    try:
        submit(project, "greet", name="Ada")
        log.wait("^hello, Ada$")
        type_in(reload)
        log.wait("reload done")
        log.path.rename(project.root / "app.log.1")
        touch = re.search(r"touch /srv/app/(\S+)", rotation)
        assert touch is not None
        (project.root / touch[1]).touch()
        log.wait("opening the log's files anew")
        submit(project, "greet", name="Grace")
        log.wait("^hello, Grace$")
        assert log.path.stat().st_mode & 0o777 == 0o640
        type_in(stop)
        wait_gone(pidfile)
        assert daemon.wait()
        assert log.lines[-1].endswith("stopped")
    finally:
        daemon.send(signal.SIGKILL)
        daemon.close()


def test_systemd_takes_the_unit(project: Project) -> None:
    """Its words; whether paths of the page are there is no matter."""
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("not run: systemd-analyze is missing")
    unit, _ = blocks("ini")
    named = re.match(r"# /etc/systemd/system/(\S+)\n", unit)
    assert named is not None
    text = unit.replace("/srv/app/venv/bin/unspool", str(UNSPOOL)).replace("=/srv/app", "=/")
    path = project.write(named[1], text)
    done = subprocess.run(
        [verify, "verify", path], capture_output=True, text=True, timeout=60, check=False
    )
    told = [line for line in done.stderr.splitlines() if path.name in line or "Unknown" in line]
    assert told == [], done.stderr
    assert Path(text.partition("ExecStart=")[2].split()[0]).exists()
