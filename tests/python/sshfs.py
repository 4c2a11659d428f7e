"""A folder of another machine, as far as one machine can show that.

It is sshfs over an sshd of its own on the loopback interface, with keys and a configuration of its
own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SSHD = "/usr/sbin/sshd"
SECONDS_MAX = 30.0


@dataclass(frozen=True)
class Shared:
    """The same folder seen from both sides."""

    remote: Path
    mount: Path


def _not_run() -> str | None:
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "not run: sshfs needs root and /dev/fuse"
    missing = [tool for tool in (SSHD, "sshfs", "ssh-keygen") if shutil.which(tool) is None]
    if missing:
        tools = ", ".join(missing)
        return f"not run: no {tools} (on Debian and Ubuntu: apt install sshfs openssh-server)"
    return None


def _key(path: Path) -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True, timeout=SECONDS_MAX
    )
    return path


@contextlib.contextmanager
def _sshd(folder: Path, client: Path) -> Iterator[int]:
    """An sshd that takes this key; its port."""
    host = _key(folder / "host")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    config = folder / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {host}\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {client}.pub\nStrictModes no\nPermitRootLogin prohibit-password\n"
        "PasswordAuthentication no\nSubsystem sftp internal-sftp\n"
    )
    # Where it separates privileges.
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with subprocess.Popen(
        [SSHD, "-D", "-e", "-f", config], stderr=subprocess.PIPE, text=True
    ) as sshd:
        assert sshd.stderr is not None
        try:
            line = sshd.stderr.readline()
            assert "Server listening" in line, line
            yield port
        finally:
            sshd.terminate()


@contextlib.contextmanager
def shared(root: Path) -> Iterator[Shared]:
    """Mounts a folder; skips the test where that cannot be."""
    if reason := _not_run():
        pytest.skip(reason)
    folder = root / "ssh"
    made = Shared(folder / "remote", folder / "mount")
    for path in (folder, made.remote, made.mount):
        path.mkdir(mode=0o700)
    client = _key(folder / "client")
    # What it caches would be seen later than a scan.
    options = (
        f"IdentityFile={client},StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null,"
        "dir_cache=no,entry_timeout=0,attr_timeout=0"
    )
    with _sshd(folder, client) as port:
        command = ["sshfs", "-F", "/dev/null", "-p", str(port), "-o", options]
        mounted = subprocess.run(
            [*command, f"root@127.0.0.1:{made.remote}", made.mount],
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        if mounted.returncode != 0:
            pytest.skip(f"not run: sshfs cannot mount here: {mounted.stderr.strip()}")
        try:
            yield made
        finally:
            subprocess.run(["umount", "-l", made.mount], check=True, timeout=SECONDS_MAX)
