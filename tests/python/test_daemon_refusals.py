"""What the daemon cannot do: it says what, where, and what to do about it."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import PYTHON, UNSPOOL, Project, wait_gone
from spooling import attempts, foreign, publish, submit

FAILED_STATUS = 1
USAGE_STATUS = 2
NOBODY = "65534"


def refused(project: Project, *arguments: str | Path, status: int = USAGE_STATUS) -> str:
    """What `unspool run` says when it gives up at the start: one line."""
    done = project.unspool("run", *arguments, check=False, env=project.env)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("unspool: ")]
    return line


MODULE = """
    from uwsgidecorators import spool
    from reporting import report

    @spool
    def send_mail(args):
        report("send_mail")

    @spool
    def resize(args):
        report("resize")
"""


def test_an_unknown_function_is_named_beside_what_is_registered_and_waits_for_a_reload(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    path = submit(project, "send_male")
    line = running.wait_log(rf"ERROR task not run: .* task={path.name}")
    said = line.string
    assert "send_male" in said and "resize" in said and "send_mail" in said
    assert attempts(path) == 0
    project.write("tasks.py", MODULE.replace("send_mail", "send_male"))
    running.reload()
    # It is run by the reload, not by its frequency of 30 s.
    project.events.wait("send_male")
    wait_gone(path)
    assert "resize" not in {event.name for event in project.events.history}


def test_an_application_without_a_handler_is_told_how_to_have_one(
    project: Project, daemon: DaemonFactory
) -> None:
    running = daemon("--spooler", project.spool, "--import", "json")
    path = submit(project, "anything")
    running.wait_log(r"ERROR task not run: .*assign one to `uwsgi\.spooler` or use the decorators")
    assert path.exists()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[uwsgi]\nspooler = s\nspooler-processes = many\n", ["app.ini:3", "many", "digits"]),
        ("[uwsgi]\n\n\nspooler-frequency = soon\n", ["app.ini:4", "soon", "digits"]),
        ("[uwsgi\nspooler = s\n", ["app.ini:1", "closing `]`"]),
    ],
)
def test_an_error_in_an_ini_file_names_file_and_line(
    project: Project, text: str, wanted: list[str]
) -> None:
    line = refused(project, project.write("app.ini", text))
    assert all(part in line for part in wanted), line


def test_an_unknown_option_is_a_warning_with_the_nearest_known_name(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    ini = project.write(
        "app.ini",
        f"""
        [uwsgi]
        spooler = {project.spool}
        spooler-import = tasks
        spooler-frequnecy = 3
        """,
    )
    running = daemon(ini)
    running.wait_log(
        r"WARN  .*app\.ini:4: unknown option `spooler-frequnecy` is ignored; "
        r"did you mean `spooler-frequency`\?"
    )
    submit(project, "resize")
    project.events.wait("resize")


def test_an_unknown_option_of_the_command_line_is_an_error(project: Project) -> None:
    line = refused(project, "--spoler", project.spool)
    assert "unknown option `--spoler`; did you mean `--spooler`?" in line
    assert not project.spool.exists()


def test_a_python_without_unspool_is_named(project: Project, daemon: DaemonFactory) -> None:
    # Without its pyvenv.cfg it is the interpreter that the environment was made from.
    binaries = project.root / "venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python3").symlink_to(PYTHON.resolve())
    options = ("--spooler", project.spool, "--virtualenv", binaries.parent)
    running = daemon(*options, "--import", "json", ready=False)
    running.wait_log(r"unspool: \S+ has no package `unspool`: install it there.*`virtualenv`")
    running.wait_log(r"ERROR zygote exited with status 1 while it imported the application")


def test_nothing_to_run_says_what_to_name(project: Project) -> None:
    line = refused(project)
    assert all(part in line for part in ("--spooler DIR", "spooler = DIR", "spooler-import"))


def test_a_missing_file_is_named(project: Project) -> None:
    assert str(project.root / "nowhere.ini") in refused(project, project.root / "nowhere.ini")


def test_a_missing_spool_is_created_for_its_owner_alone(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    before = os.umask(0)
    try:
        daemon("--spooler", project.spool, "--spooler-import", "tasks")
    finally:
        os.umask(before)
    assert stat.S_IMODE(project.spool.stat().st_mode) == 0o700
    submit(project, "resize")
    project.events.wait("resize")


def test_a_spool_that_others_can_write_is_a_warning(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    project.spool.mkdir()
    project.spool.chmod(0o777)
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    running.wait_log(rf"WARN  spool `{project.spool}` has mode 0777: .*`chmod 700")


def test_a_spool_that_is_a_file_is_an_error(project: Project) -> None:
    project.spool.write_text("not a directory")
    options = ("--spooler", project.spool, "--import", "json")
    line = refused(project, *options, status=FAILED_STATUS)
    assert f"`{project.spool}` is not a directory" in line
    assert project.spool.read_text() == "not a directory"
    options = ("--spooler", project.spool / "sub", "--import", "json")
    line = refused(project, *options, status=FAILED_STATUS)
    assert f"`{project.spool / 'sub'}` is missing and cannot be created" in line


@pytest.fixture
def as_user(project: Project) -> list[str | Path]:
    """The command, as a user whom modes stop."""
    if os.getuid() != 0:
        return [UNSPOOL]
    project.root.chmod(0o755)
    # The environment of the tests may be out of that user's reach.
    command = shutil.copy(UNSPOOL, project.root / "unspool")
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", command]


def test_a_spool_that_is_not_writable_is_an_error_that_says_so(
    project: Project, as_user: list[str | Path]
) -> None:
    project.spool.mkdir()
    project.spool.chmod(0o555)
    options = ("--spooler", project.spool, "--import", "json")
    done = project.run(*as_user, "run", *options, check=False, env=project.env)
    assert done.returncode == FAILED_STATUS
    assert f"spool directory `{project.spool}` is not writable for uid " in done.stderr
    assert "chown" in done.stderr
    done = project.run(*as_user, "spool", "--spooler", project.spool, "resize", check=False)
    assert done.returncode == FAILED_STATUS
    assert f"spool directory `{project.spool}` is not writable for uid " in done.stderr
    project.spool.chmod(0o755)


ESCAPES = ["../out", "a/b", "/tmp", "..", ".", ".unspool", "corrupt", "dead", "results", "x\ny/z"]


@pytest.mark.parametrize("priority", ESCAPES)
def test_a_priority_that_leaves_the_spool_is_refused(project: Project, priority: str) -> None:
    # In whatever way it is given.
    for arguments in (("--priority", priority, "resize"), ("resize", f"priority={priority}")):
        done = project.unspool("spool", *arguments, check=False)
        assert done.returncode == USAGE_STATUS
        assert done.stderr.startswith("unspool: `priority` is `")
        assert done.stdout == ""
    program = """
        import sys, unspool, uwsgi
        for call in (unspool.spool, uwsgi.spool, uwsgi.send_to_spooler):
            try:
                call({b"priority": sys.argv[1].encode(), b"a": b"b"})
            except ValueError as error:
                print(error)
    """
    done = project.python(program, priority)
    assert done.stdout.count("`priority` is `") == 3
    assert sorted(path.name for path in project.root.iterdir()) == ["events.sock", "spool"]
    assert [path.name for path in project.spool.iterdir()] == [".unspool"]


def test_a_spooler_that_is_not_configured_is_refused(project: Project) -> None:
    elsewhere = project.root / "elsewhere"
    elsewhere.mkdir()
    program = """
        import sys, unspool, uwsgi
        for call in (unspool.spool, uwsgi.spool, uwsgi.send_to_spooler):
            for path in (sys.argv[1], "../elsewhere", "/etc"):
                try:
                    call({b"spooler": path.encode(), b"a": b"b"})
                except ValueError as error:
                    print(error)
    """
    done = project.python(program, str(elsewhere))
    assert done.stdout.count("which is not configured in this process") == 9, done.stdout
    for path in (elsewhere, "../elsewhere", "/etc"):
        command = project.unspool("spool", "resize", f"spooler={path}", check=False)
        assert command.returncode == USAGE_STATUS, command.stdout
        assert "--spooler" in command.stderr
    assert list(elsewhere.iterdir()) == []


def test_a_task_cannot_leave_the_spool_by_the_keys_it_carries(
    project: Project, daemon: DaemonFactory
) -> None:
    # Written by hand, these keys are pairs like any other: only the file's place counts.
    project.write("tasks.py", MODULE)
    daemon("--spooler", project.spool, "--spooler-import", "tasks")
    pairs = {b"ud_spool_func": b"resize", b"priority": b"../x", b"spooler": b"/"}
    path = publish(project.spool, "by_hand", foreign(pairs))
    project.events.wait("resize")
    wait_gone(path)
