"""Store and forward: tasks of an outbox reach the receiver, once, whatever becomes of either."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from factory import DaemonFactory
from faults import or_not_run
from harness import Project, wait_present
from relaying import Relay
from signing import make_key, write_keys
from spooling import Producer, call, foreign, publish

from torture.filesystems import FileSystem


@pytest.fixture
def relay(project: Project, daemon: DaemonFactory) -> Relay:
    """A receiver and a sender, not yet started."""
    return Relay(project, daemon)


def counted(*numbers: int) -> list[dict[str, object]]:
    """Calls of `count` with these numbers."""
    return [call("count", number=str(number)) for number in numbers]


def test_the_task_of_a_relay_runs_on_the_receiver(relay: Relay) -> None:
    relay.receive()
    sender = relay.send()
    with Producer(relay.project, relay.outbox) as producer:
        producer.one("mark", id="first")
        assert relay.project.events.wait("mark")["id"] == "first"
        producer.many([call("mark", id=str(number)) for number in range(300)])
    found = relay.project.events.collect(300, "mark")
    # Several are on their way at once, so that neighbours may change places.
    assert sorted(int(event["id"]) for event in found) == list(range(300))
    relay.wait_sent()
    relay.wait(lambda: relay.state()["sent"] == 301, "all are counted")
    state = relay.wait_link("connected")
    assert state["address"] == relay.address and state["pid"] == sender.pid
    assert (relay.seen(), relay.incoming()) == (301, [])


def test_tasks_of_a_uwsgi_get_an_id_on_their_way(relay: Relay) -> None:
    relay.receive()
    relay.send()
    task = foreign({b"ud_spool_func": b"mark", b"id": b"theirs"}, b"12345")
    publish(relay.outbox, "theirs_1", task)
    event = relay.project.events.wait("mark")
    assert (event["id"], event["body"]) == ("theirs", 5)
    relay.wait_sent()
    assert relay.seen() == 1


def test_tasks_wait_for_a_receiver_that_is_away(relay: Relay) -> None:
    sender = relay.send()
    with Producer(relay.project, relay.outbox) as producer:
        producer.many(counted(*range(20)))
        sender.wait_log("WARN.*tasks wait in their outbox: .*" + relay.address)
        state = relay.wait_link("waiting")
        assert relay.address in state["error"] and state["again_at"] > time.time() - 60
        assert len(relay.waiting()) == 20
        receiver = relay.receive()
        assert sorted(relay.wait_ran(20)) == list(range(20))
        sender.wait_log("INFO.*the receiver is back")
        assert receiver.stop() == 0
        # One that lost its connection finds out by itself.
        relay.wait(lambda: relay.state()["link"] != "connected", "the connection is lost")
        producer.many(counted(*range(20, 30)))
        relay.receive()
    assert sorted(relay.wait_ran(30)) == list(range(30))
    relay.wait_sent()


@pytest.mark.parametrize("victim", ["sender", "receiver"])
def test_a_killed_daemon_loses_nothing_and_stores_nothing_twice(relay: Relay, victim: str) -> None:
    daemons = {"sender": relay.send(), "receiver": relay.receive("--spooler-processes", "2")}
    starts = {"sender": relay.send, "receiver": relay.receive}
    total, rounds = 0, 6
    with Producer(relay.project, relay.outbox) as producer:
        for number in range(rounds):
            producer.many(counted(*range(total, total + 60)))
            total += 60
            # While those of this round are on their way.
            relay.wait(lambda: len(relay.waiting()) < 50, "some are sent")
            daemons[victim].kill_all()
            daemons[victim] = starts[victim]()
            assert number < rounds
    ran = relay.wait_ran(total)
    relay.wait_sent()
    assert sorted(set(ran)) == list(range(total))
    # A task runs again only if the process in which it ran was killed; a kill takes two workers.
    again = len(ran) - total
    assert again <= (2 * rounds if victim == "receiver" else 0)
    assert (relay.seen(), relay.incoming()) == (total, [])


def buried(relay: Relay, reason: str) -> None:
    """One task was given up, for that reason."""
    dead = relay.outbox / "dead"
    task = wait_present(dead, "uwsgi_spoolfile_on_*")
    record = wait_present(dead, f"attempts.{task.name}").read_text("utf-8")
    assert reason in record and relay.address in record, record
    shown = relay.project.unspool("show", "--spooler", os.fspath(relay.outbox), task.name)
    assert reason in shown.stdout, shown.stdout
    relay.wait_sent()
    assert relay.seen() == 0


def test_a_task_whose_priority_is_no_folder_is_buried(relay: Relay) -> None:
    relay.receive()
    sender = relay.send()
    publish(relay.outbox, "bad_1", foreign({b"ud_spool_func": b"mark", b"priority": b"a/b"}))
    buried(relay, "priority")
    sender.wait_log("ERROR.*a task of a relay is given up: .* refuses the task: .*priority")


def test_tasks_that_have_to_be_signed_and_are_not_are_buried(relay: Relay) -> None:
    key = write_keys(relay.project.root / "keys", make_key("a"))
    proved = write_keys(relay.project.root / "net", make_key("n"))
    relay.receive("--spooler-keys", key, "--network-keys", proved)
    relay.project.write(
        "sender.ini",
        f"[uwsgi]\nspooler = relay:{relay.address}\n"
        f"network-outbox = {relay.project.root / 'out'}\nnetwork-keys = net\n",
    )
    relay.send()
    with Producer(relay.project, relay.outbox) as producer:
        producer.one("mark", id="unsigned")
    buried(relay, "sign")


def test_tasks_wait_for_a_receiver_that_is_full(relay: Relay) -> None:
    gate = relay.project.gate("hold")
    relay.receive("--spooler-max-pending", "3")
    relay.send()
    with Producer(relay.project, relay.outbox) as producer:
        producer.many([call("hold", id=str(number)) for number in range(12)])
    state = relay.wait_link("waiting")
    assert "spooler-max-pending" in state["error"]
    # What is stored counts a moment later, when the daemon has seen it.
    assert len(relay.project.tasks()) <= 5
    assert len(relay.waiting()) >= 7
    gate.release(12)
    found = relay.project.events.collect(12, "hold")
    assert sorted(int(event["id"]) for event in found) == list(range(12))
    relay.wait_sent()
    assert not list((relay.outbox / "dead").glob("*"))


def test_a_paused_outbox_sends_nothing(relay: Relay) -> None:
    relay.receive()
    relay.send()
    where = ("--spooler", os.fspath(relay.outbox))
    with Producer(relay.project, relay.outbox) as producer:
        producer.one("mark", id="before")
        relay.project.events.wait("mark")
        relay.project.unspool("pause", *where)
        producer.many([call("mark", id="held"), call("mark", id="held")])
        time.sleep(0.5)
        assert len(relay.waiting()) == 2 and relay.project.tasks() == []
        relay.project.unspool("resume", *where)
        relay.project.events.collect(2, "mark")
        # A function alone.
        relay.project.unspool("pause", *where, "--func", "mark")
        producer.many([call("mark", id="held"), *counted(1)])
        assert relay.wait_ran(1) == [1]
        assert len(relay.waiting()) == 1
        relay.project.unspool("resume", *where, "--func", "mark")
        assert relay.project.events.wait("mark")["id"] == "held"


def test_what_is_paused_keeps_nobody_busy_and_nothing_else_waiting(relay: Relay) -> None:
    relay.receive()
    sender = relay.send()
    where = ("--spooler", os.fspath(relay.outbox))
    relay.project.unspool("pause", *where, "--func", "mark")
    with Producer(relay.project, relay.outbox) as producer:
        producer.many([call("mark", id=str(number)) for number in range(3000)])
        producer.many(counted(1))
        assert relay.wait_ran(1) == [1]
        before = cpu_seconds(sender.pid)
        time.sleep(3)
        assert cpu_seconds(sender.pid) - before < 0.5
        assert len(relay.waiting()) == 3000
        relay.project.unspool("resume", *where, "--func", "mark")
        relay.project.events.collect(3000, "mark")
    relay.wait_sent()


def cpu_seconds(pid: int) -> float:
    """What a process has used of its processors."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_task_in_an_outbox_is_moved_only_there(relay: Relay) -> None:
    relay.send()
    with Producer(relay.project, relay.outbox) as producer:
        producer.one("mark", id="stays")
    (task,) = relay.waiting()
    where = ("--spooler", os.fspath(relay.outbox))
    done = relay.project.unspool("mv", "--priority", "3", *where, task.name, check=False)
    assert done.returncode == 1 and f"goes to {relay.address}" in done.stderr
    assert task.exists()


def test_many_relays_that_hang_end_together(relay: Relay) -> None:
    with contextlib.ExitStack() as open_:
        silent = [open_.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(4)]
        addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in silent]
        lines = "".join(f"spooler = relay:{address}\n" for address in addresses)
        out = relay.project.root / "out"
        relay.project.write("many.ini", f"[uwsgi]\n{lines}network-outbox = {out}\n")
        running = relay.daemon("many.ini", ready=False)
        running.wait_log("relaying tasks")
        for address in addresses:
            with Producer(relay.project, out / address.replace(":", "=3A")) as producer:
                producer.one("mark", id="waits")
        for server in silent:
            open_.enter_context(server.accept()[0])
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 8


def test_a_task_that_is_due_later_waits_on_the_receiver(relay: Relay) -> None:
    relay.receive()
    relay.send()
    with Producer(relay.project, relay.outbox) as producer:
        producer.one("mark", id="later", at="4000000000")
        task = wait_present(relay.project.spool, "uwsgi_spoolfile_on_*")
        assert int(task.stat().st_mtime) == 4_000_000_000
        relay.wait_sent()
        producer.one("mark", id="now")
    assert relay.project.events.wait("mark")["id"] == "now"
    os.utime(task, (1, 1))
    assert relay.project.events.wait("mark")["id"] == "later"


def test_large_bodies_travel_in_pieces(relay: Relay) -> None:
    receiver = relay.receive()
    relay.send()
    body = 20 << 20
    with Producer(relay.project, relay.outbox) as producer:
        producer.many([{"ud_spool_func": "mark", "id": str(n), "body": bytes(body)} for n in "ab"])
    found = relay.project.events.collect(2, "mark")
    assert [event["body"] for event in found] == [body, body]
    # Neither side has a body in memory.
    with open(f"/proc/{receiver.pid}/status", encoding="ascii") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    assert peak < 60 << 10


def test_urgent_tasks_go_first(relay: Relay) -> None:
    receiver = relay.receive()
    assert receiver.stop() == 0
    order = [("3", "d"), ("", "f"), ("1", "a"), ("3", "e"), ("2", "c"), ("1", "b")]
    sender = relay.send()
    assert sender.stop() == 0
    with Producer(relay.project, relay.outbox) as producer:
        producer.many([
            call("count", number=str(ord(name)), **({"priority": level} if level else {}))
            for level, name in order
        ])  # fmt: skip
    relay.send()
    relay.wait_link("waiting")
    # Without priorities of its own, the receiver runs them as they come: in the order of their ids.
    relay.receive()
    ran = [chr(number) for number in relay.wait_ran(6)]
    assert sorted(ran) == list("abcdef")
    relay.wait_sent()


def test_of_two_daemons_with_one_outbox_one_forwards(relay: Relay) -> None:
    relay.receive()
    first, second = relay.send(), relay.send()
    with Producer(relay.project, relay.outbox) as producer:
        producer.many(counted(*range(100)))
        assert sorted(relay.wait_ran(100)) == list(range(100))
        assert relay.state()["pid"] == first.pid
        first.kill()
        relay.wait(lambda: relay.state()["pid"] == second.pid, "the other one takes over")
        producer.many(counted(*range(100, 200)))
    assert sorted(relay.wait_ran(200)) == list(range(200))
    assert relay.seen() == 200


def test_a_stop_with_tasks_on_their_way_loses_none(relay: Relay) -> None:
    receiver = relay.receive()
    with Producer(relay.project, relay.outbox) as producer:
        for number in range(3):
            sender = relay.send()
            producer.many(counted(*range(number * 300, number * 300 + 300)))
            relay.wait(lambda: len(relay.waiting()) < 290, "some are sent")
            # The last time nobody answers: the end waits a bounded time.
            if number == 2:
                receiver.send(signal.SIGSTOP)
            began = time.monotonic()
            assert sender.stop() == 0
            assert time.monotonic() - began < 20
        receiver.send(signal.SIGCONT)
        relay.send()
    ran = relay.wait_ran(900)
    assert sorted(ran) == list(range(900))
    relay.wait_sent()
    assert relay.seen() == 900


def test_an_outbox_on_a_full_disk_sends_what_it_has(
    project: Project, daemon: DaemonFactory
) -> None:
    with or_not_run():
        disk = FileSystem("ext4")
    try:
        relay = Relay(project, daemon)
        (project.root / "out").symlink_to(disk.path)
        relay.send()
        with Producer(project, relay.outbox) as producer:
            producer.many(counted(*range(40)))
            relay.wait_link("waiting")
            with disk.filled():
                with pytest.raises(Exception, match="No space left on device"):
                    producer.one("mark", id="refused", body="x" * 9000)
                relay.receive()
                assert sorted(relay.wait_ran(40)) == list(range(40))
                relay.wait_sent()
            producer.many(counted(40))
        assert sorted(relay.wait_ran(41)) == list(range(41))
        assert relay.seen() == 41
        # Before their folder goes.
        daemon.close()
    finally:
        disk.close()


def test_a_task_names_its_relay(relay: Relay) -> None:
    """The form of the documentation: by the address, in a process that has the configuration."""
    relay.receive()
    relay.send()
    source = f"""
    import uwsgi, unspool
    uwsgi.spool({{"ud_spool_func": "mark", "id": "one"}}, spooler="relay:{relay.address}")
    unspool.spool(ud_spool_func="mark", id="two", spooler="relay:{relay.address}")
    """
    config = os.fspath(relay.project.root / "sender.ini")
    relay.project.python(source, env={**relay.project.env, "UNSPOOL_CONFIG": config})
    found = relay.project.events.collect(2, "mark")
    assert sorted(event["id"] for event in found) == ["one", "two"]
    relay.wait_sent()
