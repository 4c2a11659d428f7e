"""The stats server under load, with rude peers, and while processes hang or die."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import Project
from processes import ProcessHandle
from spooling import Producer, call, submit
from statistics_client import SECONDS_MAX, ask, connect, read_all, statistics
from statistics_daemon import MODULE, StartServing, wait_for


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.fixture
def strangers(where: Path) -> Iterator[list[socket.socket]]:
    """Connections that the test leaves open."""
    opened: list[socket.socket] = []
    yield opened
    for client in opened:
        client.close()


def test_two_hundred_connections_and_rude_peers_delay_neither_tasks_nor_answers(
    project: Project, serving: StartServing, where: Path, strangers: list[socket.socket]
) -> None:
    running = serving("--spooler-processes", "2", "--spooler-quiet")
    before = descriptors(running.pid)
    # Some never read and never close, some are gone at once, some send and go.
    strangers += [connect(where) for _ in range(30)]
    for number in range(30):
        with connect(where) as client:
            if number % 2:
                client.sendall(b"x" * 1000)
    clients = [connect(where) for _ in range(100)]
    with Producer(project) as producer:
        producer.many([call("mark") for _ in range(500)])
        clients += [connect(where) for _ in range(100)]
        project.events.collect(500, "mark")
    for client in clients:
        with client:
            said = json.loads(read_all(client))
            assert said["pid"] == running.pid
    spool = wait_for(where, lambda spool: spool["outcomes"]["done"] == 500)
    assert spool["outcomes"]["failed"] == 0
    for client in strangers:
        client.close()
    strangers.clear()
    deadline = time.monotonic() + SECONDS_MAX
    while descriptors(running.pid) > before:
        assert time.monotonic() < deadline, "connections stay open"
        statistics(where)
    assert descriptors(running.pid) <= before


@pytest.mark.parametrize("port", [False, True], ids=["path", "port"])
def test_a_thousand_at_once_are_answered_while_tasks_run(
    project: Project, daemon: DaemonFactory, strangers: list[socket.socket], port: bool
) -> None:
    project.write("tasks.py", MODULE)
    spool = ("--spooler", project.spool, "--spooler-import", "tasks", "--spooler-quiet")
    address = "127.0.0.1:0" if port else "s.sock"
    running = daemon(*spool, "--stats", address, "--stats-minified")
    where = running.wait_log(r"serving statistics address=(\S+)")[1]
    with ThreadPoolExecutor(50) as pool, Producer(project) as producer:
        answers = [pool.submit(ask, where) for _ in range(1000)]
        producer.many([call("mark") for _ in range(300)])
        project.events.collect(300, "mark")
        for answer in answers:
            assert json.loads(answer.result(SECONDS_MAX))["pid"] == running.pid
    # As many that say and read nothing: whoever comes after them is answered all the same.
    strangers += [connect(where) for _ in range(1000)]
    submit(project, "mark")
    project.events.wait("mark")
    assert statistics(where)["pid"] == running.pid


def test_peers_that_hold_every_place_are_let_go(
    serving: StartServing, where: Path, strangers: list[socket.socket]
) -> None:
    running = serving()
    strangers += [connect(where) for _ in range(600)]
    # Whoever comes after them waits for a place, no longer than a bound.
    assert statistics(where)["pid"] == running.pid
    began = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - began < SECONDS_MAX


def test_a_daemon_that_hangs_answers_nothing_and_says_so_when_it_goes_on(
    serving: StartServing, where: Path
) -> None:
    running = serving()
    # A stopped process cannot answer; what connected meanwhile is answered afterwards.
    running.send(signal.SIGSTOP)
    with connect(where) as client:
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)
        running.send(signal.SIGCONT)
        client.settimeout(SECONDS_MAX)
        assert json.loads(read_all(client))["pid"] == running.pid


def test_a_killed_worker_is_missed_until_it_is_replaced(serving: StartServing, where: Path) -> None:
    running = serving("--spooler-processes", "2")
    victim = ProcessHandle(running.workers[0])
    victim.send(signal.SIGKILL)
    assert victim.wait()
    victim.close()
    running.wait_log("worker was killed by signal 9")
    assert len(statistics(where)["spoolers"]) == 2
    spool = wait_for(where, lambda spool: sum(w["ready"] for w in spool["workers"]) == 2)
    assert sorted(worker["respawns"] for worker in spool["workers"]) == [0, 1]
