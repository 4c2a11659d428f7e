"""What a relay proves holds for the tasks of its own user: those of others in its outbox go as what
anybody may have sent, and are not signed for them."""

from __future__ import annotations

import os
import pickle
import pwd
from pathlib import Path

import pytest
from everybody import USER, root_only
from factory import DaemonFactory
from harness import Daemon, Project, wait_present
from relaying import Relay
from signing import Key, make_key, ours, verifies, write_keys
from spooling import foreign, publish

MODULE = """
    from uwsgidecorators import spool
    from reporting import report

    @spool(pass_arguments=True)
    def called(*args):
        report("called", args=list(args))

    @spool
    def plain(args):
        report("plain", id=args["id"])
"""
UID = pwd.getpwnam(USER).pw_uid
LOADED, REFUSED = True, False


def pairs(value: str) -> dict[bytes, bytes]:
    """A call with pickled arguments."""
    return {
        b"ud_spool_func": b"called", b"args": pickle.dumps((value,)), b"kwargs": pickle.dumps({}),
    }  # fmt: skip


class Trusting(Relay):
    """Both have a key of the network; with `signed` also one for tasks."""

    def __init__(self, project: Project, daemon: DaemonFactory, signed: bool) -> None:
        super().__init__(project, daemon)
        project.write("tasks.py", MODULE)
        write_keys(project.root / "net", make_key("n"))
        self.key = make_key("k")
        write_keys(project.root / "keys", self.key)
        self.keys = ("--network-keys", "net", *(("--spooler-keys", "keys") if signed else ()))
        # It makes the outbox.
        self.send(*self.keys).stop()

    def lay(self, name: str, content: bytes, uid: int, mode: int = 0o600) -> Path:
        """A file of another user, there before anybody looks at it."""
        path = publish(self.outbox, name, content)
        os.chown(path, uid, -1)
        path.chmod(mode)
        return path

    def start(self, *options: str) -> tuple[Daemon, Daemon]:
        return self.receive(*self.keys, *options), self.send(*self.keys)


@root_only
@pytest.mark.parametrize(
    ("uid", "mode", "loads"),
    [(0, 0o600, LOADED), (UID, 0o600, REFUSED), (0, 0o620, REFUSED)],
    ids=["own", "of-another", "others-write"],
)
@pytest.mark.parametrize("form", ["ours", "uwsgi"])
def test_pickles_of_others_are_not_loaded_behind_a_relay(
    project: Project, daemon: DaemonFactory, uid: int, mode: int, loads: bool, form: str
) -> None:
    relay = Trusting(project, daemon, signed=False)
    make = ours if form == "ours" else foreign
    body = b"\0" * 200_000
    relay.lay("a_1_1_1_1795000000_0", make(pairs("x"), body), uid, mode)
    # What is not pickled runs, whoever wrote it.
    plain = {b"ud_spool_func": b"plain", b"id": b"1"}
    relay.lay("a_1_1_2_1795000001_0", foreign(plain), uid, mode)
    receiver, _ = relay.start()
    if loads:
        assert relay.project.events.wait("called")["args"] == ["x"]
    else:
        receiver.wait_log("arguments of this task are pickled.*relayed a file of another user")
    assert relay.project.events.wait("plain")["id"] == "1"
    relay.wait_sent()


def dead(relay: Relay, reason: str) -> None:
    task = wait_present(relay.outbox / "dead", "uwsgi_spoolfile_on_*")
    record = wait_present(relay.outbox / "dead", f"attempts.{task.name}").read_text("utf-8")
    assert reason in record and "is not sent to" in record, record


@root_only
@pytest.mark.parametrize("form", ["ours", "uwsgi"])
def test_nothing_of_others_is_signed(project: Project, daemon: DaemonFactory, form: str) -> None:
    relay = Trusting(project, daemon, signed=True)
    make = ours if form == "ours" else foreign
    relay.lay("a_1_1_1_1795000000_0", make(pairs("forged")), UID)
    relay.lay("a_1_1_2_1795000001_0", make(pairs("own")), 0)
    relay.start()
    assert relay.project.events.wait("called")["args"] == ["own"]
    dead(relay, f"it is not signed, and its file belongs to uid {UID}")


@root_only
def test_signatures_of_others_are_judged_here(project: Project, daemon: DaemonFactory) -> None:
    """The receiver may have no keys to do that with."""
    relay = Trusting(project, daemon, signed=True)
    stranger = Key(relay.key.name, make_key("k").secret)
    relay.lay("a_1_1_1_1795000000_0", ours(pairs("forged"), key=stranger), UID)
    good = relay.lay("a_1_1_2_1795000001_0", ours(pairs("good"), key=relay.key), UID)
    assert verifies(good.read_bytes(), relay.key)
    relay.receive("--network-keys", "net")
    relay.send(*relay.keys)
    assert relay.project.events.wait("called")["args"] == ["good"]
    dead(relay, "its signature with the key `k` is wrong")


@root_only
def test_users_whose_files_count_as_signed(project: Project, daemon: DaemonFactory) -> None:
    relay = Trusting(project, daemon, signed=True)
    relay.lay("a_1_1_1_1795000000_0", ours(pairs("listed")), UID)
    relay.receive(*relay.keys)
    relay.send(*relay.keys, "--spooler-unsigned-uids", USER)
    assert relay.project.events.wait("called")["args"] == ["listed"]
