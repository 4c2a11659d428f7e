"""The statistics of both systems from one ini file: fields, their types, and what they count.

unspool may say more and never less. `locks` is left out: it names locks inside of uWSGI.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from both import APPS, Both, Call, System
from harness import REAL_UWSGI, SUPPORT, UNSPOOL, Daemon, free_port, wait_gone
from statistics_client import SECONDS_MAX, Address, ask
from web import get

MODULE = """
    import uwsgi
    from uwsgidecorators import cron, spool, spoolraw, timer
    from reporting import pause, report

    @spool
    def mark(args):
        report("mark")

    @spool
    def hold(args):
        report("hold")
        pause("hold")

    @spoolraw
    def leave(args):
        report("leave")
        return uwsgi.SPOOL_IGNORE

    @timer(1000)
    def often(number):
        pass

    @cron(5, -1, -1, -1, -1)
    def rarely(number):
        pass
"""

SYSTEMS: list[System] = ["uwsgi", "unspool"]


class Served:
    """One system with its statistics."""

    def __init__(self, both: Both, system: System, where: Address, *lines: str) -> None:
        self.where = where
        both.project.write("counted.py", MODULE)
        text = [
            "[uwsgi]",
            "master = true",
            "die-on-term = true",
            f"pythonpath = {SUPPORT}",
            f"pythonpath = {APPS}",
            f"pythonpath = {both.project.root}",
            f"virtualenv = {REAL_UWSGI.parent.parent}",
            "spooler = spool",
            "spooler-processes = 2",
            "spooler-frequency = 1",
            "spooler-import = counted",
            f"stats = {where}",
            *lines,
            "",
        ]
        ini = os.fspath(both.project.write("app.ini", "\n".join(text)))
        if system == "uwsgi":
            self.daemon: Daemon = both._start(REAL_UWSGI, "--ini", ini, env={})
            self.daemon.wait_log("spawned the uWSGI spooler")
            self.daemon.wait_log("Stats server enabled on")
        else:
            options = ("--ini", ini, "--virtualenv", os.fspath(UNSPOOL.parent.parent))
            self.daemon = both._start(UNSPOOL, "run", *options, env={}).wait_ready()

    def said(self) -> dict[str, Any]:
        answer = json.loads(ask(self.where))
        assert isinstance(answer, dict)
        return answer

    def wait(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + SECONDS_MAX
        while not holds(said := self.said()):
            assert time.monotonic() < deadline, said
            time.sleep(0.02)
        return said


def put(both: Both, *names: str) -> list[Path]:
    calls: list[Call] = [
        ("spool", ({b"ud_spool_func": name.encode(), b"ud_spool_ret": b"-2"},), {})
        for name in names
    ]
    return both.write("unspool", *calls)


def shape(value: Any) -> Any:
    """The keys and types of a value; of a list those of all its items together."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        merged: dict[str, Any] = {}
        for item in map(shape, value):
            assert isinstance(item, dict), "a list of objects"
            merged |= item
        return [merged]
    return type(value).__name__


def assert_within(less: Any, more: Any, where: str) -> None:
    if isinstance(less, dict):
        assert isinstance(more, dict), where
        for key, item in less.items():
            assert key in more, f"{where}.{key} is missing"
            assert_within(item, more[key], f"{where}.{key}")
        assert [key for key in more if key in less] == list(less), f"{where}: another order"
    elif isinstance(less, list):
        assert isinstance(more, list), where
        assert_within(less[0], more[0], f"{where}[]")
    else:
        assert less == more, where


PROGRAMS = (
    "attach-daemon = sleep 1000",
    "cron2 = minute=-1,unique=1 sleep 1001",
    "cron = 7 -3 -1 -1 0 echo never",
)


@pytest.mark.parametrize("form", ["path", "port", "abstract", "minified", "http"])
def test_every_field_of_uwsgi_is_there_with_its_type(both: Both, form: str) -> None:
    asked: Address | None = None
    where: Address = both.project.root / "s.sock"
    if form == "abstract":
        where = f"@{both.project.root.name}"
        asked = f"{where}\0"
    elif form == "port":
        where = f"127.0.0.1:{free_port()}"
    extra = {"minified": ("stats-minified = true",), "http": ("stats-http = true",)}
    lines = (*PROGRAMS, *extra.get(form, ()))
    texts: dict[System, str] = {}
    for system in SYSTEMS:
        served = Served(both, system, where, *lines)
        text = ask(asked or where, b"GET / HTTP/1.1\r\n\r\n" if form == "http" else b"").decode()
        texts[system] = text
        assert served.daemon.stop() == 0
    documents = {}
    for system, text in texts.items():
        if form == "http":
            head, _, text = text.partition("\r\n\r\n")
            assert head == texts["uwsgi"].partition("\r\n\r\n")[0]
        documents[system] = json.loads(text)
        if form == "minified":
            assert "\n" not in text
    real, own = documents["uwsgi"], documents["unspool"]
    real.pop("locks")
    assert own.pop("locks") == []
    assert {"daemons", "spoolers", "crons"} <= real.keys()
    assert_within(shape(real), shape(own), "")
    for same in ("version", "uid", "gid", "cwd", "load"):
        assert real[same] == own[same]
    for same in ("dir", "tasks", "respawns", "running"):
        assert [s[same] for s in real["spoolers"]] == [s[same] for s in own["spoolers"]], same
    for same in ("minute", "hour", "day", "month", "week", "command", "unique", "legion"):
        assert [c[same] for c in real["crons"]] == [c[same] for c in own["crons"]], same
    assert [d["cmd"] for d in real["daemons"]] == [d["cmd"] for d in own["daemons"]]
    if form == "path":
        # The same indents and blanks, for who reads it line by line.
        for line in ('\t"load":0,', '\t"daemons":[', "\t\t{", '\t\t\t"respawns":0,'):
            assert all(line in text.split("\n") for text in texts.values()), line


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_is_counted(both: Both, system: System) -> None:
    gate = both.project.gate("hold")
    served = Served(both, system, both.project.root / "s.sock", *PROGRAMS)
    for task in put(both, "mark", "mark", "mark"):
        wait_gone(task)
    served.wait(lambda said: sum(s["tasks"] for s in said["spoolers"]) == 3)
    # A task is gone a moment before its process says so.
    served.wait(lambda said: [s["running"] for s in said["spoolers"]] == [0, 0])
    (held,) = put(both, "hold")
    both.project.events.wait("hold")
    said = served.wait(lambda said: sum(s["running"] for s in said["spoolers"]) == 1)
    (busy,) = [s for s in said["spoolers"] if s["running"]]
    gate.release()
    wait_gone(held)
    served.wait(lambda said: sum(s["tasks"] for s in said["spoolers"]) == 4)
    # One that stays counts each time that it runs.
    put(both, "leave")
    both.project.events.wait("leave")
    served.wait(lambda said: sum(s["tasks"] for s in said["spoolers"]) >= 5)
    os.kill(busy["pid"], signal.SIGKILL)
    said = served.wait(
        lambda said: (
            sorted(s["respawns"] for s in said["spoolers"]) == [0, 1]
            and all(s["pid"] > 0 for s in said["spoolers"])
        )
    )
    assert busy["pid"] not in [s["pid"] for s in said["spoolers"]]
    (daemon,) = said["daemons"]
    assert daemon["respawns"] == 0
    os.kill(daemon["pid"], signal.SIGKILL)
    said = served.wait(lambda said: said["daemons"][0]["pid"] not in (-1, 0, daemon["pid"]))
    # uWSGI does not count the first one.
    assert said["daemons"][0]["respawns"] == (0 if system == "uwsgi" else 1)


SITE = """
    import time

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/raise":
            raise ValueError("it is asked to")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"answer"]
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_web_workers_have_the_same_fields_and_counts(both: Both, threads: int) -> None:
    both.project.write("site_app.py", SITE)
    documents = {}
    where = both.project.root / "s.sock"
    for system in SYSTEMS:
        port = free_port()
        lines = ["module = site_app", f"http-socket = 127.0.0.1:{port}", "processes = 2"]
        served = Served(both, system, where, *lines, f"threads = {threads}", "listen = 50")
        served.wait(lambda said: [worker["accepting"] for worker in said["workers"]] == [1, 1])
        for _ in range(3):
            assert get(port).body == b"answer"
        # uWSGI closes the connection, unspool answers with 500.
        with contextlib.suppress(ConnectionError):
            assert get(port, "/raise").status == 500

        # A request counts once its answer was sent.
        def counted(said: dict[str, Any]) -> bool:
            done = sum(app["requests"] for worker in said["workers"] for app in worker["apps"])
            idle = all(worker["status"] == "idle" for worker in said["workers"])
            # uWSGI asks the system of the queue once a second.
            return done == 4 and idle and said["sockets"][0]["max_queue"] > 0

        documents[system] = served.wait(counted)
        assert served.daemon.stop() == 0
    real, own = documents["uwsgi"], documents["unspool"]
    for name in ("sockets", "workers"):
        assert_within(shape(real[name]), shape(own[name]), name)
    (there,), (here,) = real["sockets"], own["sockets"]
    assert [there[key] for key in ("proto", "max_queue")] == ["http", 50]
    assert [here[key] for key in ("proto", "max_queue")] == ["http", 50]
    for said in documents.values():
        workers = said["workers"]
        assert [worker["id"] for worker in workers] == [1, 2]
        assert [worker["respawn_count"] for worker in workers] == [1, 1]
        assert sum(worker["exceptions"] for worker in workers) == 1
        assert [len(worker["cores"]) for worker in workers] == [threads, threads]
