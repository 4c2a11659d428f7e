"""Tasks over the network: to the real uWSGI, by every form of their arguments."""

from __future__ import annotations

import ast
import socket
from typing import Any

import pytest
import taskfile
from both import Both
from harness import Project

PREFIX = "uwsgi_spoolfile_on_"


class Receiver:
    """A real uWSGI that spools what comes over TCP and a Unix socket, and runs none of it."""

    def __init__(self, both: Both, *options: str) -> None:
        self.spool = both.project.root / "remote"
        self.spool.mkdir()
        self.path = both.project.root / "remote.sock"
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.tcp = f"127.0.0.1:{listener.getsockname()[1]}"
        daemon = both._uwsgi(
            f"--socket={self.tcp}",
            f"--socket={self.path}",
            f"--spooler-external={self.spool}",
            "--processes=2",
            *options,
            env={},
        )
        daemon.wait_log("spawned uWSGI worker 2")

    def addresses(self) -> list[str]:
        return [self.tcp, str(self.path), f"unix:{self.path}"]

    def taken(self) -> list[taskfile.TaskFile]:
        """The tasks that are there, which are taken away."""
        files = []
        for path in list(self.spool.rglob(f"{PREFIX}*")):
            files.append(taskfile.read(path))
            path.unlink()
        return files


@pytest.fixture
def receiver(both: Both) -> Receiver:
    return Receiver(both, "--buffer-size=65535")


def producer(project: Project, source: str, **names: object) -> list[str]:
    """Lines that a process prints which has `uwsgi`, `unspool` and these names."""
    given = "\n".join(f"    {name} = {value!r}" for name, value in names.items())
    text = f"    import uwsgi, unspool, uwsgidecorators\n{given}\n{source}"
    return project.python(text, env=project.producer_env).stdout.splitlines()


# What is called, and the pairs that arrive.
CALLS: list[tuple[str, list[tuple[bytes, bytes]]]] = [
    ("uwsgi.spool({b'a': b'1', b'spooler': to.encode()})", [(b"a", b"1")]),
    ("uwsgi.spool({'a': 'é', 'spooler': to})", [(b"a", "é".encode())]),
    ("uwsgi.spool(test=True, spooler=to)", [(b"test", b"True")]),
    ("uwsgi.spool({'a': b'\\xff\\0'}, spooler=to.encode())", [(b"a", b"\xff\0")]),
    (
        "uwsgi.spool(a=1, b=1.5, c=bytearray(b'c'), spooler=to)",
        [(b"a", b"1"), (b"b", b"1.5"), (b"c", b"c")],
    ),
    ("uwsgi.spool(a='1', at=2000000000, spooler=to)", [(b"a", b"1"), (b"at", b"2000000000")]),
    ("uwsgi.spool(a='1', priority=5, spooler=to)", [(b"a", b"1"), (b"priority", b"5")]),
    ("uwsgi.send_to_spooler({'a': 'x' * 10000, 'spooler': to})", [(b"a", b"x" * 10000)]),
    ("unspool.spool({'a': '1'}, spooler=to, options={'max_attempts': 3})", [(b"a", b"1")]),
    (
        "unspool.spool(message_dict={'a': '1'}, spooler=to, priority=5)",
        [(b"a", b"1"), (b"priority", b"5")],
    ),
]


def test_every_form_arrives_as_a_uwsgis_own(receiver: Receiver, both: Both) -> None:
    addresses = receiver.addresses()
    for call, pairs in CALLS:
        source = f"    for to in addresses:\n        print({call})"
        lines = producer(both.project, source, addresses=addresses)
        # It tells no id. A path is shown as one, however it was given.
        shown = [ast.literal_eval(line).decode() for line in lines]
        assert shown == [address.removeprefix("unix:") for address in addresses]
        files = receiver.taken()
        assert [file.pairs for file in files] == [pairs] * len(addresses), call
        assert all((file.mark, file.body) == (None, b"") for file in files)


def test_a_priority_and_a_time_mean_there_what_they_mean_here(
    receiver: Receiver, both: Both
) -> None:
    producer(
        both.project,
        "    uwsgi.spool(a=1, at=2000000000.5, priority=7, spooler=to)",
        to=receiver.tcp,
    )
    (path,) = (receiver.spool / "7").iterdir()
    assert int(path.stat().st_mtime) == 2_000_000_000


def test_decorated_functions_go_there_with_their_arguments(receiver: Receiver, both: Both) -> None:
    source = """
    import pickle
    @uwsgidecorators.spool(pass_arguments=True, max_attempts=2)
    def add(a, b=0): ...
    @uwsgidecorators.spool
    def plain(message): ...
    print(add.spool(1, b=2, spooler=to))
    print(plain.spool(x=1, spooler=to))
    """
    producer(both.project, source, to=receiver.tcp)
    files = [taskfile.read(path) for path in receiver.spool.iterdir()]
    by_name = {dict(file.pairs)[b"ud_spool_func"]: dict(file.pairs) for file in files}
    assert set(by_name) == {b"add", b"plain"}
    assert set(by_name[b"add"]) == {b"ud_spool_func", b"ud_spool_ret", b"args", b"kwargs"}
    assert by_name[b"plain"][b"x"] == b"1"
    assert b"spooler" not in by_name[b"plain"]


REFUSED = [
    ("uwsgi.spool(a=1, body=b'b', spooler=to)", "takes no `body` over the network"),
    ("uwsgi.spool(a='x' * 70000, spooler=to)", "a uwsgi packet holds 65535"),
    ("uwsgi.spool(a=1, at='soon', spooler=to)", "which is no time"),
    ("uwsgi.spool(a=1, priority='../x', spooler=to)", "would leave the spool"),
    ("uwsgi.spool(a=1, spooler='127.0.0.1:1')", "nobody listens there"),
    ("uwsgi.spool(a=1, spooler='tls:127.0.0.1:1')", "give `network-ca`"),
    ("uwsgi.spool(a=1, spooler='::1:80')", "an IPv6 address stands in brackets"),
]


def test_what_cannot_go_is_an_error_that_says_why(receiver: Receiver, both: Both) -> None:
    for call, text in REFUSED:
        source = f"""
    try:
        {call}
    except unspool.SpoolError as error:
        print(error)
    """
        (line,) = producer(both.project, source, to=receiver.tcp)
        assert text in line, line
    assert not any(receiver.spool.iterdir())


def test_a_uwsgi_that_takes_less_or_nothing_is_told_apart(both: Both, project: Project) -> None:
    receiver = Receiver(both)
    source = """
    for value in ("x" * 5000, "y"):
        try:
            print(uwsgi.spool(a=value, spooler=to))
        except unspool.SpoolError as error:
            print(error)
    """
    long, short = producer(project, source, to=receiver.tcp)
    assert "without an answer to 5005 bytes" in long and "buffer-size" in long
    assert ast.literal_eval(short).decode() == receiver.tcp
    assert len(receiver.taken()) == 1
    receiver.spool.rename(receiver.spool.with_name("away"))
    (refused,) = producer(project, source.replace('("x" * 5000, "y")', '("y",)'), to=receiver.tcp)
    assert "did not store the task" in refused


MESSAGES: list[tuple[str, Any]] = [
    ("uwsgi.send_message(to, 17, 0, {'test': 'True'}, 5)", [(b"test", b"True")]),
    ("uwsgi.send_message(to, 17, 0, test=True, timeout=5)", [(b"test", b"True")]),
    ("uwsgi.send_message(to.encode(), 17, 0, {b'a': b'1'}, timeout=5)", [(b"a", b"1")]),
    ("uwsgi.send_message(to, 17, 0, b'\\1\\0a\\1\\0b')", [(b"a", b"b")]),
    # Over the network a body is a pair.
    ("uwsgi.send_message(to, 17, 0, {'body': b'b'})", [(b"body", b"b")]),
]


def test_messages_of_the_article_are_spooled_and_answered(receiver: Receiver, both: Both) -> None:
    addresses = receiver.addresses()
    for call, pairs in MESSAGES:
        source = f"    for to in addresses:\n        print(b''.join({call}))"
        lines = producer(both.project, source, addresses=addresses)
        assert [ast.literal_eval(line) for line in lines] == [b"\xff\0\0\1"] * len(addresses)
        assert [file.pairs for file in receiver.taken()] == [pairs] * len(addresses), call


def test_messages_of_other_kinds(receiver: Receiver, both: Both) -> None:
    source = """
    import os, socket, marshal
    print(list(uwsgi.send_message(to, 100, 0, timeout=5)))
    print(uwsgi.send_message("127.0.0.1:1", 17, 0, {}, 5))
    with socket.create_connection(tuple(to.split(":"))) as connected:
        print(list(uwsgi.send_message(connected.fileno(), 100, 0, b"", 5)))
    ours, theirs = socket.socketpair()
    with open(__file__, "rb") as file:
        reply = uwsgi.send_message(
            ours.fileno(), 5, 6, [1, "x"], fd=file.fileno(), content_length=3
        )
    packet = theirs.recv(1000)
    end = 4 + packet[1] + 256 * packet[2]
    print(packet[0], packet[3], marshal.loads(packet[4:end]), len(packet[end:]))
    print(type(iter(reply)).__name__)
    try:
        next(uwsgi.send_message(ours.fileno(), 5, 6, b"", timeout=0.05))
    except TimeoutError as error:
        print(error)
    for wrong in ((300, 0, b""), (17, 0, b"x" * 70000)):
        try:
            uwsgi.send_message(to, *wrong)
        except ValueError as error:
            print(error)
    """
    path = both.project.write("kinds.py", f"to = {receiver.tcp!r}\nimport uwsgi\n{_dedent(source)}")
    lines = both.project.python(
        f"    import runpy; runpy.run_path({str(path)!r})", env=both.project.producer_env
    ).stdout.splitlines()
    assert lines == [
        r"[b'd\x00\x00\x01']",
        "None",
        r"[b'd\x00\x00\x01']",
        "5 6 [1, 'x'] 3",
        "Replies",
        "nothing came within 0.05 s",
        "modifier1 is 300: it is one byte, from 0 to 255",
        "not sent: it has 70000 bytes, and a uwsgi packet holds 65535",
    ]


def _dedent(source: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in source.splitlines())


def test_threads_and_forks_submit_at_once(receiver: Receiver, both: Both) -> None:
    source = """
    import os, threading
    def submit():
        for number in range(10):
            uwsgi.spool(a=number, spooler=to)
    threads = [threading.Thread(target=submit) for _ in range(4)]
    [thread.start() for thread in threads]
    children = []
    for _ in range(2):
        children.append(os.fork())
        if not children[-1]:
            submit()
            os._exit(0)
    [thread.join() for thread in threads]
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    """
    producer(both.project, source, to=receiver.tcp)
    assert len(receiver.taken()) == 60
