"""A spool that may hold so much: who is refused, what they hear, and when there is room again."""

from __future__ import annotations

import ast
import fcntl
import os
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import IO

import pytest
from factory import DaemonFactory
from harness import PYTHON, Project
from inotify import DirectoryWatch
from processes import WAIT_SECONDS_MAX
from spooling import foreign, publish

FAILED_STATUS = 1

REFUSED = """
    import json, unspool, uwsgi
    from uwsgidecorators import spool

    @spool
    def f(args):
        pass

    for number in range({accepted}):
        unspool.spool(number=number)
    for call in (lambda: unspool.spool(x=1), lambda: uwsgi.spool(x="1"), lambda: f.spool(x=1)):
        try:
            call()
        except unspool.SpoolFullError as error:
            assert isinstance(error, unspool.SpoolError)
            print((error.option, error.limit, error.present, error.excess, error.unit, str(error)))
"""

HOLDING = """
    import unspool
    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def hold(args):
        report("hold", id=args["id"])
        pause("hold")

    @spool
    def submits(args):
        try:
            unspool.spool({"ud_spool_func": "hold", "id": "inner"})
        except unspool.SpoolFullError as error:
            report("refused", excess=error.excess, present=error.present)
"""


def configured(project: Project, *options: str, imports: str = "") -> Path:
    """A configuration with bounds."""
    lines = [f"spooler = {project.spool}", *options]
    if imports:
        lines.append(f"spooler-import = {imports}")
    return project.write("app.ini", "[uwsgi]\n" + "\n".join(lines) + "\n")


def environment(project: Project, config: Path) -> dict[str, str]:
    """The environment of a producer that reads it."""
    return {**project.env, "UNSPOOL_CONFIG": os.fspath(config)}


@pytest.mark.parametrize(
    ("option", "accepted", "expected"),
    [
        ("spooler-max-pending = 3", 3, ("spooler-max-pending", 3, 3, 1, "tasks")),
        ("spooler-min-free = 100 percent", 0, ("spooler-min-free", None, None, None, "bytes")),
        ("spooler-min-free = 1000T", 0, ("spooler-min-free", 1000 << 40, None, None, "bytes")),
    ],
)
def test_every_way_to_submit_is_refused_with_the_figures(
    project: Project, option: str, accepted: int, expected: tuple[object, ...]
) -> None:
    env = environment(project, configured(project, option))
    done = project.python(REFUSED.format(accepted=accepted), env=env)
    lines = [ast.literal_eval(line) for line in done.stdout.splitlines()]
    assert len(lines) == 3
    for *figures, text in lines:
        for found, wanted in zip(figures, expected, strict=True):
            assert wanted is None or found == wanted, figures
        name, limit, present, excess, _unit = figures
        for part in (name, str(limit), str(present), str(excess), str(project.spool)):
            assert part in text
    assert len(project.tasks()) == accepted


def test_bytes_are_bounded_and_a_smaller_task_still_fits(project: Project) -> None:
    env = environment(project, configured(project, "spooler-max-pending-bytes = 100K"))
    source = """
    import unspool
    unspool.spool({b"body": b"x" * 60_000})
    try:
        unspool.spool({b"body": b"x" * 60_000})
    except unspool.SpoolFullError as error:
        print((error.option, error.limit, error.present, error.excess))
    unspool.spool({b"body": b"x" * 30_000})
    """
    option, limit, present, excess = ast.literal_eval(project.python(source, env=env).stdout)
    assert (option, limit) == ("spooler-max-pending-bytes", 102_400)
    sizes = sorted(path.stat().st_size for path in project.tasks())
    assert len(sizes) == 2 and sizes[1] == present
    assert excess == 2 * present - limit


def test_the_command_says_so_with_status_1(project: Project) -> None:
    config = configured(project, "spooler-max-pending = 1")
    command = ("spool", "--config", os.fspath(config), "f")
    project.unspool(*command, env=project.env)
    done = project.unspool(*command, check=False, env=project.env)
    assert (done.returncode, done.stdout) == (FAILED_STATUS, "")
    assert "1 tasks are pending, and `spooler-max-pending` is 1" in done.stderr
    assert len(project.tasks()) == 1


def test_configure_takes_bounds_and_says_what_is_no_size(project: Project) -> None:
    source = f"""
    import unspool
    spool = {os.fspath(project.spool)!r}
    for bounds in ({{"max_pending_bytes": "1.5G"}}, {{"min_free": "5 parts"}}):
        try:
            unspool.configure(spool, **bounds)
        except unspool.ConfigError as error:
            print(error)
    unspool.configure(spool, max_pending=1, max_pending_bytes="1M", min_free="1M")
    unspool.spool(x=1)
    try:
        unspool.spool(x=2)
    except unspool.SpoolFullError as error:
        print(error.excess)
    """
    lines = project.python(source, env=project.env).stdout.splitlines()
    assert "1.5G" in lines[0] and "5 parts" in lines[1]
    assert lines[2:] == ["1"]


# A percent sign at the end of a line vanishes: what is left are 5 bytes.
@pytest.mark.parametrize("size", ["lots", "5%"])
def test_a_bad_size_in_a_file_names_its_line(project: Project, size: str) -> None:
    config = configured(project, f"spooler-min-free = {size}")
    done = project.unspool("config", config, check=False)
    assert done.returncode == 2
    assert f"{config.name}:3" in done.stderr and "5 percent" in done.stderr


def test_a_task_is_refused_while_others_wait_and_taken_when_they_are_done(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", HOLDING)
    config = configured(project, "spooler-max-pending = 2", imports="tasks")
    gate = project.gate("hold")
    daemon(config)
    env = environment(project, config)
    project.python("import unspool; unspool.spool(ud_spool_func='hold', id='1')", env=env)
    project.events.wait("hold")
    # From within a task the bounds hold too; the running one is pending.
    project.python("import unspool; unspool.spool(ud_spool_func='submits')", env=env)
    again = "import unspool; unspool.spool(ud_spool_func='hold', id='2')"
    refused = project.python(again, env=env, check=False)
    assert "SpoolFullError" in refused.stderr
    # The two, and the one that the second one submits once there is room.
    gate.release(3)
    project.wait_empty()
    # Nobody subtracts what is done: the daemon, or a listing, says that there is room.
    project.python(again, env=env)
    gate.release()
    project.wait_empty()


def test_a_handler_is_refused_like_anybody(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", HOLDING)
    config = configured(project, "spooler-max-pending = 1", imports="tasks")
    daemon(config)
    env = environment(project, config)
    project.python("import unspool; unspool.spool(ud_spool_func='submits')", env=env)
    refused = project.events.wait("refused")
    assert (refused["present"], refused["excess"]) == (1, 1)


def begin_to_count(project: Project, daemon: DaemonFactory) -> None:
    """A daemon on a bounded spool: the first submission makes the count, which it then keeps."""
    project.write("tasks.py", HOLDING)
    config = configured(project, "spooler-max-pending = 20000", imports="tasks")
    daemon(config)
    env = environment(project, config)
    project.python("import unspool; unspool.spool(at='4000000000')", env=env)


def test_tasks_of_others_count_once_the_daemon_has_heard_of_them(
    project: Project, daemon: DaemonFactory
) -> None:
    """As a real uWSGI submits, which knows of no bounds."""
    begin_to_count(project, daemon)
    for number in range(50):
        publish(project.spool, str(number), foreign({b"a": b"b"}), due=4e9)
    with DirectoryWatch(project.spool / ".unspool") as watch:
        heard = watch.wait(lambda: counted(project) == 51, WAIT_SECONDS_MAX)
    assert heard, f"{counted(project)} tasks are counted, not 51"


def test_a_count_that_somebody_was_changing_is_put_right_later(
    project: Project, daemon: DaemonFactory
) -> None:
    begin_to_count(project, daemon)
    with (
        open(project.spool / ".unspool" / "pending", "r+b") as count,
        DirectoryWatch(project.spool / ".unspool") as watch,
    ):
        assert watch.wait(lambda: counted(project) == 1, WAIT_SECONDS_MAX)
        # As a submitter that was stopped in the middle.
        lock_first_byte(count, fcntl.F_WRLCK)
        publish(project.spool, "other", foreign({b"a": b"b"}), due=4e9)
        heard = watch.wait(lambda: counted(project) == 2, 0.3)
        assert not heard, "the lock keeps nobody out"
        lock_first_byte(count, fcntl.F_UNLCK)
        heard = watch.wait(lambda: counted(project) == 2, WAIT_SECONDS_MAX / 2)
        assert heard, f"{counted(project)} tasks are counted, not 2"


def lock_first_byte(file: IO[bytes], kind: int) -> None:
    """A lock of the open file: one of the process would end when the test reads the file."""
    set_lock = 37  # F_OFD_SETLK, which Python 3.10 has no name for
    fcntl.fcntl(file, set_lock, struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 1, 0))


def counted(project: Project) -> int:
    """What the shared count says; a layout that docs/design/limits.md describes."""
    record = (project.spool / ".unspool" / "pending").read_bytes()
    return int.from_bytes(record[24:32], "little")


def wait_for_more(project: Project, watch: DirectoryWatch, tasks: int) -> bool:
    return watch.wait(lambda: len(project.tasks()) > tasks, WAIT_SECONDS_MAX)


def test_submitters_that_are_killed_leave_a_count_that_is_put_right(project: Project) -> None:
    """Each may die with a place taken and no task, or while it holds the lock."""
    env = environment(project, configured(project, "spooler-max-pending = 300"))
    source = "import unspool\nwhile True:\n  try: unspool.spool(x=1, durability='none')\n"
    source += "  except unspool.SpoolFullError: pass\n"
    project.spool.mkdir(0o700)
    for round_ in range(10):
        before = len(project.tasks())
        with DirectoryWatch(project.spool) as watch:
            submitters = [subprocess.Popen([PYTHON, "-c", source], env=env) for _ in range(2)]
            begun = before >= 300 or wait_for_more(project, watch, before)
        for submitter in submitters:
            submitter.send_signal(signal.SIGKILL)
            submitter.wait()
        assert begun, f"nothing was submitted in round {round_}"
        for path in project.tasks()[:150]:
            path.unlink()
    # As many as it says, whatever the dead had taken: first none that is old is believed.
    time.sleep(1.1)
    left = len(project.tasks())
    project.python(
        f"""
        import unspool
        for number in range({300 - left}):
            unspool.spool(x=1)
        try:
            unspool.spool(x=1)
        except unspool.SpoolFullError as error:
            assert error.present == 300, error
        else:
            raise SystemExit("one too many")
        """,
        env=env,
    )
    assert len(project.tasks()) == 300
