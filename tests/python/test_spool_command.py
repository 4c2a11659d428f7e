"""`unspool spool`: submits one task from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import UNSPOOL, Project, wait_gone
from spooling import submit

FAILED_STATUS = 1
USAGE_STATUS = 2

MODULE = """
    import uwsgi
    from reporting import report

    def handler(env):
        report("handler", env=env)
        return uwsgi.SPOOL_OK

    uwsgi.spooler = handler
"""


def received(project: Project, daemon: DaemonFactory) -> dict[str | bytes, bytes]:
    """What the handler gets of the one task that waits, but for its name."""
    project.write("tasks.py", MODULE)
    daemon("--spooler", project.spool, "--import", "tasks")
    env: dict[str | bytes, bytes] = project.events.wait("handler")["env"]
    del env["spooler_task_name"]
    return env


def refused(project: Project, *arguments: str, status: int = USAGE_STATUS) -> str:
    """What it says when it does not submit."""
    done = project.unspool("spool", *arguments, check=False)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert project.tasks() == []
    return done.stderr


def test_it_prints_the_absolute_path_of_the_task_and_nothing_else(project: Project) -> None:
    done = project.unspool("spool", "f", "a=1")
    assert done.stderr == ""
    (path,) = project.tasks()
    assert done.stdout == f"{path}\n"
    assert path.is_absolute() and path.parent == project.spool
    # A spool that is missing is made.
    assert project.spool.stat().st_mode & 0o777 == 0o700


def test_the_path_and_the_id_as_json(project: Project) -> None:
    told = json.loads(project.unspool("spool", "--json", "f", "a=1").stdout)
    (path,) = project.tasks()
    assert told["path"] == str(path)
    assert f"[id={told['id']}".encode() in path.read_bytes()


def test_arguments_arrive_as_pairs(project: Project, daemon: DaemonFactory) -> None:
    command = [os.fsencode(UNSPOOL), b"spool", b"f", b"a=1", b"b=", b"c=x=y", b"d=\xff", b"e=two w"]
    subprocess.run(command, env=project.producer_env, check=True, capture_output=True)
    assert received(project, daemon) == {
        b"ud_spool_func": b"f",
        b"a": b"1",
        b"b": b"",
        b"c": b"x=y",
        b"d": b"\xff",
        b"e": b"two w",
    }


def test_the_body_comes_from_a_file(project: Project, daemon: DaemonFactory) -> None:
    body = project.root / "body"
    body.write_bytes(bytes(range(256)) * 200)
    submit(project, "f", "--body", str(body))
    env = received(project, daemon)
    assert env["body"] == body.read_bytes()


def test_the_body_comes_from_standard_input(project: Project, daemon: DaemonFactory) -> None:
    command = [str(UNSPOOL), "spool", "--body", "-", "f", "a=1"]
    subprocess.run(
        command, input=b"\x00lines\n", env=project.producer_env, check=True, capture_output=True
    )
    env = received(project, daemon)
    assert (env["body"], env[b"a"]) == (b"\x00lines\n", b"1")


def test_the_keys_that_mean_something_mean_it_here_too(
    project: Project, daemon: DaemonFactory
) -> None:
    path = submit(project, "f", body="in one word", priority="3", at=1)
    assert path.parent == project.spool / "3"
    env = received(project, daemon)
    assert env["body"] == b"in one word"
    assert (env[b"priority"], env[b"at"]) == (b"3", b"1")


def test_at_and_delay_set_the_due_time(project: Project) -> None:
    path = submit(project, "f", "--at", "4000000000.25")
    assert path.stat().st_mtime_ns == 4_000_000_000_250_000_000
    before = time.time()
    path = submit(project, "f", "--delay", "100.5")
    assert before + 100.5 <= path.stat().st_mtime + 1e-6
    assert path.stat().st_mtime <= time.time() + 100.5 + 1e-6


def test_priority_chooses_the_folder(project: Project) -> None:
    for priority in ("5", "mail"):
        path = submit(project, "f", "--priority", priority)
        assert path.parent == project.spool / priority


@pytest.mark.parametrize("level", ["none", "file", "group"])
def test_durability(project: Project, level: str) -> None:
    assert submit(project, "f", "--durability", level).exists()


def test_the_spool_is_found_by_option_then_config_then_environment(project: Project) -> None:
    folders = [project.root / name for name in ("option", "config", "variable", "other")]
    option, config, variable, other = folders
    ini = project.write("app.ini", f"[uwsgi]\nspooler = {config}\nspooler = {other}\n")
    other_ini = project.write("other.ini", f"[uwsgi]\nspooler = {other}\n")
    both = {"UNSPOOL_SPOOL": str(variable), "UNSPOOL_CONFIG": str(other_ini)}
    options = ("--spooler", str(option))

    def folder_of(*arguments: str, **env: str) -> Path:
        done = project.unspool("spool", *arguments, "f", env={**project.env, **env})
        return Path(done.stdout.strip()).parent

    assert folder_of(*options, **both) == option
    assert folder_of(*options, "--config", str(ini), **both) == option
    assert folder_of("--config", str(ini), **both) == config
    assert folder_of(**both) == variable
    assert folder_of(UNSPOOL_CONFIG=str(ini)) == config


def test_deleting_the_file_cancels_the_task(project: Project, daemon: DaemonFactory) -> None:
    first = submit(project, "f", id="cancelled")
    submit(project, "f", id="stays")
    project.run("rm", first)
    assert received(project, daemon)[b"id"] == b"stays"
    project.wait_empty()
    assert len(project.events.history) == 1


def test_a_delayed_task_is_cancelled_while_the_daemon_runs(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    daemon("--spooler", project.spool, "--import", "tasks")
    cancelled, stays = (
        submit(project, "f", "--delay", "3600", id=name) for name in ("cancelled", "stays")
    )
    due = time.time() + 0.5
    for path in (cancelled, stays):
        os.utime(path, (due, due))
    cancelled.unlink()
    assert project.events.wait("handler")["env"][b"id"] == b"stays"
    last = submit(project, "f", id="last")
    assert project.events.wait("handler")["env"][b"id"] == b"last"
    wait_gone(last)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "<FUNCTION>"),
        (("f", "loose"), "argument `loose` is not of the form key=value"),
        (("f", "=x"), "argument `=x` is not of the form key=value"),
        (("--at", "soon", "f"), "`at` is `soon`, which is no time"),
        (("--delay=-1", "f"), "the delay is -1: give seconds, at least 0"),
        (("--delay", "1", "--at", "1", "f"), "cannot be used with"),
        (("--durability", "much", "f"), "unknown durability `much`: use `none`, `file` or `group`"),
        (("f", "a=1", "a=2"), "`a` is given twice"),
        (("--priority", "5", "f", "priority=6"), "`priority` is given twice"),
        (("f", "spooler=/etc"), "use `--spooler /etc`"),
        (("--no-such-option", "f"), "--no-such-option"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    project: Project, arguments: tuple[str, ...], said: str
) -> None:
    assert said in refused(project, *arguments)


def test_a_body_that_cannot_be_read_is_named(project: Project) -> None:
    said = refused(project, "--body", "nowhere", "f", status=FAILED_STATUS)
    assert "cannot read the body from `nowhere`" in said


def test_help_says_what_there_is(project: Project) -> None:
    done = project.unspool("spool", "--help")
    for option in ("spooler", "config", "at", "delay", "priority", "body", "durability"):
        assert f"--{option}" in done.stdout
