"""docs/howto/signing.md does what it says: its file, its commands."""

from __future__ import annotations

import re
import shutil

import pytest
from factory import DaemonFactory
from harness import ROOT, Project
from spooling import submit

PAGE = (ROOT / "docs" / "howto" / "signing.md").read_text("utf-8")

MODULE = """
    from uwsgidecorators import spool
    from reporting import report

    @spool(pass_arguments=True)
    def greet(who):
        report("greet", who=who)
"""


def block(language: str) -> str:
    """The first block in this language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="not run: the page uses openssl")
def test_the_page(project: Project, daemon: DaemonFactory) -> None:
    # A group that this user is in, and the place of this project's modules.
    ini = block("ini").replace("spoolers", str(project.root.stat().st_gid))
    project.write("app.ini", ini + f"pythonpath = {project.root}\n")
    project.write("tasks.py", MODULE)
    project.run("sh", "-c", block("sh"))
    assert (project.root / "keys").stat().st_mode & 0o777 == 0o600
    daemon("--ini", "app.ini")
    submit(project, "greet", "--config", "app.ini", who="you")
    assert project.events.wait("greet")["who"] == "you"
    assert (project.root / "spool").stat().st_mode & 0o7777 == 0o2770
