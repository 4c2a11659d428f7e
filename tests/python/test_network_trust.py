"""What `unspool run` refuses to listen on, before it creates anything."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from harness import Project
from signing import make_key, write_keys

USAGE, FAILED = 2, 1

# Any of the machine's own, but for the machine itself.
STRANGERS = ["0.0.0.0:3031", ":3031", "*:3031", "[::]:3031", "192.0.2.1:3031", "[2001:db8::1]:3031"]


@pytest.fixture
def tls(project: Project) -> tuple[Path, Path]:
    """A certificate and its key."""
    certificate, key = project.root / "cert.pem", project.root / "key.pem"
    make: list[str | Path] = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ]
    rest: list[str | Path] = [
        "-nodes",
        "-subj",
        "/CN=localhost",
        "-days",
        "30",
        "-out",
        certificate,
        "-keyout",
        key,
    ]
    subprocess.run([*make, *rest], check=True, capture_output=True, timeout=60)
    key.chmod(0o600)
    return certificate, key


def refused(project: Project, *lines: str, status: int = USAGE) -> str:
    """What a start with these lines says. All that judge them agree, and make nothing."""
    project.write("app.ini", "[uwsgi]\nspooler = s\n" + "".join(f"{line}\n" for line in lines))
    before = sorted(os.listdir(project.root))
    done = project.unspool("run", "app.ini", check=False)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    shown = project.unspool("config", "app.ini", check=False)
    assert shown.returncode == USAGE
    assert done.stderr.splitlines()[-1] in shown.stderr
    assert sorted(os.listdir(project.root)) == before
    return done.stderr


def usable(project: Project, *lines: str) -> None:
    project.write("app.ini", "[uwsgi]\nspooler = s\n" + "".join(f"{line}\n" for line in lines))
    project.unspool("config", "app.ini")


@pytest.mark.parametrize("address", STRANGERS)
def test_what_strangers_reach_needs_something_that_keeps_them_out(
    project: Project, address: str
) -> None:
    said = refused(project, f"socket = {address}")
    assert said.startswith(f"unspool: app.ini:3: `socket = {address}`: other machines reach this")
    for cure in ["network-keys = FILE", "suwsgi-socket = ADDRESS,CERTIFICATE,KEY", "network-open"]:
        assert cure in said
    usable(project, f"uwsgi-socket = {address}", "network-open = true")


@pytest.mark.parametrize("option", ["network-keys", "spooler-keys"])
def test_keys_let_a_listener_be_reached(project: Project, option: str) -> None:
    write_keys(project.root / "keys", make_key("a"))
    usable(project, "socket = :3031", f"{option} = keys")


def test_tls_lets_a_listener_be_reached(project: Project, tls: tuple[Path, Path]) -> None:
    certificate, key = tls
    usable(project, f"suwsgi-socket = :3031,{certificate},{key}")
    usable(project, f"suwsgi-socket = :3031,{certificate},{key},,{certificate}")
    # Another listener without it does not profit.
    said = refused(project, f"suwsgi-socket = :3031,{certificate},{key}", "socket = :3032")
    assert "app.ini:4: `socket = :3032`" in said


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", "[::1]:0", "s.sock", "@unspool"])
def test_this_machine_needs_nothing(project: Project, address: str) -> None:
    usable(project, f"socket = {address}")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("socket = host:port", "no address: the port is not a number"),
        ("socket = @", "no address: the name is missing"),
        ("socket = ::1:80", "no address: an IPv6 address stands in brackets"),
        ("socket = =0", "sockets are not taken over from others"),
        ("suwsgi-socket = :1,c,k,HIGH", "ciphers cannot be chosen"),
        ("allow-from = example.org", "neither an address nor a network"),
        ("network-uids = no-such-user", "`network-uids`: there is no user `no-such-user`"),
        ("chown-socket = root:no-such", "`chown-socket`: there is no group `no-such`"),
        ("chown-socket = no-such", "`chown-socket`: there is no user `no-such`"),
        ("spooler = relay:far", "app.ini:3: `spooler = relay:far`: this is neither HOST:PORT"),
        ("spooler = relay:/a:b", "app.ini:3: `spooler = relay:/a:b`: `/a:b` is no address"),
    ],
)
def test_options_that_mean_nothing(project: Project, line: str, said: str) -> None:
    assert said in refused(project, line)


def test_a_host_that_nobody_knows(project: Project) -> None:
    said = refused(project, "socket = no-such-host.invalid:3031", status=FAILED)
    assert "app.ini:3: `socket = no-such-host.invalid:3031`: its host cannot be looked up" in said


def test_keys_that_cannot_be_used(project: Project) -> None:
    line = "network-keys = keys"
    assert "`network-keys`: cannot read" in refused(project, line, status=FAILED)
    keys = project.root / "keys"
    write_keys(keys, make_key("a"))
    keys.chmod(0o644)
    said = refused(project, line)
    assert f"`network-keys`: `{keys}` has mode 0644" in said and f"chmod 600 {keys}" in said
    keys.chmod(0o600)
    usable(project, line)
    keys.write_text("short 00\n")
    assert f"`network-keys`: `{keys}` is no file of keys" in refused(project, line)


def test_certificates_that_cannot_be_used(project: Project, tls: tuple[Path, Path]) -> None:
    certificate, key = tls
    line = f"suwsgi-socket = 127.0.0.1:0,{certificate},{key}"
    usable(project, line)
    key.chmod(0o644)
    assert f"`{key}` has mode 0644" in refused(project, line)
    key.chmod(0o640)
    usable(project, line)
    said = refused(project, f"{line},,none.pem", status=FAILED)
    assert "app.ini:3: `suwsgi-socket = 127.0.0.1:0`" in said
    assert f"cannot read `{project.root / 'none.pem'}`" in said
    said = refused(project, f"suwsgi-socket = 127.0.0.1:0,{key},{key}")
    assert f"`{key}` has no certificate in it" in said
    said = refused(project, f"suwsgi-socket = 127.0.0.1:0,{certificate},{certificate}")
    assert f"`{certificate}` has mode 0644" in said


def test_a_relay_needs_what_it_sends_with(project: Project, tls: tuple[Path, Path]) -> None:
    certificate, key = tls
    line = "spooler = relay:tls:far.example.org:3031"
    assert f"app.ini:3: `{line}`: TLS needs the certificates" in refused(project, line)
    usable(project, line, f"network-ca = {certificate}")
    said = refused(project, line, "network-ca = none.pem", status=FAILED)
    assert f"app.ini:3: `{line}`: `network-ca`: cannot read" in said
    pair = ("network-certificate = cert.pem", "network-certificate-key = key.pem")
    usable(project, line, f"network-ca = {certificate}", *pair)
    key.chmod(0o644)
    said = refused(project, line, f"network-ca = {certificate}", *pair)
    assert "`network-certificate-key`" in said and "mode 0644" in said
    assert "`network-certificate` needs" in refused(project, "network-certificate = cert.pem")


def test_a_relay_needs_a_folder(project: Project) -> None:
    project.write("app.ini", "[uwsgi]\nspooler = relay:127.0.0.1:3031\n")
    done = project.unspool("run", "app.ini", check=False)
    assert done.returncode == USAGE
    assert "app.ini:2: `spooler = relay:127.0.0.1:3031`: there is no spool" in done.stderr
    assert "network-outbox = DIR" in done.stderr
    project.write("app.ini", "[uwsgi]\nspooler = relay:127.0.0.1:3031\nnetwork-outbox = out\n")
    project.unspool("config", "app.ini")
    assert not (project.root / "out").exists()
