"""The page on moving from uWSGI and back, typed as printed, with both daemons."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from harness import ROOT, SUPPORT, UNSPOOL, Daemon, Project

PAGE = (ROOT / "docs" / "howto" / "from-uwsgi.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def write_files(project: Project) -> None:
    """Each file is a block that begins with a comment of its name."""
    for block in blocks("(?:python|ini)"):
        named = re.match(r"[#;] (\S+\.\w+)\n", block)
        if named is not None:
            project.write(named[1], block)


def test_there_and_back_again_as_printed(project: Project, real_uwsgi: Path) -> None:
    write_files(project)
    path = f"{UNSPOOL.parent}:{real_uwsgi.parent}:/usr/bin:/bin"
    env = {**project.env, "PATH": path}
    started: list[Daemon] = []

    def start(line: str) -> Daemon:
        program, *arguments = shlex.split(line)
        command: Path = real_uwsgi if program == "uwsgi" else UNSPOOL
        if program == "uwsgi":
            # The page says that it is installed beside the application.
            arguments += ["--virtualenv", os.fspath(real_uwsgi.parent.parent), "--die-on-term"]
        found = Daemon(*arguments, cwd=project.root, env=env, command=(command,)).start()
        started.append(found)
        return found

    before, look, there, submit, back = blocks("sh")
    # The command's own task needs one more pair for uWSGI, as the page says.
    for_uwsgi = submit.replace("name=Grace", "name=Grace ud_spool_ret=-2")
    assert for_uwsgi != submit
    try:
        uwsgi = start(before)
        project.run("bash", "-euc", for_uwsgi.replace("Ada", "Old"), env=env)
        uwsgi.wait_log("^hello, Old$")
        project.wait_empty()
        assert uwsgi.stop() == 0

        shown = project.run("bash", "-euc", look, env=env).stdout
        assert re.search(r"^spooler-frequency += 1 ", shown, re.MULTILINE), shown

        project.run("bash", "-euc", submit, env=env)
        unspool = start(there)
        unspool.wait_output("^hello, Ada$")
        unspool.wait_output("^hello, Grace$")
        project.wait_empty()
        assert unspool.stop() == 0

        project.run("bash", "-euc", for_uwsgi.replace("Ada", "New"), env=env)
        uwsgi = start(back)
        uwsgi.wait_log("^hello, New$")
        project.wait_empty()
        assert uwsgi.stop() == 0
    finally:
        for found in started:
            found.close()


def test_a_uwsgi_that_only_submits_leaves_running_to_unspool(
    project: Project, real_uwsgi: Path
) -> None:
    """`spooler-external` in the web server's configuration, as the page says."""
    write_files(project)
    project.spool.mkdir()
    project.write(
        "web.py",
        """
        import tasks

        tasks.greet.spool(name="Web")
        """,
    )
    ours = Path(UNSPOOL).parent.parent
    (site,) = ours.glob("lib/python3*/site-packages")
    web = Daemon(
        "--master",
        "--die-on-term",
        f"--spooler-external={project.spool}",
        f"--virtualenv={real_uwsgi.parent.parent}",
        f"--pythonpath={site}",
        f"--pythonpath={SUPPORT}",
        f"--pythonpath={project.root}",
        "--import=web",
        cwd=project.root,
        env=project.env,
        command=(real_uwsgi,),
    ).start()
    daemon = project.daemon("app.ini").start()
    try:
        daemon.wait_output("^hello, Web$")
        project.wait_empty()
        assert daemon.stop() == 0
        assert web.stop() == 0
    finally:
        daemon.close()
        web.close()
