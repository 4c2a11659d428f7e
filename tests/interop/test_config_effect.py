"""What a configuration makes of the process that imports the application: the same on both."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from both import APPS
from factory import DaemonFactory
from harness import SUPPORT, Project

SECONDS_MAX = 20
VARIABLES = [
    "COLOUR",
    "SIZE",
    "EMPTY",
    "WITH",
    "GIVEN",
    "ONE",
    "TWO",
    "COPY",
    "SHADE",
    "A",
    "B",
    ".hidden",
]
# What each of the two adds by itself.
OPTIONS_OF_THEIR_OWN = {"no-server", "master", "py-call-uwsgi-fork-hooks", "enable-threads"}

INI = f"""
[uwsgi]
spooler = spool
pythonpath = {SUPPORT}
pythonpath = {APPS}
import = surroundings
"""

CASES = {
    "plain": "",
    "variables": """
        env = COLOUR=red
        env = COLOUR=blue
        env = SIZE=%(size)
        env = EMPTY=
        env = WITH=a=b # c
        unenv = GIVEN
        set-ph = size=4
    """,
    "variable set again": """
        unenv = COLOUR
        env = COLOUR=red
        env = SIZE=1
        unenv = SIZE
        env = GIVEN
    """,
    "folder of variables": """
        env = ONE=before
        envdir = variables
        env = TWO=after
    """,
    "early folder of variables": """
        env = TWO=set
        unenv = ONE
        early-envdir = variables
        env = COPY=<$(ONE)>
    """,
    "arguments": "pyargv = a  --b c=d",
    "arguments twice": """
        pyargv = a
        pyargv = b
    """,
    "folder": "chdir = sub",
    "folder twice": """
        chdir = nowhere
        chdir = sub
    """,
    "paths": """
        chdir = sub
        pythonpath = %d/first
        pp = %dsecond
        python-path = %(base)/third
        set-ph = base=%d
    """,
    "declared option": """
        declare-option = colour=env=COLOUR=$1;env=SHADE=$2
        colour = red dark
    """,
    "loop": """
        for = A B
        env = %(_)=1
        endfor =
    """,
    "last value counts": """
        setting = 1
        setting = 2
        bare
        empty =
    """,
    "switched off": """
        vacuum = false
        strict = no
    """,
}


def comparable(fields: dict[str, Any]) -> dict[str, Any]:
    fields["env"] = {name: fields["env"].get(name) for name in VARIABLES}
    fields["opt"] = {k: v for k, v in fields["opt"].items() if k not in OPTIONS_OF_THEIR_OWN}
    return fields


@pytest.mark.parametrize("lines", CASES.values(), ids=CASES.keys())
def test_the_application_finds_the_same(
    project: Project, daemon: DaemonFactory, real_uwsgi: Path, lines: str
) -> None:
    (project.root / "sub").mkdir()
    (project.root / "variables").mkdir()
    for name, text in {"ONE": "1\n", "TWO": " 2 \n\n", "GIVEN": "", ".hidden": "3"}.items():
        (project.root / "variables" / name).write_text(text)
    body = "\n".join(line.strip() for line in lines.splitlines())
    (project.root / "app.ini").write_text(f"{INI}{body}\n")
    env = {**project.env, "GIVEN": "given", "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(
        [real_uwsgi, "--no-server", "--ini", "app.ini"],
        cwd=project.root,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS_MAX,
        check=True,
    )
    daemon("--ini", "app.ini", env=env)
    uwsgi, unspool = (event.fields for event in project.events.collect(2, "surroundings"))
    assert comparable(dict(unspool)) == comparable(dict(uwsgi))
