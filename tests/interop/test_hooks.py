"""The options `hook-*` and `exec-*` on the real uWSGI and on unspool.

When steps run and in which order, what each does, and what becomes of one that fails.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat

import pytest
from both import Both, System
from harness import UNSPOOL, Daemon
from inotify import DirectoryWatch
from logfile import LogFile

SYSTEMS: list[System] = ["uwsgi", "unspool"]
MODULE = """
    import os
    import uwsgi
    from reporting import report
    from uwsgidecorators import spool

    @spool
    def call(args):
        report("called", cwd=os.getcwd())
        uwsgi.signal(17)

    report("imported", cwd=os.getcwd(), variable=os.environ.get("STEP"))
    handler = lambda number: report("handled", cwd=os.getcwd())
    uwsgi.register_signal(17, "worker", handler)
    uwsgi.mule_msg_hook = lambda message: report("mule", cwd=os.getcwd())
"""
BEFORE = ["asap", "pre-jail", "in-jail", "as-root", "as-user"]
# What both say of a daemon that its configuration ends or keeps from starting.
FAILURES = {
    "exec:exit 3": "hook failed|`hook-asap = exec:exit 3`: the command exited with status 3",
    "unlink:missing": "No such file",
    "mkdir:.": "File exists",
    "nope:x": "hook action not found: nope|there is no action `nope`; those are exec, print",
    "print": "must be hook:args|write ACTION:ARGUMENTS",
    "chmod:x": "must be: <file> <mode>|write chmod:FILE MODE",
    "chmod:x 9": "invalid hook chmod mask|this is no mode",
    "chown:x root": "must be: <file> <uid> <gid>|write chown:FILE USER GROUP",
}


def begin(both: Both, system: System, *lines: str) -> Daemon:
    """From an ini file, whose steps may have blanks; it may fail."""
    both.project.write("hooked.py", MODULE)
    text = ["[uwsgi]", f"spooler = {both.project.spool}", "import = hooked",
            "spooler-frequency = 1", f"pythonpath = {both.project.root}", *lines, ""]  # fmt: skip
    path = os.fspath(both.project.write("app.ini", "\n".join(text)))
    if system == "uwsgi":
        return both._uwsgi("--ini", path, env={})
    return both._start(UNSPOOL, "run", "--ini", path, env={})


def told(log: LogFile) -> list[str]:
    """Who wrote into the log, each once: uWSGI takes some steps several times."""
    return list(dict.fromkeys(log.lines))


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_has_its_moment(both: Both, system: System) -> None:
    log = LogFile(both.project.root / "told")
    names = [*BEFORE, "pre-app", "post-app", "as-user-atexit"]
    # The other way round, which changes nothing; those of `exec` come behind those of `hook`.
    lines = [f"exec-{name} = echo exec-{name} >> {log.path}" for name in reversed(names)]
    own = ["master-start", "as-mule"]
    lines += [f"hook-{n} = exec:echo hook-{n} >> {log.path}" for n in reversed([*names, *own])]
    running = begin(both, system, *lines, "mule = true")
    log.wait("^hook-master-start$")
    log.wait("^hook-as-mule$")
    assert running.stop() == 0
    log.wait("^exec-as-user-atexit$")
    wrote = told(log)
    expected = [f"{kind}-{name}" for name in names for kind in ("hook", "exec")]
    assert [line for line in wrote if line[5:] not in own] == expected
    # Neither waits for the other.
    after = wrote.index("exec-post-app") + 1
    assert sorted(wrote[after : after + 2]) == ["hook-as-mule", "hook-master-start"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_actions(both: Both, system: System) -> None:
    root = both.project.root
    (root / "full").write_text("before")
    (root / "gone").write_text("before")
    user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    steps = ["write:written  two words", "append:full  and after", "create:gone", "create:new",
             "mkdir:folder", "chmod:new 604", "chmod:folder 700", "unlink:app.log",
             f"chown:new {user} {group}", "writefifo:fifo nobody reads",
             "putenv:STEP=some text", "print:printed  here"]  # fmt: skip
    (root / "app.log").touch()
    os.mkfifo(root / "fifo")
    # A real uWSGI misses a signal in the middle of its start: this step is its end.
    up = "hook-master-start = create:up"
    running = begin(both, system, *(f"hook-asap = {step}" for step in steps), up)
    with DirectoryWatch(root) as watch:
        watch.wait((root / "up").exists, 20)
    running.wait_log("spawned the uWSGI|unspool is ready")
    assert both.project.events.wait("imported")["variable"] == "some text"
    assert (root / "written").read_text() == " two words"
    assert (root / "full").read_text() == "before and after"
    assert (root / "gone").read_text() == (root / "new").read_text() == ""
    modes = [stat.S_IMODE((root / name).stat().st_mode) for name in ("new", "folder")]
    assert modes == [0o604, 0o700]
    assert not (root / "app.log").exists()
    assert "printed  here" in [*running.log, *running.output]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_directory_is_for_what_follows(both: Both, system: System) -> None:
    root = both.project.root
    for name in ("first", "second", "mule"):
        (root / name).mkdir()
    lines = [f"hook-asap = chdir:{root}/first", "hook-asap = write:asap x",
             f"hook-pre-app = cd:{root}/second", "hook-pre-app = write:pre x",
             f"hook-as-mule = chdir:{root}/mule", "hook-as-mule = write:own x"]  # fmt: skip
    begin(both, system, *lines, "mule = true")
    assert both.project.events.wait("imported")["cwd"] == f"{root}/second"
    with DirectoryWatch(root / "mule") as watch:
        watch.wait((root / "mule/own").exists, 20)
    assert (root / "first/asap").exists() and (root / "second/pre").exists()


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("step", FAILURES)
def test_one_that_fails_keeps_the_daemon_from_starting(
    both: Both, system: System, step: str
) -> None:
    running = begin(both, system, f"hook-asap = {step}", "hook-asap = create:after")
    assert running.wait_exit() != 0
    uwsgi, _, unspool = FAILURES[step].partition("|")
    running.wait_log(uwsgi if system == "uwsgi" else unspool or uwsgi)
    assert not (both.project.root / "after").exists()


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("moment", BEFORE)
def test_one_that_ends_the_daemon(both: Both, system: System, moment: str) -> None:
    running = begin(both, system, f"hook-{moment} = exit:")
    assert running.wait_exit() == 0
    assert not [event for event in both.project.events.history if event.name == "imported"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_worker_for_ticks_and_no_spooler_takes_those_of_a_fork(
    both: Both, system: System
) -> None:
    root = both.project.root
    (root / "forked").mkdir()
    # uWSGI has workers only with a socket.
    web = [f"socket = {root}/web.sock", "processes = 1"] if system == "uwsgi" else []
    begin(both, system, f"hook-post-fork = chdir:{root}/forked", *web)
    both.write("unspool", ("spool", ({b"ud_spool_func": b"call", b"ud_spool_ret": b"-2"},), {}))
    task = both.project.events.wait("called")
    assert not task["cwd"].startswith(f"{root}/forked")
    assert both.project.events.wait("handled")["cwd"] == f"{root}/forked"


def test_actions_that_unspool_lacks_are_named(both: Both) -> None:
    lines = ["hook-as-root = mount:none /x", "hook-touch = x write:y z",
             "hook-master-start = unix_signal:15 gracefully_kill_them_all"]  # fmt: skip
    running = begin(both, "unspool", *lines).wait_ready()
    running.wait_log("`hook-as-root` has no effect here: unspool has no such action; have `exec:")
    running.wait_log("`hook-touch` has no effect here: a touched file can only have `exec:COMMAND`")
    assert not [line for line in running.log if "hook-master-start" in line]


def test_an_import_is_tried_again_after_a_step_that_fails(both: Both) -> None:
    root = both.project.root
    running = begin(both, "unspool", f"hook-post-app = unlink:{root}/ticket")
    running.wait_log(r"unspool: `hook-post-app = unlink:.*/ticket` failed: .*No such file")
    (root / "ticket").touch()
    running.wait_ready()
    assert not (root / "ticket").exists()


def test_those_of_a_running_daemon_are_taken_after_each_reload(both: Both) -> None:
    log = LogFile(both.project.root / "told")
    lines = [f"hook-master-start = exec:echo one >> {log.path}",
             f"hook-master-start = append:{log.path} two|",
             f"hook-master-start = exec:echo three >> {log.path}; exit 3",
             f"hook-master-start = append:{log.path} never"]  # fmt: skip
    running = begin(both, "unspool", *lines).wait_ready()
    running.wait_log("command exited with status 3; the hooks behind it are left out")
    assert log.lines == ["one", "two|three"]
    since = running.mark()
    running.reload()
    running.wait_log("command exited with status 3; the hooks behind it are left out", since=since)
    assert log.lines == ["one", "two|three"] * 2
