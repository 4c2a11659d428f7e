"""Limits of a worker: whatever it hangs in, it is killed with all it started, and replaced."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import Daemon, Project
from processes import marked, parent_of
from spooling import attempts, stop_without_complaints, submit, wait_attempts

MODULE = """
    import ctypes
    import os
    import re
    import signal
    import subprocess
    import sys
    import time

    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def mark(args):
        report("mark", id=args.get("id"))

    def hang(kind):
        if kind == "sleep":
            time.sleep(1000)
        elif kind == "C code":
            ctypes.CDLL(None).pause()
        elif kind == "C code with the GIL":
            ctypes.PyDLL(None).pause()
        elif kind == "a tight loop with the GIL":
            re.match("(a+)+$", "a" * 64 + "b")
        elif kind == "ignored signals":
            for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_IGN)
            time.sleep(1000)
        elif kind == "a full pipe":
            reading, writing = os.pipe()
            while True:
                os.write(writing, b"x" * 4096)

    @spool
    def stuck(args):
        report("stuck", monotonic_before=time.monotonic())
        hang(args["kind"])

    def detached(name):
        # Twice forked, a session of its own: neither parent nor session tell whose it is.
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                quiet()
                report(name)
                time.sleep(1000)
            os._exit(0)

    def quiet():
        # Not the pipe in which the test reads the log.
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)

    @spool
    def family(args):
        if os.fork() == 0:
            quiet()
            report("child")
            time.sleep(1000)
        if os.fork() == 0:
            os.setsid()
            quiet()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if os.fork() == 0:
                report("grandchild")
            else:
                report("session")
            time.sleep(1000)
        detached("forked orphan")
        program = "import os, time; os.fork() and os._exit(0); time.sleep(1000)"
        null = subprocess.DEVNULL
        streams = {"stdin": null, "stdout": null, "stderr": null}
        started = subprocess.Popen(
            [sys.executable, "-c", program], start_new_session=True, **streams
        )
        started.wait()
        report("parent", started=started.pid)
        if args["end"] == "hang":
            time.sleep(1000)
        elif args["end"] == "die":
            os._exit(7)

    @spool
    def swarm(args):
        # Each forks and lives, up to a few hundred.
        report("swarm")
        quiet()
        ctypes.CDLL(None).prctl(15, b"swarm", 0, 0, 0)
        for _ in range(8):
            os.fork()
            os.setsid() if os.getpid() != os.getpgid(0) else None
        time.sleep(30)

    @spool
    def noisy(args):
        report("noisy")
        while True:
            os.write(1, b"x" * 4096)

    @spool
    def eat(args):
        report("eat")
        eaten = []
        while True:
            eaten.append(bytearray(os.urandom(1 << 20) * 4))
            time.sleep(0.01)

    @spool
    def map_memory(args):
        report("map_memory")
        bytearray(1 << 30)
"""

OWN_HANDLER = """
    import subprocess
    import time
    import uwsgi
    from uwsgidecorators import spool
    from reporting import report

    def handle(number):
        child = subprocess.Popen(["sleep", "1000"])
        report("handler", sleep=child.pid)
        time.sleep(1000)

    @spool
    def own(args):
        report("own")
        uwsgi.register_signal(9, "", handle)
        uwsgi.signal(9)

    def short(number):
        report("quick")
        time.sleep(1.2)
        uwsgi.spool({b"ud_spool_func": b"after", b"ud_spool_ret": b"-2"})

    @spool
    def quick(args):
        uwsgi.register_signal(10, "", short)
        uwsgi.signal(10)

    @spool
    def after(args):
        # A limit that the handler had left behind would be over.
        time.sleep(1.2)
        report("after")
"""


LATER_HANDLER = """
    import subprocess
    import time
    import uwsgi
    from uwsgidecorators import spool
    from reporting import report

    def later(number):
        child = subprocess.Popen(["sleep", "1000"])
        report("handler", sleep=child.pid)
        time.sleep(1000)

    def first(number):
        uwsgi.register_signal(9, "{target}", later)
        uwsgi.signal(9)

    uwsgi.register_signal(8, "", first)

    @spool
    def begin(args):
        uwsgi.signal(8)
"""


def started(project: Project, daemon: DaemonFactory, *options: str, ready: bool = True) -> Daemon:
    project.write("tasks.py", MODULE)
    spool = ("--spooler", project.spool, "--spooler-import", "tasks", "--spooler-frequency", "60")
    return daemon(*spool, *options, ready=ready)


KINDS = [
    "sleep",
    "C code",
    "C code with the GIL",
    "a tight loop with the GIL",
    "ignored signals",
    "a full pipe",
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_is_killed_for_its_time_wherever_it_hangs(
    project: Project, daemon: DaemonFactory, kind: str
) -> None:
    running = started(project, daemon, "--spooler-harakiri", "1")
    path = submit(project, "stuck", kind=kind)
    event = project.events.wait("stuck")
    running.wait_log(
        rf"task failed: its worker was killed: it ran longer than `spooler-harakiri`, 1 s "
        rf"task={path.name} function=stuck pid={event.pid} attempt=1 again_s=60"
    )
    # The limit, the traceback, and what a busy machine adds: uWSGI takes 2 to 3 s.
    assert 1 <= time.monotonic() - event["monotonic_before"] < 1.8
    wait_attempts(path, 1)
    running.wait_log(rf"worker was killed by signal (9|12); replacing it pid={event.pid}\b")
    submit(project, "mark")
    assert project.events.wait("mark").pid != event.pid


def test_the_log_shows_where_a_task_hangs(project: Project, daemon: DaemonFactory) -> None:
    running = started(project, daemon, "--spooler-harakiri", "1")
    submit(project, "stuck", kind="C code with the GIL")
    pid = project.events.wait("stuck").pid
    running.wait_log(rf"ERROR a task runs longer than `spooler-harakiri`.* pid={pid} limit_s=1")
    running.wait_log(r'  File ".*tasks\.py", line \d+ in hang')
    running.wait_log(r"task failed: its worker was killed")


def test_short_tasks_are_never_killed_however_many(project: Project, daemon: DaemonFactory) -> None:
    running = started(project, daemon, "--spooler-harakiri", "0.2")
    (worker,) = running.workers
    ends = time.monotonic() + 1.5
    ran = 0
    while time.monotonic() < ends:
        submit(project, "mark")
        assert project.events.wait("mark").pid == worker
        ran += 1
    assert ran > 3
    stop_without_complaints(running)


@pytest.mark.parametrize("end", ["hang", "die", "killed", "stop"])
def test_all_that_a_worker_started_goes_with_it(
    project: Project, daemon: DaemonFactory, end: str
) -> None:
    limit = ("--spooler-harakiri", "2") if end == "hang" else ("--spooler-stop-timeout", "0.2")
    running = started(project, daemon, *limit)
    submit(project, "family", end="hang" if end in ("killed", "stop") else end)
    names = ["child", "session", "grandchild", "forked orphan"]
    pids = {project.events.wait(name).pid for name in names}
    parent = project.events.wait("parent")
    # The one that was executed, and forked after it was executed, has the environment's mark.
    if end in ("killed", "stop"):
        pids |= marked(running.pid)
        assert len(pids) == 5
    if end == "killed":
        os.kill(parent.pid, signal.SIGKILL)
    if end == "stop":
        assert running.stop() == 0
    else:
        running.wait_log(r"worker (was killed by signal \d+|exited with status 7)")
    wait_dead({parent.pid, *pids})


def named(name: str) -> set[int]:
    """The processes of this name."""
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{entry}/comm").read_text() == name + "\n":
                    found.add(int(entry))
    return found


def test_forks_do_not_outrun_the_kill(project: Project, daemon: DaemonFactory) -> None:
    running = started(project, daemon, "--spooler-harakiri", "1")
    submit(project, "swarm")
    pid = project.events.wait("swarm").pid
    running.wait_log(r"task failed: its worker was killed")
    running.wait_log(rf"replacing it pid={pid}\b")
    ends = time.monotonic() + 2
    while left := named("swarm"):
        assert time.monotonic() < ends, f"still there: {left}"
    submit(project, "mark")
    project.events.wait("mark")


def test_what_a_mule_started_goes_with_it(project: Project, daemon: DaemonFactory) -> None:
    source = """
        import subprocess
        import sys
        from uwsgidecorators import mule
        from reporting import pause, report

        @mule(1)
        def program():
            orphan = "import os, time; os.fork() and os._exit(0); time.sleep(1000)"
            null = subprocess.DEVNULL
            streams = {"stdin": null, "stdout": null, "stderr": null}
            command = [sys.executable, "-c", orphan]
            subprocess.Popen(command, start_new_session=True, **streams).wait()
            report("program")
            pause("program")
    """
    project.write("tasks.py", source)
    project.gate("program")
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    running = daemon(*spool, "--mule", ready=False)
    pid = project.events.wait("program").pid
    started = marked(running.pid)
    assert len(started) == 1
    os.kill(pid, signal.SIGKILL)
    wait_dead({pid, *started})


def wait_dead(pids: set[int], seconds: float = 10) -> None:
    ends = time.monotonic() + seconds
    while left := {pid for pid in pids if parent_of(pid) is not None}:
        assert time.monotonic() < ends, f"still there: {left}"
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["rss", "as"])
def test_a_worker_that_eats_memory_is_killed(
    project: Project, daemon: DaemonFactory, kind: str
) -> None:
    most = {"rss": 300, "as": 900}[kind]
    running = started(project, daemon, f"--evil-reload-on-{kind}", str(most))
    path = submit(project, "eat")
    pid = project.events.wait("eat").pid
    running.wait_log(rf"ERROR killing a worker: it has \d+ MiB, more than .* pid={pid}\b")
    found = running.wait_log(
        r"task failed: its worker was killed: it has (\d+) MiB, more than "
        rf"`evil-reload-on-{kind}` allows \({most} MiB\) task={path.name} function=eat pid={pid}\b"
    )
    assert int(found[1]) >= most
    wait_attempts(path, 1)


def test_a_task_that_asks_for_more_than_limit_as_fails_and_its_worker_goes_on(
    project: Project, daemon: DaemonFactory
) -> None:
    running = started(project, daemon, "--limit-as", "900")
    path = submit(project, "map_memory")
    pid = project.events.wait("map_memory").pid
    running.wait_log(rf"task failed task={path.name} function=map_memory pid={pid}")
    running.wait_log(r"MemoryError")
    submit(project, "mark")
    assert project.events.wait("mark").pid == pid


def test_a_limit_below_what_the_application_takes_is_an_error(
    project: Project, daemon: DaemonFactory
) -> None:
    running = started(project, daemon, "--limit-as", "5", ready=False)
    running.wait_log(r"`limit-as` is 5 MB, and the application takes \d+ MB of address space")


def test_processes_are_limited(project: Project, daemon: DaemonFactory) -> None:
    source = """
        import resource
        from uwsgidecorators import spool
        from reporting import report

        @spool
        def limits(args):
            report("limits", nproc=resource.getrlimit(resource.RLIMIT_NPROC)[0])
    """
    project.write("tasks.py", source)
    daemon("--spooler", project.spool, "--spooler-import", "tasks", "--limit-nproc", "77")
    submit(project, "limits")
    assert project.events.wait("limits")["nproc"] == 77


TICKS = """
    import subprocess
    import time

    from uwsgidecorators import signal, spool, timer
    from reporting import report

    @timer(0.2, target="{target}")
    def tick(number):
        process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        report("tick", sleep=process.pid, monotonic_before=time.monotonic())
        time.sleep(1000)

    @spool
    def mark(args):
        report("mark")
"""


@pytest.mark.parametrize(
    ("option", "target"),
    [
        ("spooler-harakiri", "spooler"),
        ("spooler-harakiri", "/of/a/spooler"),
        ("harakiri", ""),
        ("harakiri", "worker1"),
    ],
)
def test_a_handler_of_a_signal_is_killed_for_its_time_and_runs_again(
    project: Project, daemon: DaemonFactory, option: str, target: str
) -> None:
    project.write("tasks.py", TICKS.format(target=target))
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks", f"--{option}", "1")
    event = project.events.wait("tick")
    running.wait_log(
        rf"ERROR the handler of signal \d+ runs longer than `{option}`; .* pid={event.pid} "
    )
    running.wait_log(r'  File ".*tasks\.py", line \d+ in tick')
    running.wait_log(
        rf"tick failed: its worker was killed: it ran longer than `{option}`, 1 s signal=\d+"
    )
    assert time.monotonic() - event["monotonic_before"] < 3
    again = project.events.wait("tick")
    assert again.pid != event.pid
    wait_dead({event.pid, event["sleep"]})


def test_a_handler_that_a_task_registered_is_ended_for_its_time(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", OWN_HANDLER)
    running = daemon(
        *("--spooler", project.spool, "--spooler-import", "tasks", "--spooler-harakiri", "2")
    )
    submit(project, "own")
    event = project.events.wait("handler")
    assert event.pid == project.events.wait("own").pid
    why = r"the handler of signal 9 runs longer than `spooler-harakiri` \(2 s\)"
    running.wait_log(rf"^unspool: {why}; process {event.pid} ends$")
    running.wait_log(r"^Timeout \(0:00:02\.05")
    running.wait_log(r'  File ".*tasks\.py", line \d+ in handle')
    running.wait_log(rf"worker exited with status 1; replacing it pid={event.pid} ")
    wait_dead({event.pid, event["sleep"]})
    submit(project, "quick")
    # Its handler is over in time, and so is what follows it.
    again = project.events.wait("quick")
    assert again.pid != event.pid
    assert project.events.wait("after").pid == again.pid


@pytest.mark.parametrize(("target", "option"), [("", "harakiri"), ("spooler", "spooler-harakiri")])
def test_a_handler_that_a_worker_for_ticks_registered_has_the_limit_of_its_target(
    project: Project, daemon: DaemonFactory, target: str, option: str
) -> None:
    project.write("tasks.py", LATER_HANDLER.format(target=target))
    other = ({"harakiri", "spooler-harakiri"} - {option}).pop()
    running = daemon(
        *("--spooler", project.spool, "--spooler-import", "tasks"),
        *(f"--{option}", "1", f"--{other}", "60"),
    )
    submit(project, "begin")
    event = project.events.wait("handler")
    running.wait_log(rf"the handler of signal 9 runs longer than `{option}` \(1 s\); process")
    wait_dead({event.pid, event["sleep"]})
    running.wait_log("worker for ticks exited with status 1")


def test_the_limit_of_tasks_is_not_that_of_other_handlers(
    project: Project, daemon: DaemonFactory
) -> None:
    source = TICKS.format(target="").replace("time.sleep(1000)", "time.sleep(1)")
    project.write("tasks.py", source.replace('["sleep", "1000"]', '["sleep", "0"]'))
    running = daemon(
        *("--spooler", project.spool, "--spooler-import", "tasks"),
        *("--spooler-harakiri", "0.3", "--harakiri", "30"),
    )
    project.events.wait("tick")
    running.wait_log(r"tick done")
    stop_without_complaints(running)


def test_a_worker_without_end_of_output_is_killed_for_its_time(
    project: Project, daemon: DaemonFactory
) -> None:
    # With a log of its own the daemon reads what workers print.
    log = project.root / "unspool.log"
    started(*(project, daemon, "--spooler-harakiri", "1", "--logger", f"file:{log}"), ready=False)
    path = submit(project, "noisy")
    pid = project.events.wait("noisy").pid
    wait_attempts(path, 1)
    wait_dead({pid})
    submit(project, "mark")
    assert project.events.wait("mark").pid != pid


def test_an_import_that_hangs_is_ended_and_tried_again(
    project: Project, daemon: DaemonFactory
) -> None:
    source = "import subprocess\nsubprocess.run(['sleep', '1000'])\n"
    project.write("tasks.py", source)
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    running = daemon(*spool, "--spooler-import-timeout", "1", ready=False)
    found = running.wait_log(
        r"import of the application takes longer than `spooler-import-timeout`.* pid=(\d+)"
    )
    running.wait_log(r'  File ".*tasks\.py", line 2 in <module>')
    project.write("tasks.py", MODULE)
    running.wait_log(rf"zygote was killed by signal 12 while it imported .*pid={found[1]}\b")
    running.wait_ready()
    submit(project, "mark")
    project.events.wait("mark")


def test_an_import_error_is_the_last_word_of_the_log(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", "import a_module_that_nobody_wrote\n")
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    said = running.wait_log(r"ModuleNotFoundError: No module named 'a_module_that_nobody_wrote'$")
    assert running.stop() == 0
    assert " INFO  stopping: " in running.log[running.after(said)]
    assert len([line for line in running.log if "ModuleNotFoundError" in line]) == 1
    before = [re.search("unspool is ready|cannot import", line) for line in running.log]
    assert [found[0] for found in before if found] == ["unspool is ready", "cannot import"]


def test_a_crash_in_c_code_shows_its_traceback(project: Project, daemon: DaemonFactory) -> None:
    source = """
        import ctypes
        from uwsgidecorators import spool

        @spool
        def crash(args):
            ctypes.string_at(0)
    """
    project.write("tasks.py", source)
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    path = submit(project, "crash")
    running.wait_log(r"Fatal Python error: Segmentation fault")
    running.wait_log(r'  File ".*tasks\.py", line \d+ in crash')
    running.wait_log(rf"task failed: its worker was killed by signal 11 task={path.name}")


def test_a_worker_of_the_old_code_that_is_killed_is_not_said_to_have_left(
    project: Project, daemon: DaemonFactory
) -> None:
    running = started(project, daemon, "--spooler-harakiri", "2")
    submit(project, "stuck", kind="C code with the GIL")
    old = project.events.wait("stuck").pid
    running.reload()
    running.wait_log(rf"INFO  worker was killed by signal (9|12); it was to leave pid={old}\b")
    assert not any(f"worker left pid={old}" in line for line in running.log)


def test_reload_mercy_bounds_a_reload(project: Project, daemon: DaemonFactory) -> None:
    running = started(project, daemon, "--worker-reload-mercy", "0.5")
    path = submit(project, "stuck", kind="sleep")
    old = project.events.wait("stuck").pid
    running.reload()
    running.wait_log(rf"WARN  a worker outstays `reload-mercy`: .* pid={old}\b")
    running.wait_log(rf"task interrupted by the reload; it runs again task={path.name}")
    assert project.events.wait("stuck").pid != old
    assert attempts(path) == 0
