"""Web workers: started, replaced, limited, reloaded and stopped by the real daemon."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import Daemon, Project, wait_gone
from processes import wait_ended
from web import APPLICATION, Held, Load, exchange, get, packet, port_of, uwsgi_get, version

OPTIONS = ("--module", "app", "--http-socket", "127.0.0.1:0")
FAILED = 500


@pytest.fixture(autouse=True)
def application(project: Project) -> None:
    project.write("app.py", APPLICATION)


def start(project: Project, daemon: DaemonFactory, *options: str | Path) -> tuple[Daemon, int]:
    """A daemon with a spool and web workers, and the port of these."""
    running = daemon("--spooler", project.spool, *OPTIONS, *options)
    return running, port_of(running)


def pids(port: int, count: int) -> set[int]:
    """The processes that answer, once so many have."""
    found: set[int] = set()
    deadline = time.monotonic() + 20
    while len(found) < count:
        assert time.monotonic() < deadline, found
        found.add(get(port).told["pid"])
    return found


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0")


def test_as_many_as_asked_for_answer_and_have_numbers_and_titles(
    project: Project, daemon: DaemonFactory
) -> None:
    running, port = start(project, daemon, "--processes", "3")
    assert re.search(r"unspool is ready .*workers=1 mules=0 web=3", "\n".join(running.log))
    found: dict[int, int] = {}
    while len(found) < 3:
        told = get(port).told
        found[told["worker"]] = told["pid"]
    assert sorted(found) == [1, 2, 3]
    assert [title(found[number]) for number in (1, 2, 3)] == [
        f"unspool web worker {number}" for number in (1, 2, 3)
    ]
    assert running.stop() == 0
    wait_ended(*found.values())


def test_without_a_socket_or_an_application_there_are_none(
    project: Project, daemon: DaemonFactory
) -> None:
    running = daemon("--spooler", project.spool, "--module", "app", "--processes", "3")
    assert "web=" not in "\n".join(running.log)
    assert len(running.workers) == 1
    options = ("--spooler-import", "app", "--http-socket", "127.0.0.1:0")
    running = daemon("--spooler", project.root / "other", *options)
    assert "web=" not in "\n".join(running.log)
    running.wait_log("`http-socket` has no effect here: there is no application")


def test_all_kinds_of_addresses_are_served(project: Project, daemon: DaemonFactory) -> None:
    name = f"@unspool-{os.getpid()}"
    running, port = start(
        project, daemon, "--http", "127.0.0.1:0", "--socket", "app.sock", "--socket", name
    )
    second = running.wait_log(
        r"answering requests of HTTP .*:([0-9]+)",
        since=running.after(running.wait_log("requests of HTTP")),
    )
    assert get(int(second[1])).status == get(port).status == 200
    assert uwsgi_get(project.root / "app.sock").told["path"] == "/"
    assert uwsgi_get(Path(f"\0{name[1:]}")).told["path"] == "/"
    assert (project.root / "app.sock").stat().st_mode & 0o777 == 0o600
    assert running.stop() == 0
    assert not (project.root / "app.sock").exists()


def test_mode_and_owner_of_a_socket_are_those_of_the_options(
    project: Project, daemon: DaemonFactory
) -> None:
    group = os.getgid()
    daemon(
        *("--spooler", project.spool, "--module", "app", "--http-socket", "h.sock"),
        *("--chmod-socket=664", f"--chown-socket=:{group}"),
    )
    stat = (project.root / "h.sock").stat()
    assert (stat.st_mode & 0o777, stat.st_gid) == (0o664, group)


def test_a_request_submits_and_its_task_runs(project: Project, daemon: DaemonFactory) -> None:
    _, port = start(project, daemon)
    assert get(port, "/spool?from-a-request").status == 200
    assert project.events.wait("note")["what"] == "from-a-request"


def test_a_task_on_the_applications_socket_spools(project: Project, daemon: DaemonFactory) -> None:
    running, _ = start(project, daemon, "--socket", "app.sock", "--processes", "2")
    running.wait_log("answering requests, and taking tasks from the network")
    task = packet(17, {"ud_spool_func": "note", "what": "from-a-packet"})
    assert exchange(project.root / "app.sock", task) == b"\xff\0\0\1"
    assert project.events.wait("note")["what"] == "from-a-packet"
    assert exchange(project.root / "app.sock", packet(100, {})) == b"d\0\0\1"
    # One of ours speaks its own protocol there.
    where = project.root / "app.sock"
    project.unspool("spool", "--to", where, "note", "what=from-a-peer")
    assert project.events.wait("note")["what"] == "from-a-peer"
    # On a socket of HTTP there are no tasks.
    assert uwsgi_get(where).status == 200


def test_a_socket_that_others_reach_needs_a_reason_and_one_of_http_does_not(
    project: Project, daemon: DaemonFactory
) -> None:
    module = ("--spooler", project.spool, "--module", "app")
    refused = project.daemon(*module, "--socket", "0.0.0.0:0").start()
    assert refused.wait_exit() == 2
    assert "other machines reach this address" in "\n".join(refused.log)
    daemon(*module, "--http-socket", "0.0.0.0:0")


def test_one_that_dies_is_replaced_and_others_answer_meanwhile(
    project: Project, daemon: DaemonFactory
) -> None:
    running, port = start(project, daemon, "--processes", "2")
    before = pids(port, 2)
    with pytest.raises(ConnectionError):
        get(port, "/die")
    died = running.wait_log(r"web worker ([12]) was killed by signal 9; replacing it .*pid=(\d+)")
    assert int(died[2]) in before
    assert get(port).status == 200
    after = pids(port, 2)
    assert len(before & after) == 1


def test_a_worker_is_replaced_after_its_requests_and_none_fails(
    project: Project, daemon: DaemonFactory
) -> None:
    options = ("--max-requests", "20", "--min-worker-lifetime", "0", "--processes", "2")
    running, port = start(project, daemon, *options)
    load = Load(port)
    mark = 0
    for _ in range(6):
        found = running.wait_log("requests are as many as `max-requests` allows", since=mark)
        mark = running.after(found)
    load.end()
    assert not load.failures
    assert len(load.pids) >= 6
    assert get(port).status == 200


def test_it_stays_for_its_least_lifetime(project: Project, daemon: DaemonFactory) -> None:
    running, port = start(project, daemon, "--max-requests", "2")
    first = {get(port).told["pid"] for _ in range(10)}
    assert len(first) == 1
    assert "max-requests" not in "\n".join(running.log)


def test_one_that_is_too_old_is_replaced_without_a_gap(
    project: Project, daemon: DaemonFactory
) -> None:
    running, port = start(project, daemon, "--max-worker-lifetime", "1")
    load = Load(port, 2)
    replaced = running.wait_log(r"it is older than `max-worker-lifetime`, 1 s.*pid=(\d+)")
    running.wait_log("web worker 1 left", since=running.after(replaced))
    load.end()
    assert not load.failures
    assert len(load.pids) >= 2


def test_one_that_has_grown_is_replaced_without_a_gap(
    project: Project, daemon: DaemonFactory
) -> None:
    running, port = start(project, daemon, "--reload-on-rss", "100")
    load = Load(port, 2)
    pid = get(port, "/grow").told["pid"]
    replaced = running.wait_log(rf"more than `reload-on-rss` allows \(100 MiB\).*pid={pid}\b")
    running.wait_log(f"web worker 1 left pid={pid}", since=running.after(replaced))
    load.end()
    assert not load.failures
    assert get(port).told["pid"] != pid


def test_the_death_of_the_zygote_costs_no_request(project: Project, daemon: DaemonFactory) -> None:
    running, port = start(project, daemon, "--processes", "2")
    before = pids(port, 2)
    load = Load(port, 2)
    zygote = int(running.wait_log(r"application imported pid=(\d+)")[1])
    os.kill(zygote, signal.SIGKILL)
    running.wait_log("reload done: new web workers answer")
    load.end()
    assert not load.failures
    assert not before & pids(port, 2)


def test_a_request_that_takes_too_long_costs_its_worker_and_says_so(
    project: Project, daemon: DaemonFactory
) -> None:
    running, port = start(
        project, daemon, "--harakiri", "0.5", "--processes", "2", "--stats", "stats.sock"
    )
    gate = project.gate("hold")
    began = time.monotonic()
    with pytest.raises(ConnectionError):
        get(port, "/hold")
    assert time.monotonic() - began < 5
    running.wait_log("a request runs longer than `harakiri`; killing its worker")
    # What its threads did.
    running.wait_log('File ".*app.py", line [0-9]+ in application')
    running.wait_log(r"web worker [12] was killed by signal .*; replacing it")
    pids(port, 2)
    stats = json.loads(exchange(project.root / "stats.sock", b""))
    assert sum(worker["harakiri_count"] for worker in stats["workers"]) == 1
    gate.release()


def test_a_reload_has_new_workers_ready_before_old_ones_leave(
    project: Project, daemon: DaemonFactory
) -> None:
    running, port = start(project, daemon, "--processes", "2")
    gate = project.gate("hold")
    held = Held(project, port)
    load = Load(port)
    for number in (2, 3, 4):
        project.write("app.py", version(number))
        mark = running.mark()
        running.send(signal.SIGHUP)
        running.wait_log("reload done: new web workers answer", since=mark)
        assert get(port).told["version"] == number
    load.end()
    assert not load.failures
    assert load.versions == {1, 2, 3, 4}
    # What was asked for before is answered by the application that it was asked of.
    assert held.waits
    gate.release()
    answer = held.end()
    assert answer is not None and answer.told["version"] == 1


def test_a_touch_reloads(project: Project, daemon: DaemonFactory) -> None:
    running, port = start(project, daemon, "--touch-reload", "app.py")
    project.write("app.py", version(2))
    running.wait_log("reload done: new web workers answer")
    assert get(port).told["version"] == 2


def test_an_application_that_cannot_be_reloaded_goes_on_as_it_was(
    project: Project, daemon: DaemonFactory
) -> None:
    running, port = start(project, daemon)
    before = get(port).told
    for broken in ("raise ValueError('broken')\n", "aplication = None\n"):
        project.write("app.py", broken)
        mark = running.mark()
        running.send(signal.SIGHUP)
        running.wait_log("reload given up", since=mark)
        assert get(port).told == before


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("raise ValueError('broken')\n", "ValueError: broken"),
        ("aplication = None\n", "there is no callable `application` in app"),
    ],
)
def test_without_an_application_requests_fail_and_tasks_are_taken(
    project: Project, daemon: DaemonFactory, source: str, why: str
) -> None:
    project.write("app.py", source)
    project.write("tasks.py", APPLICATION)
    running, port = start(project, daemon, "--spooler-import", "tasks", "--socket", "app.sock")
    running.wait_log(re.escape(why))
    assert get(port).status == FAILED
    task = packet(17, {"ud_spool_func": "note", "what": "taken"})
    assert exchange(project.root / "app.sock", task) == b"\xff\0\0\1"
    assert project.events.wait("note")["what"] == "taken"


def test_with_need_app_the_daemon_ends(project: Project) -> None:
    project.write("app.py", "raise ValueError('broken')\n")
    running = project.daemon("--spooler", project.spool, *OPTIONS, "--need-app").start()
    # As uWSGI.
    assert running.wait_exit() == 22
    log = "\n".join(running.log)
    assert "ValueError: broken" in log
    assert "the application cannot be imported, and `need-app` asks for it" in log


def test_the_callable_may_have_another_name_or_be_made(
    project: Project, daemon: DaemonFactory
) -> None:
    made = APPLICATION.replace("def application(", "def answer(")
    made += """
    def make():
        report("made", pid=os.getpid())
        return answer
"""
    project.write("app.py", made)
    for number, options in enumerate(
        [
            ("--module", "app:answer"),
            ("--module", "app", "--callable", "answer"),
            ("--wsgi-file", "app.py", "--callable", "answer"),
            ("--module", "app: make()", "--processes", "2"),
        ]
    ):
        spool = project.root / f"spool{number}"
        running = daemon("--spooler", spool, *options, "--http-socket", "127.0.0.1:0")
        assert get(port_of(running)).status == 200
    # The zygote has made it, once for all.
    assert len([event for event in project.events.history if event.name == "made"]) == 1


def test_each_imports_the_application_with_lazy_apps(
    project: Project, daemon: DaemonFactory
) -> None:
    running, port = start(project, daemon, "--lazy-apps", "--processes", "2")
    first = pids(port, 2)
    project.write("app.py", version(2))
    mark = running.mark()
    running.send(signal.SIGHUP)
    running.wait_log("reload done: new web workers answer", since=mark)
    assert get(port).told["version"] == 2
    assert not first & pids(port, 2)


def test_a_stop_lets_requests_end(project: Project, daemon: DaemonFactory) -> None:
    running, port = start(project, daemon)
    gate = project.gate("hold")
    held = Held(project, port)
    running.send(signal.SIGTERM)
    running.wait_log("stopping")
    gate.release()
    answer = held.end()
    assert answer is not None and answer.status == 200
    assert running.wait_exit() == 0


def test_one_that_does_not_leave_is_killed_after_the_mercy(
    project: Project, daemon: DaemonFactory
) -> None:
    running, port = start(project, daemon, "--worker-reload-mercy", "1")
    gate = project.gate("hold")
    held = Held(project, port)
    mark = running.mark()
    running.send(signal.SIGHUP)
    running.wait_log("a web worker outstays `worker-reload-mercy`; killing it", since=mark)
    assert held.end() is None
    assert get(port).status == 200
    gate.release()


def test_the_next_daemon_finds_the_sockets_free_after_a_kill(
    project: Project, daemon: DaemonFactory
) -> None:
    options = ("--spooler", project.spool, "--module", "app", "--socket", "app.sock")
    running = daemon(*options, "--http-socket", "127.0.0.1:0", "--processes", "2")
    port = port_of(running)
    workers = pids(port, 2)
    running.kill()
    wait_ended(*workers)
    again = daemon(*options, "--http-socket", f"127.0.0.1:{port}")
    assert get(port_of(again)).status == 200
    assert uwsgi_get(project.root / "app.sock").status == 200


def test_statistics_tell_of_them_as_uwsgi_does(project: Project, daemon: DaemonFactory) -> None:
    _, port = start(
        project, daemon, "--socket", "app.sock", "--stats", "stats.sock", "--threads", "2"
    )
    for _ in range(3):
        assert get(port).status == 200
    gate = project.gate("hold")
    held = Held(project, port)
    stats = json.loads(exchange(project.root / "stats.sock", b""))
    names = [(socket["name"], socket["proto"]) for socket in stats["sockets"]]
    assert names == [(str(project.root / "app.sock"), "uwsgi"), (f"127.0.0.1:{port}", "http")]
    (worker,) = stats["workers"]
    assert (worker["id"], worker["requests"], worker["status"]) == (1, 3, "busy")
    assert (worker["respawn_count"], worker["harakiri_count"], worker["exceptions"]) == (1, 0, 0)
    assert worker["tx"] > 0 and worker["avg_rt"] * 3 <= worker["running_time"]
    assert sorted(core["in_request"] for core in worker["cores"]) == [0, 1]
    assert worker["rss"] > 1 << 20
    gate.release()
    assert held.end() is not None


def test_a_web_worker_holds_what_it_needs_and_no_more(
    project: Project, daemon: DaemonFactory
) -> None:
    _, port = start(project, daemon, "--socket", "app.sock", "--mules", "2")
    pid = get(port).told["pid"]
    kinds = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    # Its connection to the daemon twice, that for requests to it and that to hand over; two that
    # listen; of the mules both ends of three queues; and the client's, which may be closed by now.
    sockets = [kind for kind in kinds if kind.startswith("socket:")]
    assert len(sockets) - (4 + 2 + 6) in (0, 1), kinds
    # That of the mules, and its own.
    assert len([kind for kind in kinds if "unspool-board" in kind]) == 2, kinds


def test_a_console_beside_it_and_the_doctor_are_content(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write(
        "site.ini",
        """
        [uwsgi]
        spooler = spool
        module = app
        socket = app.sock
        """,
    )
    daemon("--ini", "site.ini")
    found = project.unspool("doctor", "site.ini", check=False)
    assert "somebody listens" in found.stdout
    path = project.unspool("spool", "note", "what=x").stdout.strip()
    wait_gone(Path(path))


def test_the_module_knows_the_request_that_is_answered(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write(
        "app.py",
        """
        import json
        import os

        import uwsgi
        from reporting import report

        def application(environ, start_response):
            path = environ["PATH_INFO"]
            before = uwsgi.get_logvar("who")
            uwsgi.set_logvar("who", path)
            told = {
                "pid": os.getpid(),
                "before": before and before.decode(),
                "who": uwsgi.get_logvar("who").decode(),
                "cl": uwsgi.cl(),
                "requests": [uwsgi.request_id(), uwsgi.total_requests()],
            }
            write = start_response("200 OK", [("Content-Type", "application/json")])
            if path == "/log":
                uwsgi.log_this_request()
            if path == "/disconnect":
                write(b"early")
                uwsgi.disconnect()
                report("after")
                return [b"late"]
            if path == "/limit":
                uwsgi.set_user_harakiri(1)
                while True:
                    pass
            if path == "/no-limit":
                uwsgi.set_user_harakiri(1)
            return [json.dumps(told).encode()]
        """,
    )
    running, port = start(project, daemon, "--disable-logging")
    first = get(port, "/a").told
    assert (first["before"], first["who"], first["requests"]) == (None, "/a", [0, 0])
    second = get(port, "/log").told
    assert (second["before"], second["requests"]) == (None, [1, 1]), "a request's own"
    running.wait_log(r"\[pid: .* GET /log => ")
    assert "GET /a" not in "\n".join(running.log)
    assert get(port, "/disconnect").body == b"early"
    project.events.wait("after")
    # A limit is over with its request; one that is not kept costs the worker.
    pid = first["pid"]
    assert get(port, "/no-limit").status == 200
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        get(port, "/limit")
    wait_ended(pid)
    running.wait_log(f"web worker .*{pid}|{pid}.*web worker")
    assert get(port, "/a").told["requests"][0] == 0
