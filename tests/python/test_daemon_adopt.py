"""The first start on a directory that uWSGI used: what uWSGI would not have run is held.

Files are written here as uWSGI writes them; `tests/interop/test_adopt.py` has the real one do it.
A task without a priority that was submitted last tells that nothing else runs: all others are
served before it by the only worker.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from factory import DaemonFactory
from harness import Daemon, Project, pending_tasks, wait_gone, wait_present
from inotify import DirectoryWatch
from spooling import foreign, publish, submit

MODULE = """
    from uwsgidecorators import spool
    from reporting import report

    @spool
    def mark(args):
        report("mark", id=args["id"])

    @spool
    def other(args):
        report("mark", id=args["id"])
"""
DAY = 86_400.0
HELD = r"WARN .*tasks are held that the old configuration never ran"

_numbers = count(1)


def leave(
    project: Project, folder: str, mark: str, function: str = "mark", age: float = 60.0
) -> Path:
    """A task as uWSGI leaves it, submitted `age` seconds ago."""
    submitted = time.time() - age
    place = project.spool / folder
    place.mkdir(mode=0o777, parents=True, exist_ok=True)
    stamp = f"{int(submitted)}_{int(submitted % 1 * 1e6)}"
    pairs = {b"ud_spool_func": function.encode(), b"id": mark.encode()}
    return publish(place, f"host_7_{next(_numbers)}_99_{stamp}", foreign(pairs), submitted)


def start(project: Project, daemon: DaemonFactory, *options: str) -> Daemon:
    """A daemon that has looked at the whole spool."""
    project.write("tasks.py", MODULE)
    started = daemon("--spooler", project.spool, "--spooler-import", "tasks", *options)
    started.wait_log(r"spool scanned")
    return started


def ran(project: Project) -> list[str]:
    """What ran so far, in order, once everything that may run has run."""
    submit(project, "mark", id="last")
    while project.events.wait("mark")["id"] != "last":
        pass
    found = [event["id"] for event in project.events.history if event.name == "mark"]
    return [mark for mark in found if mark != "last"]


def adopt(project: Project, *options: str) -> dict[str, Any]:
    """`unspool adopt --json` of the project's spool."""
    done = project.unspool("adopt", "--spooler", str(project.spool), "--json", *options)
    (spool,) = json.loads(done.stdout)["spools"]
    assert spool["spool"] == str(project.spool)
    result: dict[str, Any] = spool
    return result


def held(project: Project) -> dict[tuple[str, str], int]:
    """What is held, by folder and function."""
    return {(g["folder"], g["function"]): g["tasks"] for g in adopt(project)["held"]}


def left_tasks(project: Project) -> list[Path]:
    """One that uWSGI would have run, and four kinds that it would not."""
    leave(project, "", "plain")
    return [
        leave(project, "", "stale", age=2 * DAY),
        leave(project, "5", "number"),
        leave(project, "mail", "name"),
        leave(project, "mail", "function", function="other"),
    ]


ALL = {"stale", "number", "name", "function"}
GROUPS = {(".", "mark"): 1, ("5", "mark"): 1, ("mail", "mark"): 1, ("mail", "other"): 1}


def test_what_uwsgi_would_not_have_run_is_held_and_named_in_one_warning(
    project: Project, daemon: DaemonFactory
) -> None:
    files = left_tasks(project)
    before = [(path, path.stat().st_mtime_ns, path.read_bytes()) for path in files]
    started = start(project, daemon)
    line = started.wait_log(HELD).string
    for part in ("4 tasks", "1 in mail/ of mark", "1 in mail/ of other", "1 in 5/ of mark"):
        assert part in line
    assert "1 in the spool itself of mark, the oldest due 2 days ago" in line
    assert "--run, --hold or --bury" in line
    assert ran(project) == ["plain"]
    started.reload()
    assert ran(project) == ["plain"]
    assert [(path, path.stat().st_mtime_ns, path.read_bytes()) for path in files] == before
    assert started.stop() == 0
    assert len([entry for entry in started.log if "tasks are held" in entry]) == 1
    assert held(project) == GROUPS


def test_a_decision_reaches_the_running_daemon_at_once(
    project: Project, daemon: DaemonFactory
) -> None:
    files = left_tasks(project)
    started = start(project, daemon)
    assert ran(project) == ["plain"]
    assert adopt(project, "--run")["released"] == 4
    for path in files:
        wait_gone(path)
    assert set(ran(project)) == {"plain", *ALL}
    assert held(project) == {}
    started.wait_log(r"old tasks were decided to run .*released=4")


def test_what_is_submitted_later_runs_in_those_folders_too(
    project: Project, daemon: DaemonFactory
) -> None:
    left_tasks(project)
    start(project, daemon)
    submit(project, "mark", "--priority", "mail", id="ours")
    wait_gone(leave(project, "mail", "theirs", age=0))
    wait_gone(leave(project, "new", "folder", age=0))
    assert set(ran(project)) == {"plain", "ours", "theirs", "folder"}


def test_what_unspool_submitted_before_the_first_start_runs(
    project: Project, daemon: DaemonFactory
) -> None:
    left_tasks(project)
    ours = submit(project, "mark", "--priority", "mail", id="ours")
    old = submit(project, "mark", "--priority", "5", id="old")
    os.utime(old, (time.time() - 9 * DAY,) * 2)
    start(project, daemon)
    wait_gone(ours)
    assert set(ran(project)) == {"plain", "ours", "old"}


def test_with_spooler_ordered_only_numbers_were_run(
    project: Project, daemon: DaemonFactory
) -> None:
    left_tasks(project)
    start(project, daemon, "--spooler-ordered")
    assert ran(project) == ["number", "plain"]
    assert held(project) == {key: GROUPS[key] for key in GROUPS if key[0] != "5"}


def test_the_age_is_an_option_and_stays_what_it_was_at_the_first_start(
    project: Project, daemon: DaemonFactory
) -> None:
    leave(project, "", "hour", age=3600)
    leave(project, "", "minute", age=60)
    first = start(project, daemon, "--spooler-adopt-age", "1800")
    assert ran(project) == ["minute"]
    assert first.stop() == 0
    second = start(project, daemon, "--spooler-adopt-age", "86400")
    second.wait_log(HELD)
    assert ran(project) == ["minute"]


@pytest.mark.parametrize("up", [True, False], ids=["daemon-up", "daemon-down"])
@pytest.mark.parametrize("decision", ["run", "hold", "bury"])
def test_a_decision_survives_restarts(
    project: Project, daemon: DaemonFactory, decision: str, up: bool
) -> None:
    files = left_tasks(project)
    first = start(project, daemon)
    if not up:
        assert first.stop() == 0
    adopt(project, f"--{decision}")
    if up:
        assert first.stop() == 0
    for _ in range(2):
        again = start(project, daemon)
        expected = {"plain", *ALL} if decision == "run" else {"plain"}
        assert set(ran(project)) == expected
        assert again.stop() == 0
        assert not [line for line in again.log if "WARN" in line and "held" in line]
    buried = {path.name for path in (project.spool / "dead").glob("*")}
    assert buried == ({path.name for path in files} if decision == "bury" else set())
    assert all(path.exists() for path in files) == (decision == "hold")
    assert sum(held(project).values()) == (4 if decision == "hold" else 0)


def test_kept_tasks_can_still_be_released(project: Project, daemon: DaemonFactory) -> None:
    left_tasks(project)
    start(project, daemon)
    adopt(project, "--hold")
    assert ran(project) == ["plain"]
    assert {group["decision"] for group in adopt(project)["held"]} == {"hold"}
    adopt(project, "--run")
    assert set(ran(project)) == {"plain", *ALL}


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        (("--folder", "mail"), {"name", "function"}),
        (("--folder", "."), {"stale"}),
        (("--function", "mark"), {"stale", "number", "name"}),
        (("--folder", "mail", "--function", "other"), {"function"}),
    ],
    ids=["folder", "top", "function", "both"],
)
def test_a_decision_may_be_about_some(
    project: Project, daemon: DaemonFactory, selection: tuple[str, ...], chosen: set[str]
) -> None:
    left_tasks(project)
    first = start(project, daemon)
    assert ran(project) == ["plain"]
    assert adopt(project, "--run", *selection)["released"] == len(chosen)
    assert set(ran(project)) == {"plain", *chosen}
    assert first.stop() == 0
    start(project, daemon).wait_log(HELD)
    assert sum(held(project).values()) == 4 - len(chosen)
    adopt(project, "--bury")
    assert len(list((project.spool / "dead").iterdir())) == 4 - len(chosen)


def test_a_selection_that_matches_nothing_is_an_error_and_no_decision(
    project: Project, daemon: DaemonFactory
) -> None:
    left_tasks(project)
    start(project, daemon)
    options = ("adopt", "--spooler", str(project.spool), "--run", "--folder", "mial")
    done = project.unspool(*options, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no held task matches" in done.stderr
    assert b"mial" not in (project.spool / ".unspool" / "adopted").read_bytes()


@pytest.mark.parametrize("decision", ["run", "hold", "bury"])
def test_the_option_decides_without_a_question(
    project: Project, daemon: DaemonFactory, decision: str
) -> None:
    files = left_tasks(project)
    started = start(project, daemon, "--spooler-adopt", decision)
    if decision == "bury":
        started.wait_log(r"old tasks were moved to dead/ .*tasks=4")
        assert len(list((project.spool / "dead").iterdir())) == 4
    assert set(ran(project)) == ({"plain", *ALL} if decision == "run" else {"plain"})
    assert all(path.exists() for path in files) == (decision == "hold")
    assert started.stop() == 0
    assert not [line for line in started.log if "WARN" in line and "held" in line]


def test_a_name_forges_no_line_of_the_log(project: Project, daemon: DaemonFactory) -> None:
    leave(project, "mail", "forged", function="f\n2026-01-01 ERROR forged" + "x" * 200)
    line = start(project, daemon).wait_log(HELD).string
    assert r"of f\n2026-01-01 ERROR forgedxxx" in line
    assert "..., the oldest due" in line


@pytest.fixture
def without_birth_times(tmp_path: Path) -> Iterator[Path]:
    """A file system that keeps no birth times: ext2 with small inodes."""
    image, place = tmp_path / "image", tmp_path / "mounted"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(32 << 20)
    for command in (
        ["mkfs.ext2", "-q", "-I", "128", "-b", "1024", str(image)],
        ["mount", "-o", "loop", str(image), str(place)],
    ):
        if shutil.which(command[0]) is None or subprocess.call(command) != 0:
            pytest.skip(f"not run: {command[0]} is missing, or not permitted")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_held_file_that_is_changed_stays_held_where_births_are_unknown(
    project: Project, daemon: DaemonFactory, without_birth_times: Path
) -> None:
    project.spool = without_birth_times / "spool"
    # Renamed by hand: its name has no time.
    file = leave(project, "mail", "renamed")
    file = file.rename(file.with_name("uwsgi_spoolfile_on_x"))
    start(project, daemon).wait_log(HELD)
    file.chmod(0o600)
    assert ran(project) == []
    assert held(project) == {("mail", "mark"): 1}


def test_burying_overwrites_nothing(project: Project, daemon: DaemonFactory) -> None:
    file = leave(project, "mail", "held")
    (project.spool / "dead").mkdir()
    (project.spool / "dead" / file.name).write_bytes(b"earlier")
    start(project, daemon)
    content = file.read_bytes()
    assert adopt(project, "--bury")["buried"] == 1
    found = {path.name: path.read_bytes() for path in (project.spool / "dead").iterdir()}
    assert found == {file.name: b"earlier", f"{file.name}.2": content}


def test_moving_a_held_file_to_the_spool_runs_it(project: Project, daemon: DaemonFactory) -> None:
    file = leave(project, "mail", "moved")
    start(project, daemon)
    assert ran(project) == []
    file.rename(project.spool / file.name)
    assert project.events.wait("mark")["id"] == "moved"


def test_nested_folders_are_named_and_can_be_released(
    project: Project, daemon: DaemonFactory
) -> None:
    leave(project, "5/7", "nested")
    start(project, daemon).wait_log(r"WARN .*folders of priorities' folders.*nested_folders=5/7")
    (group,) = adopt(project)["held"]
    assert (group["folder"], group["nested"], group["tasks"]) == ("5/7", True, 1)
    assert ran(project) == []
    adopt(project, "--run")
    assert project.events.wait("mark")["id"] == "nested"


def test_a_spool_without_old_tasks_is_settled_at_once(
    project: Project, daemon: DaemonFactory
) -> None:
    start(project, daemon)
    record = project.spool / ".unspool" / "adopted"
    with DirectoryWatch(record.parent) as watch:
        assert watch.wait(lambda: b"default run" in record.read_bytes(), 20)
    # Restored from somewhere: nothing asks about it.
    leave(project, "mail", "restored", age=9 * DAY)
    assert project.events.wait("mark")["id"] == "restored"


def test_a_decision_before_the_first_start(project: Project, daemon: DaemonFactory) -> None:
    files = left_tasks(project)
    directory = ("adopt", "--spooler", str(project.spool))
    refused = project.unspool(*directory, "--bury", check=False)
    assert refused.returncode == 2
    assert "name the configuration" in refused.stderr
    ini = project.write("app.ini", f"[uwsgi]\nspooler = {project.spool}\nspooler-ordered = true\n")
    listed = json.loads(project.unspool("adopt", str(ini), "--json").stdout)["spools"][0]
    assert listed["tasks"] == 3
    project.unspool("adopt", str(ini), "--bury")
    start(project, daemon, "--spooler-ordered")
    assert ran(project) == ["number", "plain"]
    assert [path.exists() for path in files] == [False] * 4


@pytest.mark.parametrize(
    "moment", [r"\bspool ", r"application imported", r"spool scanned", r"tasks are held", r"ready"]
)
def test_a_daemon_killed_at_any_moment_leaves_them_held(
    project: Project, daemon: DaemonFactory, moment: str
) -> None:
    files = left_tasks(project)
    project.write("tasks.py", MODULE)
    killed = project.daemon("--spooler", project.spool, "--spooler-import", "tasks").start()
    try:
        killed.wait_log(moment)
        killed.kill()
    finally:
        killed.close()
    start(project, daemon).wait_log(HELD)
    assert set(ran(project)) == {"plain"}
    assert all(path.exists() for path in files)
    assert held(project) == GROUPS


def test_a_burial_that_is_killed_loses_nothing_and_is_gone_on_with(
    project: Project, daemon: DaemonFactory
) -> None:
    names = {leave(project, "mail", str(number)).name for number in range(5000)}
    project.write("tasks.py", MODULE)
    options = ("--spooler", project.spool, "--spooler-import", "tasks", "--spooler-adopt", "bury")
    killed = project.daemon(*options).start()
    dead = project.spool / "dead"
    try:
        wait_present(dead, "*")
        killed.kill()
    finally:
        killed.close()
    left = list(pending_tasks(project.spool))
    both = [path.name for path in (*left, *dead.iterdir())]
    assert Counter(both) == Counter(names)
    running = start(project, daemon, "--spooler-adopt", "bury")
    # A daemon can be done with all of them before this process has seen the first.
    if left:
        running.wait_log(r"moved to dead/")
    assert {path.name for path in dead.iterdir()} == names
    assert ran(project) == []


def test_two_daemons_that_start_at_once_hold_the_same(
    project: Project, daemon: DaemonFactory
) -> None:
    left_tasks(project)
    project.write("tasks.py", MODULE)
    options = ("--spooler", project.spool, "--spooler-import", "tasks")
    both = [daemon(*options, ready=False) for _ in range(2)]
    for each in both:
        each.wait_ready()
        each.wait_log(HELD)
    assert ran(project) == ["plain"]
    adopt(project, "--run")
    project.events.collect(4, lambda event: event.name == "mark" and event["id"] in ALL)
    project.wait_empty()
    # Only now can no second run still come.
    assert [each.stop() for each in both] == [0, 0]
    times = Counter(event["id"] for event in project.events.history if event.name == "mark")
    assert times == Counter({"plain", "last", *ALL})


def test_a_damaged_record_stops_the_start_and_says_what_to_do(
    project: Project, daemon: DaemonFactory
) -> None:
    left_tasks(project)
    first = start(project, daemon)
    assert ran(project) == ["plain"]
    first.send(signal.SIGTERM)
    assert first.wait_exit() == 0
    record = project.spool / ".unspool" / "adopted"
    record.write_bytes(record.read_bytes()[:-3])
    second = project.daemon("--spooler", project.spool, "--spooler-import", "tasks").start()
    try:
        assert second.wait_exit() == 1
        assert any("delete the file" in line for line in second.log), second.describe()
    finally:
        second.close()
