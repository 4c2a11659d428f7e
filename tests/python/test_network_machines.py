"""docs/howto/network.md between two machines, as far as two network namespaces are two: submitting,
keys, TLS and relays, with the names and the addresses of the page."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import or_not_run
from harness import PYTHON, UNSPOOL, Daemon, Project
from page import Page

from torture.network import Link

PAGE = Page("howto/network.md")
HOST = "tasks.example.org"
WEB, TASKS = 0, 1
# The name of the page is that of the other namespace's address, for what runs here.
WITHIN = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'

MODULE = """
    from uwsgidecorators import spool
    from reporting import report as told

    @spool
    def report(args):
        told("report", year=args.get("year"))
"""


class Machines:
    """Both, with a folder each: the receiver's is the project's."""

    def __init__(self, project: Project, link: Link) -> None:
        self.project, self.link = project, link
        self.web = project.root / "web"
        self.web.mkdir()
        self.keys = project.root / "etc"
        self.keys.mkdir()
        hosts = f"127.0.0.1 localhost\n{link.host(TASKS)} {HOST}\n{link.host(WEB)} web\n"
        project.write("hosts", hosts)
        for folder in (project.root, self.web):
            (folder / "tasks.py").write_text("")
        project.write("tasks.py", MODULE)
        project.write("web/tasks.py", MODULE)
        self.daemons: list[Daemon] = []

    def within(self, side: int, *command: str | Path) -> list[str]:
        """A command on one of the machines."""
        hosts = os.fspath(self.project.root / "hosts")
        named = ["unshare", "-m", "sh", "-c", WITHIN, "sh", hosts, *self.link.within(side)]
        return [*named, *(os.fspath(part) for part in command)]

    def start(self, side: int, config: str) -> Daemon:
        folder = self.web if side == WEB else self.project.root
        command = self.within(side, UNSPOOL, "run", config)
        made = Daemon(cwd=folder, env=self.project.env, command=tuple(command)).start()
        self.daemons.append(made)
        return made

    def listen(self, text: str, name: str = "app.ini") -> Daemon:
        """A daemon on the machine for tasks, with the lines of the page."""
        self.project.write(name, f"{text}spooler-import = tasks\n")
        made = self.start(TASKS, name)
        made.wait_log("taking tasks from the network .*:10001")
        return made

    def web_run(self, *command: str | Path, config: str = "", check: bool = True) -> str:
        """A command on the machine for the web; what it prints."""
        names = ("UNSPOOL_SPOOL", "UNSPOOL_CONFIG")
        env = {name: value for name, value in self.project.env.items() if name not in names}
        if config:
            env["UNSPOOL_CONFIG"] = config
        done = subprocess.run(
            self.within(WEB, *command), cwd=self.web, env=env, text=True, timeout=60,
            capture_output=True, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) == check, done.stdout + done.stderr
        return done.stdout if check else done.stderr

    def here(self, text: str) -> str:
        """Files of the page's, where this test has them."""
        return text.replace("/etc/unspool", os.fspath(self.keys))

    def ran(self) -> object:
        return self.project.events.wait("report")["year"]

    def close(self) -> None:
        for one in self.daemons:
            one.close()


@pytest.fixture
def machines(project: Project) -> Iterator[Machines]:
    with or_not_run():
        link = Link()
    made = Machines(project, link)
    try:
        yield made
    finally:
        made.close()
        link.close()


def make_keys(machines: Machines) -> None:
    subprocess.run(["sh", "-c", PAGE.block("Keys", "sh")], cwd=machines.keys, check=True)


def open_listener(machines: Machines) -> str:
    """The first listener of the page, for all machines, with a key."""
    lines = [line for line in PAGE.block("Listening", "ini").splitlines() if ".sock" not in line]
    text = "\n".join(lines).replace("127.0.0.1:", ":").replace("spooler-import = tasks", "")
    return machines.here(f"{text}\nnetwork-keys = /etc/unspool/network.keys\n")


def test_submitting_with_a_key(machines: Machines) -> None:
    make_keys(machines)
    machines.listen(open_listener(machines))
    shell, *_ = PAGE.blocks("Submitting", "")
    refused = machines.web_run("sh", "-c", f"PATH={UNSPOOL.parent}:$PATH; {shell}", check=False)
    assert refused.startswith("unspool: not sent: `tasks.example.org:10001` refuses this client: ")
    (with_key,) = (block for block in PAGE.blocks("With a key", "") if "--network-keys" in block)
    command = machines.here(with_key).strip() + " year=2025"
    printed = machines.web_run("sh", "-c", f"PATH={UNSPOOL.parent}:$PATH; {command}")
    assert len(printed.strip()) == 32 and machines.ran() == "2025"
    # A process without a configuration, and one that has a spool of its own.
    configure = machines.here(PAGE.block("With a key", "python"))
    anonymous = 'unspool.spool({"ud_spool_func": "report", "year": "2026"}, spooler=ADDRESS)'
    address = f"{HOST}:10001"
    source = f"import unspool\nADDRESS = {address!r}\n{configure}\nprint({anonymous})"
    assert f"{address}/" in machines.web_run(PYTHON, "-c", source)
    assert machines.ran() == "2026"
    ini = machines.here(PAGE.block("With a key", "ini"))
    (machines.web / "web.ini").write_text(f"{ini}spooler = %dspool\n")
    (form,) = (line for line in PAGE.block("Submitting", "python").splitlines() if HOST in line)
    machines.web_run(PYTHON, "-c", f"from tasks import report\n{form}", config="web.ini")
    assert machines.ran() == "2026"


def test_a_relay_with_a_key(machines: Machines) -> None:
    make_keys(machines)
    listener = open_listener(machines)
    first = machines.listen(listener)
    key = machines.here(PAGE.block("With a key", "ini")).replace("[uwsgi]\n", "")
    (machines.web / "web.ini").write_text(f"{PAGE.block('Relays', 'ini')}{key}import = tasks\n")
    sender = machines.start(WEB, "web.ini")
    sender.wait_log("relaying tasks")
    call = f"import uwsgi\nfrom tasks import report\n{PAGE.block('Relays', 'python')}"
    told = machines.web_run(
        PYTHON, "-c", f"{call}\nprint(uwsgi.spoolers[1].decode())", config="web.ini"
    )
    assert told.strip() == f"relay:{HOST}:10001" and machines.ran() == "2026"
    outbox = machines.web / "spool" / ".unspool" / "outbox"
    assert [path.name for path in outbox.iterdir()] == [f"{HOST}=3A10001"]
    # While the receiver is away, and after that.
    first.stop()
    machines.web_run(PYTHON, "-c", call, config="web.ini")
    sender.wait_log("tasks wait in their outbox: .*nobody listens there")
    for command in ("ls", "stats", "doctor"):
        arguments = ["web.ini"] if command == "doctor" else []
        assert HOST in machines.web_run(UNSPOOL, command, *arguments, config="web.ini")
    (task,) = (outbox / f"{HOST}=3A10001").glob("uwsgi_*")
    assert "It waits to be sent on to" in machines.web_run(UNSPOOL, "why", task, config="web.ini")
    machines.listen(listener)
    assert machines.ran() == "2026"


def test_tls_with_certificates_of_both(machines: Machines) -> None:
    make = PAGE.block("TLS", "sh")
    for name, host in (("tasks", HOST), ("web", "web")):
        text = make.replace(HOST, host).replace("tasks.pem", f"{name}.pem")
        text = text.replace("tasks.key", f"{name}.key")
        subprocess.run(
            ["sh", "-c", f"umask 077; {text}"], cwd=machines.keys, check=True, capture_output=True
        )
    read = {name: (machines.keys / name).read_text() for name in ("tasks.pem", "web.pem")}
    (machines.keys / "ca.pem").write_text(read["tasks.pem"])
    (machines.keys / "clients.pem").write_text(read["web.pem"])
    for name in ("tasks.pem", "tasks.key", "clients.pem"):
        (machines.project.root / name).write_bytes((machines.keys / name).read_bytes())
        (machines.project.root / name).chmod(0o600)
    running = machines.listen(PAGE.block("TLS", "ini"))
    client = machines.here(PAGE.blocks("With a key", "ini")[1])
    (machines.web / "client.ini").write_text(f"{client}spooler = %dspool\n")
    to = ("spool", "--to", f"tls:{HOST}:10001")
    machines.web_run(UNSPOOL, *to, "--config", "client.ini", "report", "year=1")
    assert machines.ran() == "1"
    # Who just goes is not complained of.
    assert not any("network:" in line for line in running.log)
    ca = ("--network-ca", machines.keys / "ca.pem")
    assert "CertificateRequired" in machines.web_run(UNSPOOL, *to, *ca, "report", check=False)
    plain = machines.web_run(UNSPOOL, "spool", "--to", f"{HOST}:10001", "report", check=False)
    assert f"it wants TLS (`tls:{HOST}:10001`)" in plain
    relay = f"spooler = relay:tls:{HOST}:10001\nnetwork-outbox = %dout\n"
    (machines.web / "relay.ini").write_text(f"{client}{relay}")
    machines.start(WEB, "relay.ini").wait_log("relaying tasks")
    (outbox,) = (machines.web / "out").iterdir()
    machines.web_run(UNSPOOL, "spool", "--spooler", outbox, "report", "year=2")
    assert machines.ran() == "2"


def test_tls_is_not_spoken_to_who_speaks_none(machines: Machines) -> None:
    text = PAGE.block("Listening", "ini").replace("127.0.0.1:", ":")
    text = text.replace("spooler-import = tasks\n", "")
    machines.listen(f"{text}network-open = true\n")
    make = PAGE.block("TLS", "sh")
    subprocess.run(["sh", "-c", make], cwd=machines.keys, check=True, capture_output=True)
    ca = ("--network-ca", machines.keys / "tasks.pem")
    said = machines.web_run(
        UNSPOOL, "spool", "--to", f"tls:{HOST}:10001", *ca, "report", check=False
    )
    assert "does it listen with TLS there (`suwsgi-socket`)?" in said
