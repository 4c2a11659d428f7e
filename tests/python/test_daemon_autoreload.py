"""`py-autoreload`: a save of the application's files reloads it, however an editor saves."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import Daemon, Project
from spooling import submit

TASKS = """
    from helper import VERSION
    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def mark(args):
        report("mark", version=VERSION)
"""


def start(project: Project, daemon: DaemonFactory, *options: str) -> Daemon:
    project.write("helper.py", "VERSION = 1\n")
    project.write("tasks.py", TASKS)
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    return daemon(*spool, "--py-autoreload=1", *options)


def write_in_place(path: Path, text: str) -> None:
    with open(path, "r+") as file:
        file.truncate()
        file.write(text)


def rename_over(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.swp")
    aside.write_text(text)
    aside.rename(path)


def move_away_and_write(path: Path, text: str) -> None:
    path.rename(path.with_name(f"{path.name}~"))
    path.write_text(text)


def by_another_program(path: Path, text: str) -> None:
    subprocess.run(["sed", "-i", f"1s/.*/{text.strip()}/", path], check=True)


SAVES = [write_in_place, rename_over, move_away_and_write, by_another_program]


def version(project: Project) -> int:
    submit(project, "mark")
    found = project.events.wait("mark")["version"]
    assert isinstance(found, int)
    return found


@pytest.mark.parametrize("save", SAVES)
def test_each_way_to_save_reloads_once(project: Project, daemon: DaemonFactory, save) -> None:  # type: ignore[no-untyped-def]
    running = start(project, daemon)
    for number in (2, 3):
        mark = running.mark()
        save(project.root / "helper.py", f"VERSION = {number}\n")
        running.wait_reloaded(mark)
        assert version(project) == number
    assert sum("reloading the application" in line for line in running.log) == 2


def test_a_syntax_error_keeps_the_old_code_until_it_is_mended(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon)
    write_in_place(project.root / "helper.py", "VERSION = = 2\n")
    running.wait_log("SyntaxError")
    running.wait_log("reload given up")
    assert version(project) == 1
    mark = running.mark()
    rename_over(project.root / "helper.py", "VERSION = 2\n")
    running.wait_reloaded(mark)
    assert version(project) == 2


def test_a_module_that_is_missing_is_waited_for(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    project.write("tasks.py", TASKS.replace("from helper", "from created"))
    running.wait_log("ModuleNotFoundError")
    running.wait_log("reload given up")
    mark = running.mark()
    project.write("created.py", "VERSION = 2\n")
    running.wait_reloaded(mark)
    assert version(project) == 2
    # And it is watched like the others.
    mark = running.mark()
    write_in_place(project.root / "created.py", "VERSION = 3\n")
    running.wait_reloaded(mark)
    assert version(project) == 3


def test_a_first_import_that_fails_is_mended_by_a_save(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("helper.py", "VERSION = = 1\n")
    project.write("tasks.py", TASKS)
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    running = daemon(*spool, "--py-autoreload", "1")
    mark = running.mark()
    rename_over(project.root / "helper.py", "VERSION = 2\n")
    running.wait_reloaded(mark)
    assert version(project) == 2


def test_a_save_while_the_application_is_imported_is_not_missed(
    project: Project, daemon: DaemonFactory
) -> None:
    running = start(project, daemon)
    gate = project.gate("import")
    held = TASKS + "\n    report('import')\n    pause('import')\n"
    project.write("tasks.py", held)
    project.events.wait("import")
    # It was read already.
    rename_over(project.root / "helper.py", "VERSION = 2\n")
    mark = running.mark()
    gate.release(2)
    project.events.wait("import")
    first = running.wait_log("application imported", since=mark)
    running.wait_reloaded(running.after(first))
    assert version(project) == 2


def test_a_file_that_the_import_writes_does_not_reload_for_ever(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("helper.py", "VERSION = 1\n")
    lines = [
        "import pathlib, time",
        "pathlib.Path(__file__).with_name('made.py').write_text(f'TIME = {time.time_ns()}')",
        "import made",
    ]
    project.write("tasks.py", "\n".join([*lines, ""]))
    with open(project.root / "tasks.py", "a") as file:
        file.write(TASKS.replace("\n    ", "\n"))
    running = daemon(
        "--spooler", project.spool, "--spooler-import", "tasks", "--py-autoreload", "1"
    )
    mark = running.mark()
    write_in_place(project.root / "helper.py", "VERSION = 2\n")
    running.wait_reloaded(mark)
    assert version(project) == 2
    mark = running.mark()
    write_in_place(project.root / "helper.py", "VERSION = 3\n")
    running.wait_reloaded(mark)
    assert version(project) == 3
    assert sum("reloading the application" in line for line in running.log) == 2


def test_ignored_modules_do_not_reload(project: Project, daemon: DaemonFactory) -> None:
    project.write("other.py", "")
    running = start(project, daemon, "--py-auto-reload-ignore=helper", "--import=other")
    write_in_place(project.root / "helper.py", "VERSION = 2\n")
    mark = running.mark()
    write_in_place(project.root / "other.py", "X = 1\n")
    running.wait_reloaded(mark)
    assert version(project) == 2
    names = [line for line in running.log if "a source file changed" in line]
    assert len(names) == 1 and "other.py files=" in names[0]


def test_a_checkout_of_many_files_reloads_once(project: Project, daemon: DaemonFactory) -> None:
    package = project.root / "many"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for number in range(200):
        (package / f"m{number}.py").write_text("X = 0\n")
    imports = "\n".join(f"import many.m{number}" for number in range(200))
    tell = "import helper, reporting; reporting.report('imported', version=helper.VERSION)"
    project.write("all.py", f"{imports}\n{tell}\n")
    running = start(project, daemon, "--import=all")
    mark = running.mark()
    for number in range(200):
        rename_over(package / f"m{number}.py", "X = 10\n")
    os.utime(project.root / "all.py")
    running.wait_reloaded(mark)
    write_in_place(project.root / "helper.py", "VERSION = 2\n")
    project.events.wait(lambda event: event.name == "imported" and event["version"] == 2)
    assert running.stop() == 0
    # A machine under load may take longer over them than the wait for the last one.
    assert 2 <= sum("reloading the application" in line for line in running.log) <= 3


def test_what_a_task_imports_is_watched_too(project: Project, daemon: DaemonFactory) -> None:
    project.write("late.py", "VERSION = 1\n")
    project.write("helper.py", "")
    # Imported by the worker, in the task.
    project.write(
        "tasks.py",
        TASKS.replace("from helper import VERSION", "").replace(
            "report(", "from late import VERSION; report("
        ),
    )
    running = daemon(
        "--spooler", project.spool, "--spooler-import", "tasks", "--py-autoreload", "1"
    )
    assert version(project) == 1
    submit(project, "mark")
    project.events.wait("mark")
    mark = running.mark()
    rename_over(project.root / "late.py", "VERSION = 2\n")
    running.wait_reloaded(mark)
    assert version(project) == 2
