"""`unspool init`: what it writes works at once, and it replaces nothing unasked."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser
from everybody import root_only
from harness import UNSPOOL, Daemon, Project
from processes import WAIT_SECONDS_MAX, ProcessHandle, children_of, descendants_of

DONE, FAILED, USAGE = 0, 1, 2
ALL = ["unspool.ini", "tasks.py", "unspool.service", "Dockerfile"]

TASK = """
    from uwsgidecorators import spool, timer

    @timer(3600)
    def tick(number):
        pass

    @spool
    def resize(arguments):
        print("resized", arguments["id"], flush=True)
"""


@pytest.fixture
def folder(project: Project) -> Path:
    path = project.root / "my app"
    path.mkdir()
    return path


def write(project: Project, name: str, source: str) -> None:
    project.write(f"my app/{name}", source)


def init(project: Project, folder: Path, *options: str, status: int = DONE) -> str:
    """`unspool init` in the folder; what it says."""
    done = subprocess.run(
        [UNSPOOL, "init", *options],
        cwd=folder,
        env=project.env,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done.stderr if status else done.stdout


def commands(told: str) -> list[list[str]]:
    """The commands that it says to type next, as words."""
    _, _, after = told.partition("Next:\n")
    return [shlex.split(line, comments=True) for line in after.splitlines()]


@contextmanager
def run_in(project: Project, folder: Path, *command: str | Path) -> Iterator[Daemon]:
    """A daemon that is started by a command, in a folder; it has to end well."""
    daemon = Daemon(cwd=folder, env=project.env, command=command).start()
    try:
        yield daemon.wait_ready()
        assert daemon.stop() == 0
    finally:
        daemon.close()


def typed(project: Project, folder: Path, words: list[str]) -> str:
    """A command of unspool's, typed in the folder."""
    assert words[0] == "unspool"
    return subprocess.run(
        [UNSPOOL, *words[1:]],
        cwd=folder,
        env=project.env,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS_MAX,
        check=True,
    ).stdout


def follow(project: Project, folder: Path, told: str, expected: str, **values: str) -> None:
    """Types what it says: the doctor is content, the daemon runs what is submitted."""
    doctor, run, spool = commands(told)[:3]
    assert "0 problems" in typed(project, folder, doctor)
    with run_in(project, folder, UNSPOOL, *run[1:]) as daemon:
        words = [word for word in spool if word != "KEY=VALUE"]
        typed(project, folder, words + [f"{key}={value}" for key, value in values.items()])
        daemon.wait_output(expected)
    assert (folder / "spool").stat().st_mode & 0o7777 == 0o700


def test_in_an_empty_folder(project: Project, folder: Path) -> None:
    told = init(project, folder)
    assert sorted(os.listdir(folder)) == sorted(ALL)
    assert [line for line in told.splitlines() if line.startswith("wrote")] == [
        f"wrote {folder / name}" for name in ALL
    ]
    follow(project, folder, told, "^hello, Ada$")


def test_in_a_folder_with_tasks(project: Project, folder: Path) -> None:
    write(project, "tasks.py", TASK)
    before = (folder / "tasks.py").read_text()
    told = init(project, folder)
    assert "Tasks are in tasks;" in told and "spool --config unspool.ini resize" in told
    assert (folder / "tasks.py").read_text() == before
    follow(project, folder, told, "^resized 7$", id="7")


def test_in_a_project_of_packages(project: Project, folder: Path) -> None:
    write(project, "pyproject.toml", "[project]\nname = 'shop'\n")
    write(project, "src/shop/__init__.py", "")
    write(project, "src/shop/images.py", TASK)
    # What is no code of the application's, or has no task.
    write(project, "src/shop/models.py", "x = 1\n")
    write(project, "tests/images.py", TASK)
    write(project, ".venv/lib/images.py", TASK)
    write(project, "env/pyvenv.cfg", "version = 3.11.2\n")
    write(project, "env/lib/images.py", TASK)
    told = init(project, folder)
    ini = (folder / "unspool.ini").read_text()
    assert re.findall(r"^spooler-import = (.*)", ini, re.M) == ["shop.images"]
    assert re.findall(r"^pythonpath = (.*)", ini, re.M) == ["%dsrc"]
    assert re.findall(r"^; virtualenv = (.*)", ini, re.M) == ["%denv"]
    assert not (folder / "tasks.py").exists()
    follow(project, folder, told, "^resized 8$", id="8")


DJANGO = {
    "manage.py": """
    import os

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_of_mine.settings")
    """,
    "site_of_mine/__init__.py": "",
    "site_of_mine/settings.py": "",
    # What Django's own does: it sets up what settings name.
    "site_of_mine/wsgi.py": """
    import importlib, os

    settings = importlib.import_module(os.environ["DJANGO_SETTINGS_MODULE"])
    settings.ready = True

    def application(environ, start_response):
        raise NotImplementedError
    """,
    "photos/__init__.py": "",
    "photos/tasks.py": """
    from site_of_mine import settings
    from uwsgidecorators import spool

    assert settings.ready

    @spool
    def resize(arguments):
        print("resized", arguments["id"], flush=True)
    """,
}


@pytest.mark.parametrize("has_tasks", [True, False])
def test_in_a_django_project(project: Project, folder: Path, has_tasks: bool) -> None:
    for name, source in DJANGO.items():
        if has_tasks or "photos" not in name:
            write(project, name, source)
    told = init(project, folder)
    ini = (folder / "unspool.ini").read_text()
    assert "\nenv = DJANGO_SETTINGS_MODULE=site_of_mine.settings\n" in ini
    assert "\nmodule = site_of_mine.wsgi:application\n" in ini
    assert (folder / "tasks.py").exists() is not has_tasks
    if has_tasks:
        follow(project, folder, told, "^resized 9$", id="9")
    else:
        follow(project, folder, told, "^hello, Ada$")


def test_in_a_folder_above_a_django_project(project: Project, folder: Path) -> None:
    for name, source in DJANGO.items():
        write(project, f"shop/{name}", source)
    write(project, "requirements.txt", "")
    told = init(project, folder)
    ini = (folder / "unspool.ini").read_text()
    assert "\npythonpath = %dshop/\n" in ini and "\nspooler-import = photos.tasks\n" in ini
    follow(project, folder, told, "^resized 9$", id="9")


def test_in_a_django_project_without_a_web_application(project: Project, folder: Path) -> None:
    """Django itself is set up then."""
    for name, source in DJANGO.items():
        if not name.endswith("wsgi.py"):
            write(project, name, source)
    set_up = """
    import importlib, os

    def setup():
        importlib.import_module(os.environ["DJANGO_SETTINGS_MODULE"]).ready = True
    """
    write(project, "django.py", set_up)
    told = init(project, folder)
    assert "\nmodule = django:setup()\n" in (folder / "unspool.ini").read_text()
    follow(project, folder, told, "^resized 9$", id="9")


def test_what_a_text_says_makes_no_task(project: Project, folder: Path) -> None:
    text = '"""Use it so:\n\nfrom uwsgidecorators import spool\n\n@spool\ndef no(a): ...\n"""\n'
    write(project, "helpers.py", text)
    write(project, "work.py", text + textwrap.dedent(TASK))
    assert "Tasks are in work;" in init(project, folder)
    ini = (folder / "unspool.ini").read_text()
    assert re.findall(r"^spooler-import = (.*)", ini, re.M) == ["work"]


@pytest.mark.parametrize("name", ["a$(HOME)b", "a@(b)", "a%(b)"])
def test_a_name_that_an_ini_file_would_replace_is_refused(
    project: Project, folder: Path, name: str
) -> None:
    said = init(project, folder, name, status=USAGE)
    assert "give the folder another name" in said
    assert not (folder / name).exists()


def test_beside_a_web_application(project: Project, folder: Path) -> None:
    write(project, "app.py", "app = Flask(__name__)\n")
    told = init(project, folder)
    assert "\n; spooler-import = app\n" in (folder / "unspool.ini").read_text()
    follow(project, folder, told, "^hello, Ada$")


def test_nothing_is_replaced_unasked(project: Project, folder: Path) -> None:
    write(project, "Dockerfile", "FROM scratch\n")
    complaint = init(project, folder, status=FAILED)
    assert f"`{folder / 'Dockerfile'}` is there already, and nothing was written" in complaint
    assert os.listdir(folder) == ["Dockerfile"]
    init(project, folder, "--only", "unspool.ini", "--only", "tasks.py")
    assert (folder / "Dockerfile").read_text() == "FROM scratch\n"
    # A link to nowhere is there as well.
    (folder / "unspool.service").symlink_to(folder / "elsewhere")
    init(project, folder, "--only", "unspool.service", status=FAILED)
    assert not (folder / "elsewhere").exists()
    (folder / "tasks.py").write_text("x = 1\n")
    init(project, folder, "--force")
    assert "python" in (folder / "Dockerfile").read_text()
    assert not (folder / "unspool.service").is_symlink()
    assert (folder / "tasks.py").read_text() == "x = 1\n"
    init(project, folder, "--force", "--only", "tasks.py", status=FAILED)
    assert (folder / "tasks.py").read_text() == "x = 1\n"


def test_to_look_at_only(project: Project, folder: Path) -> None:
    every = init(project, folder, "--print")
    assert [name for name in ALL if f"# ==> {name} <==" in every] == ALL
    one = init(project, folder, "--print", "--only", "unspool.ini")
    assert one in every and "# ==>" not in one
    files = json.loads(init(project, folder, "--print", "--json"))["files"]
    assert {file["name"]: file["text"] for file in files}["unspool.ini"] == one
    assert os.listdir(folder) == []


def test_a_folder_of_another_place(project: Project, folder: Path) -> None:
    told = init(project, folder, "--json", "deep")
    report = json.loads(told)
    assert report["written"] == [str(folder / "deep" / name) for name in ALL]
    assert report["modules"] == [] and report["next"][0] == "cd deep"
    assert "cannot make the folder" in init(project, folder, "a/b", status=FAILED)
    init(project, folder, "--only", "app.ini", status=USAGE)


def unit_of(folder: Path) -> configparser.SectionProxy:
    unit = configparser.RawConfigParser(strict=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(folder / "unspool.service")
    return unit["Service"]


def test_the_unit_runs(project: Project, folder: Path) -> None:
    told = init(project, folder)
    service = unit_of(folder)
    assert Path(service["WorkingDirectory"]) == folder
    assert service["Type"] == "exec" and service["KillMode"] == "mixed"
    assert service["User"] == folder.owner()
    reload = service["ExecReload"].split()
    with run_in(project, folder, *shlex.split(service["ExecStart"])) as daemon:
        typed(project, folder, commands(told)[2])
        daemon.wait_output("^hello, Ada$")
        mark = daemon.mark()
        subprocess.run([*reload[:-1], str(daemon.pid)], check=True)
        daemon.wait_reloaded(mark)


@pytest.mark.parametrize("name", ["plain", "a b", "50% off"])
def test_systemd_takes_the_unit(project: Project, name: str) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("not run: systemd-analyze is missing")
    folder = project.root / name
    folder.mkdir()
    init(project, folder)
    done = subprocess.run(
        [verify, "verify", folder / "unspool.service"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told = [line for line in done.stderr.splitlines() if "unspool" in line or "Unknown" in line]
    assert told == [], done.stderr


def wait_until(holds: Callable[[], bool]) -> None:
    """Nothing tells of the end of a process that somebody else reaps."""
    ends = time.monotonic() + WAIT_SECONDS_MAX
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)


LEAVES = """
    import subprocess
    from uwsgidecorators import spool

    @spool
    def leaves(arguments):
        subprocess.run(["sh", "-c", "sleep 600 &"], check=True)
        print("left", flush=True)
"""


def dockerfile(folder: Path) -> DockerfileParser:
    return DockerfileParser(str(folder / "Dockerfile"))


def last(parser: DockerfileParser, instruction: str) -> str:
    found = [step["value"] for step in parser.structure if step["instruction"] == instruction]
    return str(found[-1])


def test_the_image(project: Project, folder: Path) -> None:
    """No Docker is needed to see that each step has what it needs."""
    write(project, "requirements.txt", "requests\n")
    init(project, folder)
    parser = dockerfile(folder)
    order = [step["instruction"] for step in parser.structure if step["instruction"] != "COMMENT"]
    assert order[0] == "FROM" and order[-1] == "CMD" and order.count("CMD") == 1
    assert re.fullmatch(r"python:3\.\d+-slim", parser.baseimage)
    assert order.index("VOLUME") < order.index("USER") < order.index("CMD")
    sources = [s["value"].split()[0] for s in parser.structure if s["instruction"] == "COPY"]
    assert sources == ["unspool-*.whl", "requirements.txt", "."]
    place = last(parser, "WORKDIR")
    assert last(parser, "VOLUME") == f"{place}/spool" and last(parser, "USER") == "app"
    assert parser.envs["UNSPOOL_CONFIG"] == f"{place}/unspool.ini"
    assert signal.Signals[last(parser, "STOPSIGNAL")] == signal.SIGTERM
    for step in parser.structure:
        if step["instruction"] == "RUN":
            subprocess.run(["sh", "-n", "-c", step["value"]], check=True)
    for program in ("useradd", "install"):
        assert any(program in step["value"] for step in parser.structure)


@root_only
@pytest.mark.skipif(shutil.which("unshare") is None, reason="not run: unshare is missing")
def test_as_process_one(project: Project, folder: Path) -> None:
    """The commands of the Dockerfile, with the daemon as process 1, as in a container."""
    write(project, "tasks.py", LEAVES)
    init(project, folder)
    parser = dockerfile(folder)
    # What prepares the spool, with a user who is there.
    (prepare,) = [
        step["value"]
        for step in parser.structure
        if step["instruction"] == "RUN" and "install -d" in step["value"]
    ]
    (folder / "spool").mkdir()
    (folder / "spool" / "of the host").touch()
    subprocess.run(
        ["sh", "-c", prepare.replace("-o app -g app", f"-o {os.getuid()} -g {os.getgid()}")],
        cwd=folder,
        check=True,
    )
    assert os.listdir(folder / "spool") == []
    command = json.loads(last(parser, "CMD"))
    health = json.loads(last(parser, "HEALTHCHECK").partition("CMD ")[2])
    environment = {
        **project.env,
        "PATH": f"{UNSPOOL.parent}:/usr/bin:/bin",
        "UNSPOOL_CONFIG": str(folder / "unspool.ini"),
    }
    apart = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    outer = Daemon(cwd=folder, env=environment, command=(*apart, *command)).start()
    try:
        outer.wait_ready()
        (pid,) = children_of(outer.pid)

        def inside(*words: str) -> int:
            enter = ["nsenter", f"--target={pid}", "--pid", "--mount", f"--wd={folder}"]
            return subprocess.run([*enter, *words], env=environment, check=False).returncode

        assert inside(*health) == 0
        assert inside("unspool", "spool", "leaves") == 0
        outer.wait_output("^left$")
        (orphan,) = [
            below
            for below in descendants_of(pid)
            if Path(f"/proc/{below}/cmdline").read_bytes().startswith(b"sleep\0")
        ]
        assert orphan in children_of(pid)
        os.kill(orphan, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{orphan}").exists())
        # A daemon that does not answer, and one that does again.
        os.kill(pid, signal.SIGSTOP)
        try:
            assert inside(*health) != 0
        finally:
            os.kill(pid, signal.SIGCONT)
        assert inside(*health) == 0
        process = ProcessHandle(pid)
        process.send(signal.Signals[last(parser, "STOPSIGNAL")])
        assert process.wait()
        process.close()
        assert outer.wait_exit() == 0
    finally:
        outer.close()
