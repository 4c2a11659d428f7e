"""The main job of unspool, step by step on a temporary spool: `make demo`.

Each step says what it does, does it with the real command, and checks what came of it. The exit
status is 0 only if every check held. Nothing here sleeps: tasks report on a socket, and a file's
going or coming is an event of its directory.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "python"))

from harness import Daemon, HarnessError, Project, wait_gone, wait_present
from processes import ProcessHandle

# `at` counts whole seconds; this is how late a task may start.
DUE_SECONDS_LATE_MAX = 0.010
DUE_TRIES_MAX = 3

INI = """
    [uwsgi]
    spooler = %dspool
    spooler-import = mysite_spool
    spooler-frequency = 1
    ; how long a file may stay incomplete before it counts as torn: a minute unless told otherwise
    spooler-settle = 1
"""

TASKS = """
    from uwsgidecorators import spool, uwsgi
    from reporting import pause, report

    VERSION = 1
    ATTEMPTS = []

    @spool
    def my_func(args):
        print(args)
        report("my_func", args=args, version=VERSION)

    @spool
    def hold(args):
        report("hold")
        pause("hold")
        report("held", version=VERSION)

    @spool
    def fail_once(args):
        report("fail_once")
        ATTEMPTS.append(args)
        if len(ATTEMPTS) == 1:
            raise ValueError("the first attempt fails")
"""


def narrate(text: str) -> None:
    """One line of the story."""
    print(f"   {text}", flush=True)


def check(holds: bool, what: str) -> None:
    """Notes an outcome that was looked at, or ends the demonstration."""
    if not holds:
        raise HarnessError(f"not true: {what}")
    narrate(f"checked: {what}")


class Demonstration:
    """The steps, in order; they share the project and the daemon that step 2 starts."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.events = project.events
        self.ini = project.write("app.ini", INI)
        self.module = project.write("mysite_spool.py", TASKS)
        self.gate = project.gate("hold")
        # The submitting processes know the ini file and nothing else.
        self.env = {**project.env, "UNSPOOL_CONFIG": str(self.ini)}
        self.daemon: Daemon = project.daemon(self.ini)

    def submit(self, call: str) -> Path:
        """Submits from an ordinary Python process and returns the task's file."""
        program = f"import os, mysite_spool\nprint(os.fsdecode(mysite_spool.{call}))"
        return Path(self.project.python(program, env=self.env).stdout.strip())

    def occupy_worker(self) -> None:
        """Holds the only worker inside a task, so that what is submitted now waits."""
        self.submit("hold.spool()")
        self.events.wait("hold")

    def submit_without_daemon(self) -> None:
        """A task is submitted from a script while no daemon runs"""
        narrate("$ UNSPOOL_CONFIG=app.ini python")
        narrate(">>> import mysite_spool")
        narrate(">>> mysite_spool.my_func.spool(test=True)")
        path = self.submit("my_func.spool(test=True)")
        narrate(str(path))
        check(path.is_file(), "the file that the call returned exists")
        check(path.parent == self.project.spool, "it lies in the spool directory of the ini file")
        self.first = path

    def start_daemon(self) -> None:
        """The daemon starts and runs what it finds"""
        narrate("$ unspool run app.ini")
        self.daemon.start().wait_ready()
        event = self.events.wait("my_func")
        check(event["args"]["test"] == "True", "my_func ran with test=True")
        wait_gone(self.first)
        check(not self.first.exists(), "its file is gone")

    def submit_from_command_line(self) -> None:
        """A task is submitted from the command line"""
        narrate("$ unspool spool my_func colour=blue")
        done = self.project.unspool("spool", "my_func", "colour=blue", env=self.env)
        event = self.events.wait("my_func")
        check(event["args"]["colour"] == "blue", "my_func ran with colour=blue")
        wait_gone(Path(done.stdout.strip()))
        check(self.project.tasks() == [], "the spool is empty")

    def run_at_a_time(self) -> None:
        """A delayed task runs at its time"""
        for number in range(1, DUE_TRIES_MAX + 1):
            due = int(time.time()) + 2
            path = self.submit(f"my_func.spool(test=True, at={due})")
            check(path.is_file(), f"the task for {due} waits in the spool (try {number})")
            late = self.events.wait("my_func").time - due
            narrate(f"it started {late * 1000:.1f} ms after its time")
            check(late >= 0, "not before its time")
            if late <= DUE_SECONDS_LATE_MAX:
                break
        check(late <= DUE_SECONDS_LATE_MAX, "within 10 ms of its time")

    def run_by_priority(self) -> None:
        """Priorities decide the order"""
        self.occupy_worker()
        for priority in ("", "10", "low", "5"):
            narrate(f"submitted while the worker is busy: priority={priority!r}")
            self.submit(f"my_func.spool(number='{priority or 'none'}', priority='{priority}')")
        self.gate.release()
        order = [event["args"]["number"] for event in self.events.collect(4, "my_func")]
        check(order == ["5", "10", "low", "none"], f"they ran in the order {', '.join(order)}")
        self.events.wait("held")

    def survive_exception(self) -> None:
        """An exception is logged with its traceback, and the task is tried again"""
        path = self.submit("fail_once.spool()")
        self.daemon.wait_log(r"Traceback \(most recent call last\)")
        found = self.daemon.wait_log(r"ValueError: the first attempt fails")
        check(bool(found), f"the log has the traceback, ending in {found[0]!r}")
        self.events.collect(2, "fail_once")
        wait_gone(path)
        check(not path.exists(), "the second attempt succeeded and the file is gone")

    def cancel(self) -> None:
        """A task is cancelled by deleting its file"""
        self.occupy_worker()
        path = self.submit("my_func.spool(number='cancelled')")
        narrate(f"$ rm {path.name}")
        path.unlink()
        self.submit("my_func.spool(number='next')")
        self.gate.release()
        event = self.events.wait("my_func")
        check(event["args"]["number"] == "next", "only the task after it ran")
        self.events.wait("held")

    def lose_worker(self) -> None:
        """A worker is killed in the middle of a task"""
        path = self.submit("hold.spool()")
        first = self.events.wait("hold")
        narrate(f"$ kill -9 {first.pid}")
        worker = ProcessHandle(first.pid)
        worker.send(signal.SIGKILL)
        check(worker.wait(), "the worker is dead")
        worker.close()
        again = self.events.wait("hold")
        check(again.pid != first.pid, f"the task started again in worker {again.pid}")
        check(path.is_file(), "its file is still there")
        self.gate.release()
        self.events.wait("held")
        wait_gone(path)
        check(not path.exists(), "it finished, and its file is gone")

    def set_torn_file_aside(self) -> None:
        """A torn file is neither run nor deleted"""
        whole = self.submit(f"my_func.spool(number='torn', at={int(time.time()) + 3600})")
        content = whole.read_bytes()
        whole.unlink()
        torn = whole.with_name(whole.name + "_torn")
        half = content[: len(content) // 2]
        torn.write_bytes(half)
        narrate(f"half of a task was written to {torn.name}")
        kept = wait_present(self.project.spool / "corrupt", "*_torn")
        check(kept.read_bytes() == half, f"it was kept as it is in {kept.parent}")
        check(not torn.exists(), "it is no longer pending")
        line = self.daemon.wait_log(r"file is not a whole task.*")[0]
        narrate(f"the log says: {line.strip()}")

    def reload(self) -> None:
        """SIGHUP reloads the application and interrupts nothing"""
        self.occupy_worker()
        self.project.write("mysite_spool.py", TASKS.replace("VERSION = 1", "VERSION = 2"))
        narrate("the module now says VERSION = 2; a task is running")
        narrate(f"$ kill -HUP {self.daemon.pid}")
        self.daemon.reload()
        self.submit("my_func.spool(number='after')")
        check(self.events.wait("my_func")["version"] == 2, "a new task ran in the new code")
        self.gate.release()
        check(self.events.wait("held")["version"] == 1, "the running task ended in the old code")
        self.project.wait_empty()
        starts = [event for event in self.events.history if event.name == "hold"]
        ends = [event for event in self.events.history if event.name == "held"]
        # One start more than ends: the worker that was killed.
        check(len(starts) == len(ends) + 1, "nothing ran twice")

    def stop(self) -> None:
        """SIGTERM lets the running task finish"""
        path = self.submit("hold.spool()")
        self.events.wait("hold")
        narrate(f"$ kill -TERM {self.daemon.pid}")
        self.daemon.send(signal.SIGTERM)
        self.gate.release()
        self.events.wait("held")
        status = self.daemon.wait_exit()
        check(status == 0, "the exit status is 0")
        check(not path.exists(), "the task finished, and its file is gone")
        check(self.project.tasks() == [], "the spool is empty")

    def steps(self) -> list[Callable[[], None]]:
        """All of them, in the order of the story."""
        return [
            self.submit_without_daemon,
            self.start_daemon,
            self.submit_from_command_line,
            self.run_at_a_time,
            self.run_by_priority,
            self.survive_exception,
            self.cancel,
            self.lose_worker,
            self.set_torn_file_aside,
            self.reload,
            self.stop,
        ]


@contextmanager
def demonstration() -> Iterator[Demonstration]:
    """A demonstration on a temporary spool; nothing of it is left afterwards."""
    project = Project()
    try:
        made = Demonstration(project)
        try:
            yield made
        finally:
            made.daemon.close()
    finally:
        project.close()


def main() -> int:
    """Runs every step; 0 if every check held."""
    with demonstration() as demo:
        steps = demo.steps()
        for number, step in enumerate(steps, 1):
            print(f"\n{number:2d}. {step.__doc__}", flush=True)
            started = time.monotonic()
            try:
                step()
            except (HarnessError, OSError) as error:
                print(f"\nfailed in step {number}: {error}")
                log = demo.daemon.describe()
                # A wait for a line of the log carries the log in its error.
                if log not in str(error):
                    print(log)
                return 1
            narrate(f"done in {time.monotonic() - started:.2f} s")
        print(f"\nall {len(steps)} steps were checked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
