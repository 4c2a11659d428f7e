"""`unspool config`: what a configuration amounts to, and where each setting comes from."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from factory import DaemonFactory
from harness import PYTHON, UNSPOOL, Project

USAGE_STATUS = 2
COMMAND_LINE = {"command_line": True}
INI = """
    [uwsgi]
    base = {root}
    spooler = %(base)/spool
    spooler-processes = 3
    spooler-import = tasks
    env = COLOUR=red
    req-logger = stdio
    fastrouter = :9000
    master = true
    chroot = %(base)
"""


def config(
    project: Project,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    status: int = 0,
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [UNSPOOL, "config", *arguments],
        cwd=project.root,
        env={**project.env, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done


def as_json(
    project: Project, *arguments: str, env: Mapping[str, str] | None = None, status: int = 0
) -> Any:
    return json.loads(config(project, "--json", *arguments, env=env, status=status).stdout)


def setting(answer: Any, name: str) -> tuple[str, Any, str]:
    """Value, origin and effect of the only setting of this name."""
    (found,) = [setting for setting in answer["settings"] if setting["name"] == name]
    assert found["default"] == (found["origin"] is None)
    return found["value"], found["origin"], found["effect"]


@pytest.fixture
def ini(project: Project) -> Project:
    project.write("app.ini", INI.format(root=project.root))
    return project


def at(line: int) -> dict[str, Any]:
    return {"file": "app.ini", "line": line}


def test_each_setting_has_its_value_its_place_and_its_effect(ini: Project) -> None:
    answer = as_json(ini, "app.ini", "--spooler-quiet", env={"UWSGI_UMASK": "077"})
    assert answer["usable"] is True
    assert answer["error"] is None
    assert answer["files"] == [str(ini.root / "app.ini")]
    assert setting(answer, "spooler") == (str(ini.spool), at(3), "in effect")
    assert setting(answer, "spooler-processes") == ("3", at(4), "in effect")
    assert setting(answer, "spooler-import") == ("tasks", at(5), "in effect")
    assert setting(answer, "spooler-quiet") == ("true", COMMAND_LINE, "in effect")
    assert setting(answer, "umask") == ("077", {"variable": "UWSGI_UMASK"}, "in effect")
    assert setting(answer, "spooler-frequency") == ("30", None, "in effect")
    assert setting(answer, "req-logger") == ("stdio", at(7), "not yet in effect")
    assert setting(answer, "fastrouter") == (":9000", at(8), "no effect")
    assert setting(answer, "master") == ("true", at(9), "so anyway")
    assert setting(answer, "base") == (str(ini.root), at(2), "placeholder")


def test_options_are_those_of_uwsgi_opt_in_their_order(ini: Project) -> None:
    answer = as_json(ini, "app.ini", "--show-secrets")
    options = [(option["name"], option["value"]) for option in answer["options"]]
    assert options[:3] == [
        ("base", str(ini.root)),
        ("spooler", str(ini.spool)),
        ("spooler-processes", "3"),
    ]
    assert ("env", "COLOUR=red") in options


def test_text_is_a_line_for_each_setting(ini: Project) -> None:
    lines = config(ini, "app.ini").stdout.splitlines()
    settings = [line for line in lines if " = " in line]
    shown = {line.split(" = ")[0].strip(): line.split("  # ")[-1] for line in settings}
    assert shown["spooler-processes"] == "app.ini:4"
    assert shown["spooler-frequency"] == "default"
    assert shown["req-logger"] == "app.ini:7; not yet in effect"
    assert "# warning: these options of uWSGI have no effect in unspool: `fastrouter`" in lines
    names = "`req-logger`, `chroot`"
    assert f"# warning: these options are read but not yet in effect: {names}" in lines


SECRETS = """
    [uwsgi]
    spooler = spool
    env = COLOUR=hunter1
    db_password = hunter2
    set-ph = api-key=hunter3
    callable = %(db_password)
    module = site
    stats-push = redis://me:hunter4@host/1
    cheaper = $(SECRET_COUNT)
    pyargv = --token=hunter5
    keyboard = plain-text
"""


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_secrets_are_hidden_unless_asked_for(project: Project, form: tuple[str, ...]) -> None:
    project.write("app.ini", SECRETS)
    env = {"SECRET_COUNT": "hunter6"}
    shown = config(project, *form, "app.ini", env=env).stdout
    assert "hunter" not in shown
    assert "plain-text" in shown
    revealed = config(project, *form, "--show-secrets", "app.ini", env=env).stdout
    for number in range(1, 7):
        assert f"hunter{number}" in revealed


@pytest.mark.parametrize(
    "lines",
    [
        "spooler-processes = many",
        "strict = true\nspooler-imprt = x",
        "",
        "spooler = spool\nchdir = nowhere",
        "spooler = app.ini/spool",
        "spooler = spool\nvirtualenv = nowhere",
        "spooler = spool\nspooler = other\nspooler-processes = 4000",
        "include = nowhere.ini",
        "spooler = app.ini",
    ],
)
def test_what_run_refuses_config_refuses_with_the_same_words(project: Project, lines: str) -> None:
    (project.root / "app.ini").write_text(f"[uwsgi]\n{lines}\n")
    told = config(project, "app.ini", status=USAGE_STATUS).stderr
    refused = project.unspool("run", "app.ini", check=False)
    assert refused.returncode in (1, USAGE_STATUS)
    assert told.startswith("unspool: ")
    assert told in refused.stderr
    answer = as_json(project, "app.ini", status=USAGE_STATUS)
    assert answer["usable"] is False
    assert f"unspool: {answer['error']}\n" == told


def test_it_creates_nothing(ini: Project) -> None:
    before = sorted(ini.root.iterdir())
    config(ini, "app.ini")
    assert sorted(ini.root.iterdir()) == before
    assert not ini.spool.exists()


def test_a_file_that_a_variable_names_is_named_with_it(project: Project) -> None:
    env = {"UNSPOOL_CONFIG": "gone.ini"}
    told = config(project, env=env, status=USAGE_STATUS).stderr
    path = project.root / "gone.ini"
    assert told.startswith(
        f"unspool: environment variable UNSPOOL_CONFIG: failed to read `{path}`: No such file"
    )


def test_the_daemon_runs_with_what_it_shows(project: Project, daemon: DaemonFactory) -> None:
    project.write(
        "tasks.py",
        """
        import os, sys
        import uwsgi
        from reporting import report

        report("imported", opt=dict(uwsgi.opt), argv=sys.argv, env=dict(os.environ), path=sys.path)
        """,
    )
    (project.root / "variables").mkdir()
    (project.root / "variables" / "FROM_DIR").write_text("a\n")
    (project.root / "variables" / "TAKEN").write_text("")
    project.write(
        "app.yaml",
        """
        uwsgi:
          spooler: spool
          spooler-import: tasks
          env:
            - COLOUR=red
            - SIZE=%(size)
          size: 4
          envdir: variables
          pyargv: one  two
          include: more.xml
          strict: false
        """,
    )
    project.write("more.xml", "<uwsgi><ini>last.ini</ini><spooler-quiet/></uwsgi>")
    project.write("last.ini", "[uwsgi]\ngreeting = hello\nprint = %(greeting) %(size)\n")
    env = {"TAKEN": "no"}
    answer = as_json(project, "--show-secrets", "app.yaml", env=env)
    started = daemon("app.yaml", env=env)
    imported = project.events.wait("imported")
    assert any("hello 4" in line for line in started.log)
    assert imported["argv"] == ["uwsgi", "one", "two"]
    expected = {"COLOUR": "red", "SIZE": "4", "FROM_DIR": "a", "TAKEN": None}
    assert {name: imported["env"].get(name) for name in expected} == expected
    last = {option["name"]: option["value"] for option in answer["options"]}
    for name, value in last.items():
        assert imported["opt"][name] == value.encode()
    assert last["greeting"] == "hello"


def test_help_and_no_arguments(project: Project) -> None:
    assert "--show-secrets" in config(project, "--help").stdout
    assert "nothing to run" in config(project, status=USAGE_STATUS).stderr


def test_json_files(project: Project) -> None:
    options = {"spooler": "spool", "pythonpath": ["a", "b"], "spooler-quiet": True, "lazy": None}
    (Path(project.root) / "app.json").write_text(json.dumps({"uwsgi": options}))
    answer = as_json(project, "app.json")
    paths = [s["value"] for s in answer["settings"] if s["name"] == "pythonpath"]
    assert paths == [str(project.root / "a"), str(project.root / "b")]
    assert setting(answer, "spooler-quiet")[0] == "true"
    assert as_json(project, "--json", "app.json")["usable"] is True


def test_chdir2_is_entered_once_the_application_is_imported(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write(
        "tasks.py", "import os\nfrom reporting import report\nreport('in', cwd=os.getcwd())"
    )
    (project.root / "first" / "second").mkdir(parents=True)
    started = daemon(
        *("--spooler", project.spool, "--chdir", "first", "--chdir2", "second"),
        *("--pythonpath", project.root, "--import", "tasks"),
    )
    assert project.events.wait("in")["cwd"] == str(project.root / "first")
    folders = {os.readlink(f"/proc/{pid}/cwd") for pid in started.children}
    # That of the zygote, and the spool that its workers start in.
    assert str(project.root / "first" / "second") in folders


def test_processes_outside_a_daemon_take_files_of_every_format(project: Project) -> None:
    project.write("app.yaml", "uwsgi:\n  spooler: spool\n")
    project.write("app.xml", "<uwsgi><spooler>spool</spooler></uwsgi>")
    project.write("app.json", '{"more": {"spooler": "spool"}}')
    env = {name: value for name, value in project.env.items() if name != "UNSPOOL_SPOOL"}
    path = str(project.spool).encode()
    for file in ("app.yaml", "app.xml", "app.json:more"):
        done = subprocess.run(
            [UNSPOOL, "spool", "--config", file, "f"],
            cwd=project.root,
            env=env,
            capture_output=True,
            check=True,
        )
        assert done.stdout.startswith(path)
        configure = f"import unspool; unspool.configure(config={file!r}); import uwsgi"
        for source, variables in (
            (configure, {}),
            ("import uwsgi", {"UNSPOOL_CONFIG": file}),
        ):
            done = subprocess.run(
                [PYTHON, "-c", f"{source}; print(uwsgi.spoolers)"],
                cwd=project.root,
                env={**env, **variables},
                capture_output=True,
                check=True,
            )
            assert path in done.stdout


def test_python_is_told_what_named_the_file(project: Project) -> None:
    source = "import unspool; unspool.configure(config='gone.ini')"
    done = subprocess.run(
        [PYTHON, "-c", source], cwd=project.root, env=project.env, capture_output=True, text=True
    )
    path = project.root / "gone.ini"
    assert f"unspool.configure(): failed to read `{path}`" in done.stderr


def test_settings_that_the_workers_cannot_be_told_are_an_error_before_the_start(
    project: Project,
) -> None:
    ini = project.write("app.ini", f"[uwsgi]\nspooler = spool\nenv = A={'x' * 140_000}\n")
    for command in ("config", "run"):
        done = project.unspool(command, str(ini), check=False)
        assert done.returncode == 2
        assert "the settings of the application are" in done.stderr
    assert not project.spool.exists()
