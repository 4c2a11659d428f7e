"""Tasks to another machine's daemon: from Python and from the command line, by every way there."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import PYTHON, Daemon, Project
from signing import make_key, write_keys

MODULE = """
    import uwsgi
    from reporting import report

    def handler(env):
        env = {key: value if len(value) < 1000 else len(value) for key, value in env.items()}
        report("handler", env=env)
        return uwsgi.SPOOL_OK

    uwsgi.spooler = handler
"""

Listening = Callable[..., Daemon]


def everywhere(address: str) -> str:
    """The same port on all addresses, where strangers come, too."""
    return f"0.0.0.0:{address.rpartition(':')[2]}"


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def listening(project: Project, daemon: DaemonFactory) -> Listening:
    """Starts a daemon that listens at an address and reports what its handler gets."""

    def start(address: str, *options: str) -> Daemon:
        project.write("tasks.py", MODULE)
        return daemon(
            "--spooler", project.spool, "--import", "tasks", f"--socket={address}", *options
        )

    return start


def stranger(project: Project, source: str, **env: str) -> list[str]:
    """Lines that a process prints which knows no spool and has `unspool`."""
    return project.python(
        f"    import unspool\n{source}", env={**project.env, **env}
    ).stdout.splitlines()


def test_a_task_runs_there_and_has_an_id(project: Project, listening: Listening) -> None:
    to = free_address()
    listening(to)
    source = f"""
    task = unspool.spool({{"a": "1", b"b": b"\\xff"}}, c=2, body=b"body", spooler={to!r})
    print(task.decode())
    try:
        unspool.cancel(task)
    except ValueError as error:
        print(error)
    """
    line, refused = stranger(project, source)
    assert f"is not of this machine: cancel it at `{to}`" in refused
    address, _, task_id = line.partition("/")
    assert address == to and len(task_id) == 32
    env = project.events.wait("handler")["env"]
    assert task_id.encode() in env.pop("spooler_task_name")
    assert env == {b"a": b"1", b"b": b"\xff", b"c": b"2", "body": b"body"}


def test_a_folder_of_a_priority_takes_what_names_none(
    project: Project, daemon: DaemonFactory
) -> None:
    to = free_address()
    folder = project.spool / "7"
    external = ("--spooler-external", folder, "--spooler-external", project.spool)
    daemon(*external, f"--socket={to}", ready=False).wait_log("unspool is ready")
    source = f"""
    import uwsgi
    for priority in ({{}}, {{"priority": "3"}}):
        unspool.spool({{"a": "1"}}, spooler={to!r}, **priority)
        print(b"".join(uwsgi.send_message({to!r}, 17, 0, {{"a": "1", **priority}}, 5)))
    """
    answers = stranger(project, source, UNSPOOL_SPOOL=str(project.root / "own"))
    assert answers == [r"b'\xff\x00\x00\x01'"] * 2
    assert sorted(path.parent.name for path in project.tasks()) == ["3", "3", "7", "7"]


def test_sockets_of_all_kinds_lead_there(project: Project, listening: Listening) -> None:
    path = project.root / "s.sock"
    name = f"@unspool-{project.root.name}"
    listening(str(path), f"--socket={name}")
    for to in (str(path), f"unix:{path}", name):
        (line,) = stranger(project, f"    print(unspool.spool(a=1, spooler={to!r}).decode())")
        assert line.startswith(f"{to.removeprefix('unix:')}/")
        assert project.events.wait("handler")["env"][b"a"] == b"1"


def test_a_producer_with_a_spool_of_its_own_chooses(project: Project, listening: Listening) -> None:
    to = free_address()
    listening(to)
    own = project.root / "own"
    source = f"""
    import uwsgi
    print(uwsgi.spool(a=1).decode())
    print(uwsgi.spool(a=2, spooler={to!r}).decode())
    print(b"".join(uwsgi.send_message({to!r}, 17, 0, {{"a": "3"}}, 5)))
    try:
        uwsgi.spool(a=4, spooler="/elsewhere")
    except unspool.SpoolError as error:
        print(error)
    """
    here, there, answer, refused = stranger(project, source, UNSPOOL_SPOOL=str(own))
    assert Path(here).parent == own
    assert there.startswith(f"{to}/")
    assert answer == r"b'\xff\x00\x00\x01'"
    assert "use one of" in refused and "the address of a spooler that listens" in refused
    # `events` keeps what came meanwhile.
    both = [event["env"][b"a"] for event in project.events.collect(2, "handler")]
    assert sorted(both) == [b"2", b"3"]


def test_much_goes_and_nothing_is_cut(project: Project, listening: Listening) -> None:
    to = free_address()
    listening(to)
    source = f"    unspool.spool(body=bytes(range(256)) * 80000, big='x' * 200000, spooler={to!r})"
    stranger(project, source)
    env = project.events.wait("handler")["env"]
    # What it is, its checksum says.
    assert (env["body"], env[b"big"]) == (20_480_000, 200_000)


def test_keys_are_proved_by_both_sides(project: Project, listening: Listening) -> None:
    good, other = make_key("web"), make_key("other")
    keys = write_keys(project.root / "keys", good)
    wrong = write_keys(project.root / "wrong", other)
    forged = write_keys(project.root / "forged", make_key("web"))
    to = free_address()
    listening(everywhere(to), f"--network-keys={keys}")
    source = f"""
    def say(action):
        try:
            print(action())
        except unspool.SpoolError as error:
            print(error)
    def send():
        return unspool.spool(a=1, spooler={to!r})[:3]
    say(send)
    for name in ({str(wrong)!r}, {str(forged)!r}, {str(keys)!r}):
        unspool.configure(network_keys=name)
        say(send)
    """
    none, unknown, false, done = stranger(project, source)
    assert "a key is needed here" in none
    assert "the key `other` is not known here" in unknown
    assert "its proof with the key `web` is wrong" in false
    assert done == "b'127'"
    assert project.events.wait("handler")["env"][b"a"] == b"1"
    # What was given alone stays when the environment names a spool, and goes with the next call.
    source = f"""
    unspool.configure(network_keys={str(keys)!r})
    import uwsgi
    uwsgi.spool(a=2, spooler={to!r})
    unspool.configure(spooler="spool")
    try:
        uwsgi.spool(a=3, spooler={to!r})
    except unspool.SpoolError as error:
        print(error)
    """
    (none,) = stranger(project, source, UNSPOOL_SPOOL=str(project.root / "own"))
    assert "a key is needed here" in none
    assert project.events.wait(lambda event: event["env"][b"a"] == b"2")
    # Files are read when they are named.
    source = "    unspool.configure(network_keys='/no/such/file')"
    failed = project.python(f"    import unspool\n{source}", check=False, env=project.env)
    assert "ConfigError: `network-keys`: cannot read `/no/such/file`" in failed.stderr


def test_an_ini_names_keys_for_producers_and_workers(
    project: Project, daemon: DaemonFactory
) -> None:
    keys = write_keys(project.root / "keys", make_key("web"))
    to = free_address()
    ini = project.write(
        "app.ini",
        f"""
        [uwsgi]
        spooler = {project.spool}
        import = tasks
        socket = {everywhere(to)}
        network-keys = {keys}
        """,
    )
    project.write(
        "tasks.py",
        f"""
        from reporting import report
        from uwsgidecorators import spool

        @spool(pass_arguments=True)
        def first(a):
            # Its daemon's own listener.
            second.spool(a=str(a), spooler={to!r})

        @spool
        def second(message):
            report("second", a=message["a"])
        """,
    )
    daemon("--ini", ini)
    source = f"""
    import tasks
    # Its pickles are loaded there, since a key was proved.
    tasks.first.spool([1], spooler={to!r})
    """
    stranger(project, source, UNSPOOL_CONFIG=str(ini))
    assert project.events.wait("second")["a"] == "[1]"


def test_connections_are_kept_and_not_shared_with_children(
    project: Project, listening: Listening
) -> None:
    to = free_address()
    listener = listening(to)
    source = f"""
    import os
    from reporting import pause, report
    def send(number):
        unspool.spool(number=number, spooler={to!r})
    def connections():
        return sum(os.readlink(f"/proc/self/fd/{{fd}}").startswith("socket:")
            for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{{fd}}"))
    send(0)
    send(1)
    assert connections() == 1, connections()
    for number in (2, 3):
        if not os.fork():
            send(number)
            send(number + 2)
            os._exit(0)
        assert os.wait()[1] == 0
    send(6)
    report("waits")
    pause("restart")
    send(7)
    """
    gate = project.gate("restart")
    producer = threading.Thread(target=stranger, args=(project, source))
    producer.start()
    project.events.wait("waits")
    numbers = [event["env"][b"number"] for event in project.events.collect(7, "handler")]
    assert sorted(numbers) == [b"%d" % number for number in range(7)]
    # The kept connection dies with its listener.
    assert listener.stop() == 0
    listening(to)
    gate.release()
    producer.join()
    assert project.events.wait("handler")["env"][b"number"] == b"7"


def test_threads_and_children_at_once_lose_and_repeat_nothing(
    project: Project, listening: Listening
) -> None:
    to = free_address()
    listening(to)
    source = f"""
    import os, threading
    def send(start):
        for number in range(start, start + 20):
            unspool.spool(number=number, spooler={to!r})
    threads = [threading.Thread(target=send, args=(start,)) for start in range(0, 120, 20)]
    for thread in threads:
        thread.start()
    children = []
    for start in range(120, 200, 20):
        # In the midst of what the threads do.
        unspool.spool(number=start + 1000, spooler={to!r})
        children.append(os.fork())
        if not children[-1]:
            send(start)
            os._exit(0)
    for thread in threads:
        thread.join()
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    """
    stranger(project, source)
    numbers = [int(event["env"][b"number"]) for event in project.events.collect(204, "handler")]
    assert sorted(numbers) == [*range(200), 1120, 1140, 1160, 1180]


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def certificates(folder: Path) -> None:
    """`ca.pem`, and `server` and `client` that it signed."""
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(folder, "req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
    for name in ("server", "client"):
        extensions = (
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=CA:FALSE",
        )
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-subj", f"/CN={name}", *extensions)
        openssl(
            folder, "req", "-x509", *new, "-keyout", f"{name}.key", "-out", f"{name}.pem", *signed
        )
        (folder / f"{name}.key").chmod(0o600)


def test_tls_with_certificates_of_both_sides(project: Project, daemon: DaemonFactory) -> None:
    certificates(project.root)
    to = free_address()
    project.write("tasks.py", MODULE)
    listener = f"{to},{project.root}/server.pem,{project.root}/server.key,,{project.root}/ca.pem"
    daemon("--spooler", project.spool, "--import", "tasks", f"--suwsgi-socket={listener}")
    source = f"""
    own = {{"network_certificate": "client.pem", "network_certificate_key": "client.key"}}
    for more in ({{}}, own):
        unspool.configure(network_ca="ca.pem", **more)
        try:
            print(unspool.spool(a=1, spooler="tls:{to}").decode())
        except unspool.SpoolError as error:
            print(error)
    """
    refused, done = stranger(project, source)
    assert "not sent" in refused and "certificate" in refused.lower()
    assert done.startswith(f"tls:{to}/")
    assert project.events.wait("handler")["env"][b"a"] == b"1"


def test_the_command_line_prints_the_id(project: Project, listening: Listening) -> None:
    keys = write_keys(project.root / "keys", make_key("web"))
    to = free_address()
    listening(everywhere(to), f"--network-keys={keys}")
    given = ("--to", to, "--network-keys", str(keys))
    done = project.unspool("spool", *given, "f", "a=1", "body=b", env=project.env)
    env = project.events.wait("handler")["env"]
    assert done.stdout.strip().encode() in env["spooler_task_name"]
    assert (env[b"ud_spool_func"], env[b"a"], env["body"]) == (b"f", b"1", b"b")
    told = project.unspool("spool", *given, "--json", "f", env=project.env)
    found = json.loads(told.stdout)
    assert found["address"] == to and len(found["id"]) == 32
    for arguments, status, text in [
        (("--to", to, "f"), 1, "a key is needed here"),
        (("--to", "127.0.0.1:1", "f"), 1, "nobody listens there"),
        (("--to", "a:b:1", "f"), 2, "is no address"),
        (("--to", to, "--at", "soon", "f"), 2, "which is no time"),
        (("--to", "tls:127.0.0.1:1", "f"), 2, "give `network-ca`"),
        (("--to", to, "--durability", "none", "f"), 2, "cannot be used with"),
        (("--network-keys", str(keys), "f"), 2, "--to <ADDRESS>"),
    ]:
        failed = project.unspool("spool", *arguments, check=False, env=project.env)
        assert (failed.returncode, failed.stdout) == (status, ""), failed.stderr
        assert text in failed.stderr


def test_no_answer_is_told_from_no_task(project: Project) -> None:
    """Somebody who takes a whole task and closes, twice."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        to = f"127.0.0.1:{listener.getsockname()[1]}"

        def swallow() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    pairs = {
                        "unspool": "1",
                        "nonce": "0" * 32,
                        "task-bytes": "99999",
                        "window": "1",
                    }
                    block = b"".join(
                        len(text).to_bytes(2, "little") + text.encode()
                        for pair in pairs.items()
                        for text in pair
                    )
                    connection.sendall(b"\x64" + len(block).to_bytes(2, "little") + b"\x02" + block)
                    # The whole task is in one piece, which is read.
                    connection.recv(65536)

        thread = threading.Thread(target=swallow)
        thread.start()
        source = f"""
    try:
        unspool.spool(a=1, spooler={to!r})
    except unspool.UnansweredError as error:
        print(error.task_id, error)
        """
        (line,) = stranger(project, source)
        thread.join()
    task_id, _, text = line.partition(" ")
    assert len(task_id) == 32 and "it may be stored there or not" in text


def test_a_real_interpreter_is_not_blocked_while_it_waits(project: Project) -> None:
    """Other threads run while one waits for an answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        to = f"127.0.0.1:{listener.getsockname()[1]}"
        source = f"""
    import threading
    from reporting import report
    def send():
        try:
            unspool.spool(a=1, spooler={to!r})
        except unspool.SpoolError as error:
            print(error)
    thread = threading.Thread(target=send)
    thread.start()
    input()
    report("runs")
    thread.join()
        """
        producer = subprocess.Popen(
            [PYTHON, "-c", "import unspool\n" + source.replace("\n    ", "\n")],
            cwd=project.root,
            env=project.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            assert producer.stdin is not None
            producer.stdin.write("\n")
            producer.stdin.flush()
            project.events.wait("runs")
        out, _ = producer.communicate()
        assert "closed the connection before it greeted" in out
