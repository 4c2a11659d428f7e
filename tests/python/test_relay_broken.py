"""A task of an outbox with which something is wrong on this machine holds up no other."""

from __future__ import annotations

import pytest
from factory import DaemonFactory
from faults import unreadable
from harness import Project
from relaying import Relay
from spooling import Producer, call, foreign, publish

from torture.filesystems import NotRun
from torture.inject import need_strace


@pytest.fixture
def relay(project: Project, daemon: DaemonFactory) -> Relay:
    return Relay(project, daemon)


def test_one_that_cannot_be_read(relay: Relay) -> None:
    try:
        need_strace()
    except NotRun as reason:
        pytest.skip(str(reason))
    sender = relay.send()
    with Producer(relay.project, relay.outbox) as producer:
        producer.one("count", number="0")
        relay.wait_link("waiting")
        (broken,) = relay.waiting()
        producer.many([call("count", number=str(number)) for number in range(1, 20)])
        with unreadable(sender, [broken]):
            relay.receive()
            # It comes first, every time.
            assert sorted(relay.wait_ran(19)) == list(range(1, 20))
            sender.wait_log(f"WARN.*a task of an outbox cannot be read.*task={broken.name}")
            assert relay.waiting() == [broken]
    assert not any("cannot be used" in line for line in sender.log)
    sender.stop()
    relay.send()
    assert sorted(relay.wait_ran(20)) == list(range(20))


def test_one_that_cannot_be_put_away(relay: Relay) -> None:
    relay.receive()
    sender = relay.send()
    (relay.outbox / "dead").write_text("")
    bad = {b"ud_spool_func": b"mark", b"priority": b"a/b"}
    task = publish(relay.outbox, "bad_1", foreign(bad))
    sender.wait_log("a task of an outbox cannot be read, or not be put away")
    with Producer(relay.project, relay.outbox) as producer:
        producer.many([call("count", number=str(number)) for number in range(100)])
    assert sorted(relay.wait_ran(100)) == list(range(100))
    assert relay.waiting() == [task]
    assert not any("cannot be used" in line for line in sender.log)
