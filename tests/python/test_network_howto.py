"""docs/howto/network.md does what it says of listening: its refusal, its keys, its TLS."""

from __future__ import annotations

from factory import DaemonFactory
from harness import Daemon, Project
from page import Page

PAGE = Page("howto/network.md")

MODULE = """
    from uwsgidecorators import spool
    from reporting import report

    @spool
    def mark(args):
        report("mark", id=args["id"])
"""


def port_of(running: Daemon) -> int:
    return int(running.wait_log("taking tasks from the network .*:([0-9]+)")[1])


def test_what_strangers_reach_is_refused_in_these_words(project: Project) -> None:
    ini = PAGE.block("Listening", "ini").replace("127.0.0.1:", ":")
    project.write("app.ini", ini)
    done = project.unspool("run", "app.ini", check=False)
    assert done.returncode == 2
    told = PAGE.block("Trust", "")
    assert told == f"$ unspool run app.ini\n{done.stderr}"
    assert not project.spool.exists()


def test_the_listeners_of_the_page(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", MODULE)
    project.write("app.ini", PAGE.block("Listening", "ini").replace(":10001", ":0"))
    running = daemon("app.ini")
    port = port_of(running)
    project.unspool("spool", "--to", f"127.0.0.1:{port}", "mark", "id=1")
    project.unspool("spool", "--to", str(project.root / "tasks.sock"), "mark", "id=2")
    assert {event["id"] for event in project.events.collect(2, "mark")} == {"1", "2"}


def test_keys_as_the_page_makes_them(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", MODULE)
    project.run("sh", "-c", PAGE.block("Keys", "sh"))
    project.run("sh", "-c", PAGE.block("Keys", "sh").replace("network.keys", "other.keys"))
    listen = ("--socket", "127.0.0.1:0", "--network-keys", "network.keys")
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks", *listen)
    to = ("--to", f"127.0.0.1:{port_of(running)}")
    project.unspool("spool", *to, "--network-keys", "network.keys", "mark", "id=1")
    assert project.events.collect(1, "mark")[0]["id"] == "1"
    for keys in [(), ("--network-keys", "other.keys")]:
        done = project.unspool("spool", *to, *keys, "mark", "id=2", check=False)
        assert done.returncode != 0 and "key" in done.stderr


def test_tls_as_the_page_sets_it_up(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", MODULE)
    make = PAGE.block("TLS", "sh").replace("tasks.example.org", "localhost")
    project.run("sh", "-c", f"umask 077; {make}")
    project.run("sh", "-c", f"umask 077; {make.replace('tasks.', 'clients.')}")
    ini = PAGE.block("TLS", "ini").replace("0.0.0.0:10001", "127.0.0.1:0")
    project.write("app.ini", ini + "spooler-import = tasks\n")
    running = daemon("app.ini")
    to = ("--to", f"tls:localhost:{port_of(running)}")
    project.write("client.ini", "[uwsgi]\nspooler = none\nnetwork-ca = tasks.pem\n")
    done = project.unspool("spool", *to, "--config", "client.ini", "mark", "id=1", check=False)
    assert done.returncode != 0, done.stdout
    own = "network-certificate = clients.pem\nnetwork-certificate-key = clients.key\n"
    project.write("client.ini", f"[uwsgi]\nspooler = none\nnetwork-ca = tasks.pem\n{own}")
    project.unspool("spool", *to, "--config", "client.ini", "mark", "id=2")
    assert project.events.collect(1, "mark")[0]["id"] == "2"
