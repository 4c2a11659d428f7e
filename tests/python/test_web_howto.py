"""docs/howto/application-server.md: its site, by one file and beside gunicorn, as printed."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import ROOT, Project
from web import get, uwsgi_get

PAGE = (ROOT / "docs" / "howto" / "application-server.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
        return number


@pytest.fixture(autouse=True)
def site(project: Project, port: int) -> None:
    for block in blocks(PAGE, "(?:python|ini)"):
        named = re.match(r"[#;] (\S+\.\w+)\n", block)
        assert named is not None
        project.write(named[1], block.replace("127.0.0.1:8080", f"127.0.0.1:{port}"))


def test_one_file_starts_both_halves(project: Project, daemon: DaemonFactory, port: int) -> None:
    running = daemon("site.ini")
    assert get(port, "/Ada").body == b"you will be greeted\n"
    running.wait_output("hello, Ada")
    path = project.root / "site.sock"
    assert path.stat().st_mode & 0o777 == 0o660
    assert uwsgi_get(path, "/Grace").body == b"you will be greeted\n"
    running.wait_output("hello, Grace")


def test_the_same_tasks_run_beside_gunicorn(
    project: Project, daemon: DaemonFactory, port: int
) -> None:
    running = daemon("tasks.ini")
    (command,) = (block for block in blocks(PAGE, "sh") if "gunicorn" in block)
    assert command.startswith("UNSPOOL_CONFIG=tasks.ini gunicorn hello:application &\n")
    gunicorn = Path(sys.executable).with_name("gunicorn")
    server = subprocess.Popen(
        [gunicorn, "--bind", f"127.0.0.1:{port}", "hello:application"],
        cwd=project.root,
        env={**project.env, "UNSPOOL_CONFIG": "tasks.ini"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        for line in server.stderr:
            if "Booting worker" in line:
                break
        assert get(port, "/Ada").body == b"you will be greeted\n"
        running.wait_output("hello, Ada")
    finally:
        server.terminate()
        server.communicate(timeout=20)


def test_the_ini_file_of_the_readme_starts_both(project: Project, daemon: DaemonFactory) -> None:
    (ini,) = (block for block in blocks(README, "ini") if "hello:application" in block)
    for wanted, here in (
        ("/run/", "%d"),
        ("/var/spool/site", "%dspool"),
        ("hello.py", "%dhello.py"),
    ):
        assert wanted in ini
        ini = ini.replace(wanted, here)
    project.write("readme.ini", f"{ini}pythonpath = %d\n")
    running = daemon("readme.ini")
    assert uwsgi_get(project.root / "site.sock", "/Ada").status == 200
    running.wait_output("hello, Ada")
