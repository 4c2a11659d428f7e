"""The article's ini file as it was printed, and its site, copied from `examples/mysite`."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness import ROOT, Project

EXAMPLE = ROOT / "examples" / "mysite"

PRINTED = """\
[uwsgi]
socket = /var/run/mysite.sock
master = True
processes = 4
project_dir = /home/myuser/mysite
chdir = %(project_dir)
spooler = /var/uwsgi_spools/mysite_spool
spooler-import = path.to.spool.package # (package to import spool file)
spooler-frequency = 10 # Frequency for scanning spool
max-requests = 5000
module = wsgi: application
touch-reload = wsgi.py
"""


def copy_site(project: Project) -> Path:
    """A copy of the example in the project's folder."""
    # The example may have been run in place before: its spool stays behind.
    ignored = shutil.ignore_patterns("__pycache__")
    made = project.root / "mysite"
    made.mkdir()
    for entry in EXAMPLE.iterdir():
        if entry.is_file():
            shutil.copy2(entry, made)
    shutil.copytree(EXAMPLE / "uwsgi_spools", made / "uwsgi_spools", ignore=ignored)
    return made


def write_printed(site: Path) -> Path:
    """The ini file as printed, misprint and comments included, but for its paths."""
    paths = {
        "/var/run/mysite.sock": site / "mysite.sock",
        "/home/myuser/mysite": site,
        "/var/uwsgi_spools/mysite_spool": site / "mysite_spool",
        "path.to.spool.package": "uwsgi_spools.mysite_spool",
    }
    text = PRINTED
    for printed, ours in paths.items():
        assert text.count(printed) == 1
        text = text.replace(printed, str(ours))
    ini = site / "printed.ini"
    ini.write_text(text)
    return ini
