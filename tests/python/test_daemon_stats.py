"""The stats server: what it says, in which form, and where it listens."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import PYTHON, Project
from spooling import Producer, call, foreign, publish, submit
from statistics_client import SECONDS_MAX, ask, statistics
from statistics_daemon import StartServing, spool_of, wait_for

FAILED_STATUS = 1
USAGE_STATUS = 2


def test_the_fields_that_tools_read_are_there_in_uwsgis_order(
    project: Project, serving: StartServing, where: Path
) -> None:
    running = serving("--spooler-processes", "2", "--spooler-external", "elsewhere")
    said = statistics(where)
    # uwsgi_exporter and uwsgitop read these, and unspool's own stand last.
    assert list(said) == [
        *("version", "listen_queue", "listen_queue_errors", "signal_queue", "load"),
        *("pid", "uid", "gid", "cwd", "locks", "sockets", "workers", "spoolers", "unspool"),
    ]
    assert (said["version"], said["pid"], said["uid"]) == ("2.0.31", running.pid, os.getuid())
    assert (said["gid"], said["cwd"]) == (os.getgid(), str(project.root))
    assert said["locks"] == said["sockets"] == said["workers"] == []
    own = [spooler for spooler in said["spoolers"] if spooler["pid"]]
    assert {spooler["pid"] for spooler in own} == set(running.workers)
    for spooler in said["spoolers"]:
        assert list(spooler)[:5] == ["dir", "pid", "tasks", "respawns", "running"]
    for spooler in own:
        assert spooler["dir"] == str(project.spool)
        assert spooler["tasks"] == spooler["respawns"] == spooler["running"] == 0
        assert 0 < spooler["rss"] < spooler["vsz"]
    (other,) = [spooler for spooler in said["spoolers"] if not spooler["pid"]]
    assert other["dir"] == str(project.root / "elsewhere")
    unspool = said["unspool"]
    assert (unspool["stopping"], unspool["importing"], unspool["generation"]) == (False, False, 1)
    assert abs(time.time() - unspool["started_at"]) < SECONDS_MAX * 2
    # Fresh, not what was known some time ago.
    assert unspool["spools"][0]["age_ms"] < 1000


def test_what_became_of_each_run_is_counted(
    project: Project, serving: StartServing, where: Path
) -> None:
    running = serving()
    for _ in range(3):
        submit(project, "mark")
    for _ in range(2):
        submit(project, "again")
    submit(project, "leave")
    submit(project, "nobody")
    failed = submit(project, "fail")
    for line, count in (
        ("task done", 3),
        ("asked to run again", 2),
        ("ignored by its handler", 1),
        ("task not run", 1),
        ("task failed", 1),
    ):
        mark = 0
        for _ in range(count):
            found = running.wait_log(line, since=mark)
            mark = running.after(found)
    spool = spool_of(where)
    assert spool["outcomes"] == {
        "done": 3,
        "retried": 2,
        "failed": 1,
        "died": 0,
        "ignored": 1,
        "unknown": 1,
        "interrupted": 0,
        "corrupt": 0,
        "dead": 0,
        "expired": 0,
        "cancelled": 0,
    }
    assert spool["tasks"] == {"due": 0, "delayed": 5, "running": 0, "held": 0, "paused": 0}
    assert (spool["oldest_due_ms"], spool["scanning"]) == (None, False)
    assert abs(spool["next_due_at"] - time.time() - 3600) < SECONDS_MAX * 2
    error = spool["last_error"]
    assert (error["task"], error["function"]) == (failed.name, "fail")
    assert error["error"] == "ValueError: no such order"
    assert abs(error["at"] - time.time()) < SECONDS_MAX
    (worker,) = spool["workers"]
    assert (worker["tasks"], worker["current"], worker["outstanding"]) == (8, None, 0)
    assert spool["run_time_us"] == worker["run_time_us"] > 0
    (spooler,) = statistics(where)["spoolers"]
    assert (spooler["tasks"], spooler["running"]) == (8, 0)


def test_a_worker_that_died_is_a_failure_and_a_respawn(
    project: Project, serving: StartServing, where: Path
) -> None:
    running = serving()
    (before,) = statistics(where)["spoolers"]
    submit(project, "die")
    running.wait_log("task failed: its worker exited with status 9")
    spool = wait_for(where, lambda spool: any(w["ready"] for w in spool["workers"]))
    assert (spool["outcomes"]["failed"], spool["outcomes"]["died"]) == (1, 1)
    assert spool["last_error"]["error"] == "its worker exited with status 9"
    (after,) = statistics(where)["spoolers"]
    assert (after["respawns"], after["tasks"]) == (1, 0)
    assert after["pid"] not in (0, before["pid"])
    # What else is deleted under the daemon is forgotten in the counts too.
    for path in project.tasks():
        path.unlink()
    wait_for(where, lambda spool: spool["tasks"]["delayed"] == 0)


def test_depth_is_told_by_priority_and_the_current_task_by_name(
    project: Project, serving: StartServing, where: Path
) -> None:
    hold = project.gate("hold")
    serving()
    held = submit(project, "hold", "--priority", "5")
    project.events.wait("hold")
    first = time.monotonic()
    for _ in range(4):
        submit(project, "mark")
    for _ in range(2):
        submit(project, "mark", "--priority", "5")
    submit(project, "mark", "--delay", "1000", "--priority", "mail")
    spool = wait_for(where, lambda spool: spool["tasks"]["due"] + spool["tasks"]["delayed"] == 7)
    assert spool["tasks"] == {"due": 6, "delayed": 1, "running": 1, "held": 0, "paused": 0}
    assert spool["priorities"] == [
        {"priority": "5", "due": 2, "delayed": 0, "running": 1, "held": 0, "paused": 0},
        {"priority": "mail", "due": 0, "delayed": 1, "running": 0, "held": 0, "paused": 0},
        {"priority": None, "due": 4, "delayed": 0, "running": 0, "held": 0, "paused": 0},
    ]
    assert 0 <= spool["oldest_due_ms"] <= (time.monotonic() - first + 1) * 1000
    assert abs(spool["next_due_at"] - time.time() - 1000) < SECONDS_MAX
    (worker,) = spool["workers"]
    assert worker["current"]["task"] == f"5/{held.name}"
    assert worker["current"]["function"] == "hold"
    assert worker["current"]["since_ms"] >= (time.monotonic() - first) * 1000 - 1000
    (spooler,) = statistics(where)["spoolers"]
    assert (spooler["running"], spooler["pid"], spooler["id"]) == (1, worker["pid"], worker["id"])
    later = wait_for(where, lambda now: now["oldest_due_ms"] > spool["oldest_due_ms"])
    assert later["tasks"] == spool["tasks"]
    hold.release()
    done = wait_for(where, lambda spool: spool["outcomes"]["done"] == 7)
    assert done["tasks"] == {"due": 0, "delayed": 1, "running": 0, "held": 0, "paused": 0}


def test_many_tasks_are_counted_without_being_looked_at(
    project: Project, serving: StartServing, where: Path
) -> None:
    hold = project.gate("hold")
    serving()
    submit(project, "hold")
    project.events.wait("hold")
    with Producer(project) as producer:
        producer.many([call("mark") for _ in range(5000)])
    wait_for(where, lambda spool: spool["tasks"]["due"] == 5000)
    hold.release()
    wait_for(where, lambda spool: spool["outcomes"]["done"] == 5001)
    assert spool_of(where)["tasks"] == {
        "due": 0,
        "delayed": 0,
        "running": 0,
        "held": 0,
        "paused": 0,
    }


def test_damaged_files_are_counted(project: Project, serving: StartServing, where: Path) -> None:
    running = serving("--spooler-settle", "0")
    publish(project.spool, "torn", foreign({b"ud_spool_func": b"mark"})[:-3])
    running.wait_log("file is not a whole task")
    assert spool_of(where)["outcomes"]["corrupt"] == 1


def test_old_tasks_of_a_uwsgi_are_told_apart(
    project: Project, serving: StartServing, where: Path
) -> None:
    project.spool.mkdir(mode=0o700)
    long_ago = time.time() - 10 * 86400
    publish(project.spool, "old", foreign({b"ud_spool_func": b"mark"}), due=long_ago)
    running = serving()
    running.wait_log("1 tasks are held")
    assert spool_of(where)["tasks"] == {
        "due": 0,
        "delayed": 0,
        "running": 0,
        "held": 1,
        "paused": 0,
    }
    project.unspool("adopt", "--spooler", project.spool, "--bury")
    wait_for(where, lambda spool: spool["tasks"]["held"] == 0)


def test_timers_and_crons_are_told(project: Project, daemon: DaemonFactory, where: Path) -> None:
    project.write(
        "ticks.py",
        """
        import uwsgi
        from uwsgidecorators import cron, timer

        @timer(1000)
        def often(signum):
            pass

        @cron(5, -2, -1, -1, 0)
        def rarely(signum):
            pass
        """,
    )
    daemon("--import", "ticks", "--stats", where)
    said = statistics(where)
    # uWSGI has the key only where there are spools.
    assert "spoolers" not in said
    (timer,) = said["unspool"]["timers"]
    assert timer["every_ms"] == 1_000_000 and 0 < timer["next_ms"] <= 1_000_000
    (cron,) = said["unspool"]["crons"]
    fields = ("minute", "hour", "day", "month", "weekday")
    assert [cron[field] for field in fields] == [5, -2, -1, -1, 0]
    assert cron["signal"] != timer["signal"]


def test_programs_and_mules_are_told(project: Project, serving: StartServing, where: Path) -> None:
    running = serving(
        *("--attach-daemon", "sleep 1000", "--attach-daemon", "exit 3"),
        *("--cron2", "minute=-1,unique=1 sleep 1001", "--cron", "7 -3 -1 -1 0 echo"),
        *("--mules", "2"),
    )
    running.wait_log("attached daemon exited with status 3.*starting it again")

    deadline = time.monotonic() + SECONDS_MAX
    # A mule may be up before the zygote has said which process it is.
    while (
        (said := statistics(where))["daemons"][1]["respawns"] < 2
        or said["unspool"]["leads"] is None
        or not all(mule["pid"] for mule in said["unspool"]["mules"])
    ):
        assert time.monotonic() < deadline, said
    steady, failing = said["daemons"]
    assert (steady["cmd"], steady["respawns"]) == ("sleep 1000", 0)
    assert Path(f"/proc/{steady['pid']}/cmdline").read_bytes().startswith(
        b"/bin/sh\0-c\0sleep"
    ) or (Path(f"/proc/{steady['pid']}/comm").read_text() == "sleep\n")
    assert failing["cmd"] == "exit 3"
    every, rare = said["crons"]
    assert [rare[field] for field in ("minute", "hour", "day", "month", "week")] == [
        7,
        -3,
        -1,
        -1,
        0,
    ]
    assert (rare["command"], rare["unique"], rare["legion"]) == ("echo", 0, "")
    assert (rare["pid"], rare["started_at"]) == (-1, 0)
    assert (every["command"], every["unique"]) == ("sleep 1001", 1)
    own = said["unspool"]
    assert own["cron_commands"][1]["runs"] == 0 and own["cron_commands"][1]["pid"] is None
    assert own["leads"] is True
    assert [mule["id"] for mule in own["mules"]] == [1, 2]


def test_a_reload_and_a_stop_can_be_watched(
    project: Project, serving: StartServing, where: Path
) -> None:
    hold = project.gate("hold")
    running = serving()
    submit(project, "hold")
    old = project.events.wait("hold")["pid"]
    running.reload()
    # It may serve before the zygote has said which process it is.
    wait_for(where, lambda spool: any(w["ready"] for w in spool["workers"] if w["pid"] != old))
    said = statistics(where)["unspool"]
    assert said["generation"] == 2
    workers = {worker["pid"]: worker for worker in said["spools"][0]["workers"]}
    assert len(workers) == 2
    assert (workers[old]["leaving"], workers[old]["generation"]) == (True, 1)
    (new,) = [worker for pid, worker in workers.items() if pid != old]
    assert (new["leaving"], new["ready"], new["generation"]) == (False, True, 2)
    running.send(signal.SIGTERM)
    running.wait_log("stopping: running tasks may finish")
    said = statistics(where)["unspool"]
    assert said["stopping"] is True
    assert said["spools"][0]["tasks"]["running"] == 1
    hold.release()
    assert running.wait_exit() == 0
    assert not where.exists()


def test_it_answers_while_the_application_is_imported(
    project: Project, serving: StartServing, where: Path
) -> None:
    project.gate("import").release(0)
    project.write("slow.py", "from reporting import pause\npause('import')")
    running = serving("--import", "slow", ready=False)
    running.wait_log("serving statistics")
    said = statistics(where)
    assert said["unspool"]["importing"] is True
    (spooler,) = said["spoolers"]
    assert (spooler["pid"], spooler["dir"]) == (0, str(project.spool))
    project.gate("import").release()
    running.wait_ready()
    assert statistics(where)["unspool"]["importing"] is False


def test_the_form_is_uwsgis(serving: StartServing, where: Path) -> None:
    serving()
    text = ask(where).decode()
    assert text.startswith('{\n\t"version":"2.0.31",\n\t"listen_queue":0,\n')
    assert '\n\t\t{\n\t\t\t"dir":"' in text
    assert text.endswith("\n}")


@pytest.mark.parametrize("option", ["--stats-min", "--stats-minified"])
def test_minified_it_is_one_line(serving: StartServing, where: Path, option: str) -> None:
    serving(option)
    text = ask(where).decode()
    assert text.startswith('{"version":"2.0.31","listen_queue":0,')
    assert "\n" not in text and "\t" not in text
    assert json.loads(text)["spoolers"]


HTTP_HEAD = (
    b"HTTP/1.0 200 OK\r\nConnection: close\r\nAccess-Control-Allow-Origin: *\r\n"
    b"Content-Type: application/json\r\n\r\n"
)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"GET /" + b"x" * 100_000,
        b"",
    ],
)
def test_http_has_uwsgis_head_and_answers_also_who_does_not_ask(
    serving: StartServing, where: Path, request_bytes: bytes
) -> None:
    serving("--stats-http")
    answer = ask(where, request_bytes)
    assert answer.startswith(HTTP_HEAD + b"{")
    assert json.loads(answer[len(HTTP_HEAD) :])["spoolers"]


def test_a_port_is_served_to_a_client_of_http(project: Project, daemon: DaemonFactory) -> None:
    running = daemon("--spooler", project.spool, "--stats-server", "127.0.0.1:0", "--stats-http")
    found = running.wait_log(r"serving statistics address=127\.0\.0\.1:(\d+)")
    client = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=SECONDS_MAX)
    with contextlib.closing(client):
        client.request("GET", "/")
        answer = client.getresponse()
        assert answer.headers["Content-Type"] == "application/json"
        assert json.load(answer)["pid"] == running.pid


def test_a_port_alone_is_on_every_address_and_one_in_use_is_named(
    project: Project, daemon: DaemonFactory
) -> None:
    running = daemon("--spooler", project.spool, "--stats", ":0")
    found = running.wait_log(r"serving statistics address=0\.0\.0\.0:(\d+)")
    assert statistics(f"127.0.0.1:{found[1]}")["pid"] == running.pid
    other = ("run", "--spooler", "other", "--stats", f":{found[1]}")
    done = project.unspool(*other, check=False)
    assert done.returncode == FAILED_STATUS
    line = f"unspool: cannot listen on `:{found[1]}`: another process listens on that port"
    assert line in done.stderr
    assert statistics(f"127.0.0.1:{found[1]}")["pid"] == running.pid


@pytest.mark.parametrize("address", ["localhost:port", ":70000", "::1:80", "@"])
def test_what_is_no_address_is_refused_before_anything_is_made(
    project: Project, address: str
) -> None:
    for command in ("run", "config"):
        done = project.unspool(command, "--spooler", "new", f"--stats={address}", check=False)
        assert done.returncode == USAGE_STATUS
        assert f"unspool: `stats`: `{address}` is no address" in done.stderr
    assert not (project.root / "new").exists()


def test_an_abstract_name_needs_no_file(project: Project, daemon: DaemonFactory) -> None:
    name = f"@{project.root.name}"
    running = daemon("--spooler", project.spool, "--stats", name)
    assert statistics(name)["pid"] == running.pid
    # uWSGI and its clients end the name with a NUL.
    assert statistics(f"{name}\0")["pid"] == running.pid


def test_a_path_is_relative_to_chdir_as_in_uwsgi(project: Project, daemon: DaemonFactory) -> None:
    (project.root / "site").mkdir()
    running = daemon("--spooler", project.spool, "--chdir", "site", "--stats", "s.sock")
    said = statistics(project.root / "site" / "s.sock")
    assert (said["pid"], said["cwd"]) == (running.pid, str(project.root / "site"))


@pytest.mark.parametrize(
    ("options", "mode"), [((), 0o600), (("--chmod-socket=660",), 0o660), (("-C",), 0o666)]
)
def test_the_socket_has_the_mode_that_was_asked_for(
    serving: StartServing, where: Path, options: tuple[str, ...], mode: int
) -> None:
    serving(*options)
    assert stat.S_IMODE(where.stat().st_mode) == mode


def test_a_socket_that_a_killed_daemon_left_is_replaced(
    project: Project, serving: StartServing, where: Path
) -> None:
    killed = serving()
    killed.kill()
    assert where.is_socket()
    running = serving()
    assert statistics(where)["pid"] == running.pid
    assert running.stop() == 0
    assert not where.exists()


def test_a_socket_that_is_in_use_and_a_file_stay_as_they_are(
    project: Project, serving: StartServing, where: Path
) -> None:
    running = serving()
    second = project.unspool("run", "--spooler", "other", "--stats", where, check=False)
    assert second.returncode == FAILED_STATUS
    assert f"cannot listen on `{where}`: another process listens there" in second.stderr
    assert statistics(where)["pid"] == running.pid
    file = project.write("precious", "text")
    third = project.unspool("run", "--spooler", "other", "--stats", file, check=False)
    assert third.returncode == FAILED_STATUS
    assert "remove what is there or choose another name" in third.stderr
    assert file.read_text() == "text"


def test_a_name_that_somebody_else_took_is_not_removed(serving: StartServing, where: Path) -> None:
    running = serving()
    where.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(where))
        assert running.stop() == 0
        assert where.is_socket()


def test_without_the_option_there_is_no_thread_for_it(
    project: Project, daemon: DaemonFactory, serving: StartServing
) -> None:
    def threads(pid: int) -> set[str]:
        return {path.read_text().strip() for path in Path(f"/proc/{pid}/task").glob("*/comm")}

    plain = daemon("--spooler", project.root / "plain")
    assert "server" not in threads(plain.pid)
    assert "server" in threads(serving().pid)


UWSGITOP = r"""
import os, pty, select, signal, sys, time

pid, terminal = pty.fork()
if pid == 0:
    os.environ.update(TERM="xterm", LINES="40", COLUMNS="200")
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
screen = b""
deadline = time.monotonic() + 15
# Its first screen and two refreshes.
while screen.count(b"tx: ") < 3 and time.monotonic() < deadline:
    if select.select([terminal], [], [], 0.5)[0]:
        try:
            screen += os.read(terminal, 65536)
        except OSError:
            break
os.kill(pid, signal.SIGKILL)
sys.stdout.buffer.write(screen)
"""


@pytest.mark.parametrize("form", ["path", "abstract", "port", "http"])
def test_uwsgitop_shows_its_screens(project: Project, daemon: DaemonFactory, form: str) -> None:
    name = project.root.name
    address = {"path": "s.sock", "abstract": f"@{name}"}.get(form, "127.0.0.1:0")
    options = ("--stats-http", "--stats-minified") if form == "http" else ()
    running = daemon("--spooler", project.spool, "--stats", address, *options)
    shown = running.wait_log(r"serving statistics address=(\S+)")[1]
    tool = PYTHON.parent / "uwsgitop"
    assert tool.exists(), "requirements/test.txt has it"
    asked = f"http://{shown}/" if form == "http" else shown
    done = subprocess.run(
        [PYTHON, "-c", UWSGITOP, tool, "--frequency", "1", asked],
        capture_output=True,
        timeout=SECONDS_MAX * 2,
        check=True,
        cwd=project.root,
    )
    screen = done.stdout.decode("utf-8", "replace")
    assert "Traceback" not in screen, screen
    assert screen.count("uwsgi-2.0.31 - ") >= 3, screen
    assert f"masterpid: {running.pid}" in screen and str(project.root) in screen, screen
