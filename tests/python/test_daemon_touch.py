"""Files whose touch does something, and file monitors: each change is an event, not a time.

Where inotify hears nothing the daemon looks once a second; those tests wait for that look.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import Daemon, Project, wait_gone
from spooling import submit

MODULE = """
    import uwsgi
    from uwsgidecorators import filemon, signal, spool
    from reporting import pause, report

    VERSION = 1
    IS_A_RELOAD = uwsgi.is_a_reload

    @spool
    def hold(args):
        report("hold", version=VERSION)
        pause("hold")
        report("held", version=VERSION)

    @spool
    def mark(args):
        report("mark", version=VERSION, is_a_reload=uwsgi.is_a_reload)

    @signal(17)
    def raised(number):
        report("signal", number=number)
"""

RELOADS = [
    "touch-reload",
    "touch-workers-reload",
    "touch-chain-reload",
    "touch-spoolers-reload",
    "touch-mules-reload",
    "fs-reload",
]


def start(project: Project, daemon: DaemonFactory, *options: str, more: str = "") -> Daemon:
    project.write("tasks.py", MODULE)
    with open(project.root / "tasks.py", "a") as file:
        file.write(more)
    return daemon("--spooler", project.spool, "--spooler-import", "tasks", *options)


def second_version(project: Project) -> None:
    project.write("tasks.py", MODULE.replace("VERSION = 1", "VERSION = 2"))


def rename_over(path: Path) -> None:
    aside = path.with_suffix(".new")
    aside.write_text("new")
    aside.rename(path)


@pytest.mark.parametrize("option", RELOADS)
def test_a_touch_reloads_and_interrupts_nothing(
    project: Project, daemon: DaemonFactory, option: str
) -> None:
    path = project.write("reload.txt", "")
    gate = project.gate("hold")
    running = start(project, daemon, f"--{option}", str(path))
    held = submit(project, "hold")
    project.events.wait("hold")
    second_version(project)
    mark = running.mark()
    os.utime(path)
    running.wait_reloaded(mark)
    running.wait_log(rf"touched option={option} path={re.escape(str(path))}", since=mark)
    submit(project, "mark")
    event = project.events.wait("mark")
    assert (event["version"], event["is_a_reload"]) == (2, True)
    gate.release()
    assert project.events.wait("held")["version"] == 1
    wait_gone(held)


CHANGES: dict[str, Callable[[Path], object]] = {
    "touch": os.utime,
    "write": lambda path: path.write_text("text"),
    "rename over": rename_over,
    "older time": lambda path: os.utime(path, (1, 1)),
    "removal": Path.unlink,
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_kind_of_change_counts_once(
    project: Project, daemon: DaemonFactory, change: str
) -> None:
    path = project.write("signal.txt", "")
    running = start(project, daemon, f"--touch-signal={path} 17")
    told = f"touched: raising the signal option=touch-signal path={path} signal=17"
    told = re.escape(told)
    CHANGES[change](path)
    assert project.events.wait("signal")["number"] == 17
    running.wait_log(told)
    mark = running.mark()
    # What is no change at all is told apart by the next one, which comes alone.
    (project.root / "beside.txt").write_text("")
    if path.exists():
        path.chmod(0o640)
        path.read_text()
    path.with_suffix(".last").write_text("")
    path.with_suffix(".last").rename(path)
    project.events.wait("signal")
    running.wait_log(told, since=mark)
    assert sum("touched: raising" in line for line in running.log) == 2


def test_what_is_not_there_yet_is_watched(project: Project, daemon: DaemonFactory) -> None:
    path = project.root / "later" / "deeper" / "signal.txt"
    running = start(project, daemon, f"--touch-signal={path} 17")
    running.wait_log(rf"WARN +nothing to watch is there yet.*path={re.escape(str(path))}")
    path.parent.mkdir(parents=True)
    path.write_text("")
    project.events.wait("signal")
    # Its folder goes and comes back.
    path.unlink()
    project.events.wait("signal")
    path.parent.rmdir()
    path.parent.mkdir()
    path.write_text("")
    project.events.wait("signal")


def test_a_link_that_leads_elsewhere_counts(project: Project, daemon: DaemonFactory) -> None:
    for release in ("one", "two"):
        project.write(f"{release}/signal.txt", release)
        os.utime(project.root / release / "signal.txt", (1, 1) if release == "one" else (2, 2))
    (project.root / "current").symlink_to("one")
    start(project, daemon, f"--touch-signal={project.root}/current/signal.txt 17")
    (project.root / "next").symlink_to("two")
    (project.root / "next").rename(project.root / "current")
    project.events.wait("signal")
    os.utime(project.root / "two" / "signal.txt")
    project.events.wait("signal")


def test_a_relative_path_is_one_of_the_applications_directory(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("app/signal.txt", "")
    start(project, daemon, f"--chdir={project.root / 'app'}", f"--pythonpath={project.root}",
          "--touch-signal=signal.txt 17")  # fmt: skip
    os.utime(project.root / "app" / "signal.txt")
    project.events.wait("signal")


def test_a_touch_runs_a_command_and_one_at_a_time(project: Project, daemon: DaemonFactory) -> None:
    path = project.write("exec.txt", "")
    project.gate("command")
    command = f"read x < {project.root}/command.gate; echo $((1 + 1)) >> out; exit 3"
    running = start(project, daemon, f"--touch-exec={path} {command}")
    os.utime(path, (1, 1))
    running.wait_log("touched: running the command option=touch-exec")
    # Now and now may be the same time: the kernel's clock of files ticks every few milliseconds.
    for seconds in (2, 3):
        mark = running.mark()
        os.utime(path, (seconds, seconds))
        running.wait_log("touched while its command runs", since=mark)
    # A line for each of the two commands.
    os.write(project.gate("command")._fd, b"\n")
    running.wait_log(r"command exited with status 3 option=touch-exec")
    mark = running.mark()
    os.write(project.gate("command")._fd, b"\n")
    running.wait_log(r"command exited with status 3 option=touch-exec", since=mark)
    assert (project.root / "out").read_text() == "2\n2\n"
    assert sum("touched: running" in line for line in running.log) == 2


def test_a_touch_opens_the_log_anew(project: Project, daemon: DaemonFactory) -> None:
    path = project.write("log.txt", "")
    running = start(project, daemon, f"--touch-logreopen={path}")
    os.utime(path)
    running.wait_log("touched option=touch-logreopen")


def test_with_exit_on_reload_a_touch_ends_the_daemon(
    project: Project, daemon: DaemonFactory
) -> None:
    path = project.write("reload.txt", "")
    running = start(project, daemon, f"--touch-reload={path}", "--exit-on-reload")
    os.utime(path)
    assert running.wait_exit() == 0


MONITORS = """
@filemon({path!r}, target="worker")
def changed(number):
    report("changed", version=VERSION)
"""


def monitored(path: Path) -> str:
    return MONITORS.format(path=str(path))


@pytest.mark.parametrize(
    "change", [*CHANGES.values(), lambda path: path.chmod(0o600)], ids=[*CHANGES, "attributes"]
)
def test_a_monitored_file(
    project: Project, daemon: DaemonFactory, change: Callable[[Path], object]
) -> None:
    path = project.write("monitored.txt", "")
    start(project, daemon, more=monitored(path))
    change(path)
    project.events.wait("changed")
    # Whatever became of it: the path is still monitored.
    rename_over(path)
    project.events.wait("changed")


def test_a_monitored_directory(project: Project, daemon: DaemonFactory) -> None:
    folder = project.root / "inbox"
    folder.mkdir()
    start(project, daemon, more=monitored(folder))
    path = folder / "file"
    for change in (
        path.touch,
        lambda: path.write_text("text"),
        lambda: path.chmod(0o600),
        lambda: path.rename(folder / "other"),
        (folder / "other").unlink,
        (folder / "sub").mkdir,
    ):
        seen = len(project.events.history)
        change()
        project.events.wait("changed")
        # One change may be several events, read in two parts.
        forget_more(project, seen)


def forget_more(project: Project, seen: int) -> None:
    """Takes what else was told of one change by the time that a task has run."""
    submit(project, "mark")
    project.events.wait("mark")
    names = [event.name for event in project.events.history[seen:]]
    for _ in range(names.count("changed") - 1):
        project.events.wait("changed")


def test_monitors_are_those_of_the_newest_application(
    project: Project, daemon: DaemonFactory
) -> None:
    old, new = project.write("old.txt", ""), project.write("new.txt", "")
    running = start(project, daemon, more=monitored(old))
    second_version(project)
    with open(project.root / "tasks.py", "a") as file:
        file.write(monitored(new))
    running.reload()
    os.utime(old)
    os.utime(new)
    assert project.events.wait("changed")["version"] == 2
    submit(project, "mark")
    project.events.wait("mark")
    assert [e.name for e in project.events.history].count("changed") == 1


def test_a_monitor_of_a_task_lasts_as_long_as_its_process(
    project: Project, daemon: DaemonFactory
) -> None:
    path = project.write("late.txt", "")
    more = f"""
@spool
def watch(args):
    import os
    uwsgi.register_signal(40, "", lambda number: report("late", number=number))
    uwsgi.add_file_monitor(40, {str(path)!r})
    report("watching", pid=os.getpid())
"""
    start(project, daemon, more=more)
    submit(project, "watch")
    project.events.wait("watching")
    rename_over(path)
    assert project.events.wait("late")["number"] == 40


def test_a_monitor_of_what_its_handler_changes_is_paced(
    project: Project, daemon: DaemonFactory
) -> None:
    inbox = project.root / "inbox"
    inbox.mkdir()
    more = f"""
def feed(number):
    with open({str(inbox / "n")!r}, "a") as file:
        file.write("x")
    report("fed")

uwsgi.register_signal(41, "", feed)
uwsgi.add_file_monitor(41, {str(inbox)!r})
"""
    start(project, daemon, more=more)
    began = time.monotonic()
    (inbox / "first").touch()
    events = project.events.collect(6, "fed")
    # Each is the change of the one before; the first may have two at once.
    assert events[-1].monotonic - began > 4 * 0.09
    submit(project, "mark")
    project.events.wait("mark")


def test_what_is_no_path_is_refused(project: Project) -> None:
    project.python("""
        import uwsgi
        for path in (5, b"/tmp", "x" * 5000, "nul" + chr(0), chr(0xdcff)):
            try:
                uwsgi.add_file_monitor(18, path)
            except (TypeError, ValueError) as error:
                continue
            raise SystemExit(f"{path!r} is taken")
        uwsgi.add_file_monitor(18, "relative")
    """)
