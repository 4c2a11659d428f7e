"""A Python that another user than root can execute, for tests that give root up."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import PYTHON, SUPPORT, Project

USER = "nobody"

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="not run: only root can become others")


def python_for(project: Project) -> Path:
    """An environment in the project that everybody can execute, with the package unspool in it."""
    system = Path("/usr/bin/python3")
    others = [path for path in (system, PYTHON.resolve()) if _everybody_can_execute(path)]
    if not others:
        pytest.skip(f"not run: {USER} can execute no Python here")
    home = project.root / "venv"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python3").symlink_to(others[0])
    package = Path(subprocess.check_output(
        [PYTHON, "-c", "import unspool; print(unspool.__path__[0])"], text=True
    ).strip())  # fmt: skip
    library = project.root / "library"
    shutil.copytree(package, library / "unspool")
    for name in ("uwsgi.py", "uwsgidecorators.py"):
        shutil.copy(package.parent / name, library)
    shutil.copytree(SUPPORT, library / "support")
    for path in [project.root, *library.rglob("*"), library]:
        path.chmod(0o755)
    (project.root / "events.sock").chmod(0o777)
    project.env["PYTHONPATH"] = f"{library}:{library / 'support'}"
    project.env["PYTHONDONTWRITEBYTECODE"] = "1"
    return home


def _everybody_can_execute(path: Path) -> bool:
    try:
        return all(part.stat().st_mode & 0o005 == 0o005 for part in [path, *path.parents])
    except OSError:
        return False
