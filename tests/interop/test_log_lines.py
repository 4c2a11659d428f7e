"""With `spooler-log-format = uwsgi` the lines that people parse are uWSGI's: a task's life in both.

The same expressions match both logs, and what they match stands in the same order. Lines that have
no order in uWSGI (its master notices the end of a process within a second) are looked for alone.
"""

from __future__ import annotations

import re

import pytest
from both import Both, System
from harness import Daemon

SYSTEMS: list[System] = ["uwsgi", "unspool"]

MODULE = """
    import time
    import uwsgi
    from uwsgidecorators import spool, spoolraw
    from reporting import report

    @spoolraw
    def twice(args):
        report("twice")
        if args["number"] == "1":
            # Written by a process of the daemon.
            uwsgi.spool({b"ud_spool_func": b"twice", b"number": b"2"})
        return uwsgi.SPOOL_OK

    @spoolraw
    def later(args):
        report("later")
        return uwsgi.SPOOL_RETRY if time.time() < float(args["until"]) else uwsgi.SPOOL_OK

    @spool
    def hang(args):
        report("hang")
        time.sleep(300)
"""
DIR = r"(?P<dir>/\S+)"
NAME = r"(?P<name>uwsgi_spoolfile_on_\S+)"
LINES = {
    "master": r"spawned uWSGI master process \(pid: (?P<pid>\d+)\)",
    "spawned": rf"spawned the uWSGI spooler on dir {DIR} with pid (?P<pid>\d+)",
    "written": rf"\[spooler\] written (?P<bytes>\d+) bytes to file {DIR}/{NAME}",
    "managing": rf"\[spooler {DIR} pid: (?P<pid>\d+)\] managing request {NAME} \.\.\.",
    "done": rf"\[spooler {DIR} pid: (?P<pid>\d+)\] done with task {NAME} after (?P<s>\d+) seconds",
    "recycling": rf"\[spooler {DIR} pid: (?P<pid>\d+)\] maximum number of tasks reached "
    r"\((?P<tasks>\d+)\) recycling \.\.\.",
    "harakiri": r"\*\*\* HARAKIRI ON THE SPOOLER \(pid: (?P<pid>\d+)\) \*\*\*",
    "respawn": r"OOOPS the spooler is no more\.\.\.trying respawn\.\.\.",
    "mule": r"spawned uWSGI mule (?P<number>\d) \(pid: (?P<pid>\d+)\)",
    "stats": r"\*\*\* Stats server enabled on (?P<address>\S+) fd: (?P<fd>\d+) \*\*\*",
    "stopping": r"SIGINT/SIGTERM received\.\.\.killing workers\.\.\.",
    "killing": r"killing the spooler with pid (?P<pid>\d+)",
    "annihilated": r"spooler \(pid: (?P<pid>\d+)\) annihilated",
    "no mule": r"mule (?P<number>\d) \(pid: (?P<pid>\d+)\) annihilated",
    "goodbye": r"goodbye to uWSGI\.",
}
Line = tuple[str, dict[str, str]]


def lines(daemon: Daemon, *kinds: str) -> list[Line]:
    """The known lines of the log, whole ones, in their order."""
    found = []
    for line in daemon.log:
        for kind in kinds or LINES:
            match = re.fullmatch(LINES[kind], line.rstrip())
            if match:
                found.append((kind, match.groupdict()))
    return found


def start(both: Both, system: System, *options: str) -> Daemon:
    both.project.write("logged.py", MODULE)
    own = ["--spooler-log-format=uwsgi"] if system == "unspool" else []
    return both.run(system, "logged", f"--pythonpath={both.project.root}", *own, *options)


def put(both: Both, function: str, **arguments: str) -> str:
    """The name of the task's file."""
    pairs = {b"ud_spool_func": function.encode()}
    pairs |= {key.encode(): value.encode() for key, value in arguments.items()}
    return both.write("unspool", ("spool", (pairs,), {}))[0].name


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_task_from_its_submission_to_its_end(both: Both, system: System) -> None:
    running = start(both, system)
    first = put(both, "twice", number="1")
    running.wait_log(rf"done with task {first} ")
    both.project.events.collect(2, "twice")
    running.wait_log(r"done with task (?!" + first + r")\S+ ")
    found = lines(running, "spawned", "written", "managing", "done")
    assert [kind for kind, _ in found] == [
        "spawned", "managing", "written", "done", "managing", "done",
    ]  # fmt: skip
    spawned, managing, written, done, again, last = [fields for _, fields in found]
    spool = str(both.project.spool)
    assert {fields["dir"] for fields in (spawned, managing, written, done, again, last)} == {spool}
    assert {fields["pid"] for fields in (spawned, managing, done, again, last)} == {spawned["pid"]}
    assert managing["name"] == done["name"] == first
    assert again["name"] == last["name"] == written["name"] != first
    assert 0 <= int(done["s"]) <= 1 and int(written["bytes"]) > 30
    assert running.stop() == 0
    end = [kind for kind, _ in lines(running, "stopping", "killing", "annihilated", "goodbye")]
    # uWSGI tells of the last one if it ends in time.
    assert end in (["stopping", "killing", "annihilated", "goodbye"],
                   ["stopping", "killing", "goodbye"])  # fmt: skip
    assert system == "uwsgi" or "annihilated" in end


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_task_that_is_tried_again(both: Both, system: System) -> None:
    running = start(both, system)
    name = put(both, "later", until="0")
    running.wait_log(f"done with task {name}")
    retried = put(both, "later", until="99999999999")
    both.project.events.collect(3, "later")
    both.stop()
    found = [(kind, fields["name"]) for kind, fields in lines(running, "managing", "done")]
    # One that is not done has no line of its end.
    assert found[:3] == [("managing", name), ("done", name), ("managing", retried)]
    assert ("done", retried) not in found
    both.project.spool.joinpath(retried).unlink(missing_ok=True)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_quiet_one_tells_of_processes_alone(both: Both, system: System) -> None:
    running = start(both, system, "--spooler-quiet")
    put(both, "twice", number="1")
    both.project.events.collect(2, "twice")
    both.project.wait_empty()
    both.stop()
    assert lines(running, "written", "managing", "done") == []
    assert [kind for kind, _ in lines(running, "spawned")] == ["spawned"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_process_that_has_run_enough(both: Both, system: System) -> None:
    running = start(both, system, "--spooler-max-tasks=1")
    name = put(both, "twice", number="2")
    running.wait_log("recycling")
    # The next one: unspool has it before the last task begins.
    first = running.wait_log("spawned the uWSGI spooler")
    running.wait_log("spawned the uWSGI spooler", since=running.after(first))
    found = lines(running, "managing", "done", "recycling")
    assert [kind for kind, _ in found] == ["managing", "done", "recycling"]
    (_, managing), (_, done), (_, recycling) = found
    assert managing["pid"] == done["pid"] == recycling["pid"]
    assert recycling["dir"] == str(both.project.spool) and recycling["tasks"] == "1"
    assert done["name"] == name


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_process_that_is_killed(both: Both, system: System) -> None:
    running = start(both, system, "--spooler-harakiri=1")
    put(both, "hang")
    both.project.events.wait("hang")
    ended = running.wait_log("OOOPS")
    # The next process, and in uWSGI at once the same task.
    running.wait_log("spawned the uWSGI spooler", since=running.after(ended))
    found = lines(running, "spawned", "managing", "harakiri", "respawn")[:5]
    kinds = [kind for kind, _ in found]
    assert kinds == ["spawned", "managing", "harakiri", "respawn", "spawned"]
    assert found[0][1]["pid"] == found[1][1]["pid"] == found[2][1]["pid"] != found[4][1]["pid"]
    for task in both.project.tasks():
        task.unlink()


@pytest.mark.parametrize("system", SYSTEMS)
def test_master_mules_and_statistics(both: Both, system: System) -> None:
    socket = both.project.root / "stats"
    running = start(both, system, "--mule", f"--stats={socket}")
    running.wait_log("spawned uWSGI mule 1 ")
    running.wait_log("Stats server enabled")
    found = dict(lines(running))
    assert found["master"]["pid"] == str(running.pid)
    assert found["stats"]["address"] == str(socket)
    mule = found["mule"]["pid"]
    assert running.stop() == 0
    ended = [fields for kind, fields in lines(running) if kind == "no mule"]
    assert ended == [{"number": "1", "pid": mule}]


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    ("option", "date"),
    [
        ("log-date", r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4} - "),
        ("log-date=[%Y-%m-%d %H:%M]", r"\[\d{4}-\d\d-\d\d \d\d:\d\d\] - "),
    ],
)
def test_the_date_in_front(both: Both, system: System, option: str, date: str) -> None:
    running = start(both, system, f"--{option}")
    name = put(both, "twice", number="1")
    running.wait_log(rf"^{date}\[spooler \S+ pid: \d+\] managing request {name} \.\.\.$")
    running.wait_log(rf"^{date}\[spooler\] written \d+ bytes to file ")
    running.wait_log(rf"^{date}\[spooler \S+ pid: \d+\] done with task {name} after \d seconds$")
    running.wait_log(rf"^{date}spawned the uWSGI spooler on dir ")
