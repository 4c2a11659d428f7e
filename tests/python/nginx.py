"""An nginx in front, with a configuration of its own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

# What Debian's package has an application get.
PARAMS = "/etc/nginx/uwsgi_params"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextlib.contextmanager
def nginx(
    root: Path, port: int, locations: str, *, user: str = "", upstreams: str = ""
) -> Iterator[None]:
    """Runs one in a folder of `root` until the end of the block: on a port of this machine.

    With a `user` it has workers of that user, as Debian's has, else it is one process.
    """
    if (command := shutil.which("nginx")) is None:
        pytest.skip("not run: no nginx (on Debian and Ubuntu: apt install nginx)")
    folder = root / "nginx"
    folder.mkdir()
    paths = "".join(f"  {name}_temp_path {folder}/{name};\n" for name in TEMPORARY)
    processes = f"user {user};\nworker_processes 1;\n" if user else "master_process off;\n"
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off;\n{processes}pid {folder}/pid;\nerror_log stderr notice;\n"
        f"events {{}}\nhttp {{\n  access_log off;\n{paths}{upstreams}"
        f"  server {{\n    listen 127.0.0.1:{port};\n{locations}  }}\n}}\n"
    )
    with subprocess.Popen(
        [command, "-p", folder, "-c", config], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            said = []
            for line in process.stderr:
                said.append(line)
                # It listens by then.
                if "start worker process " in line or "using the" in line:
                    break
            assert process.poll() is None, said
            yield
        finally:
            process.terminate()
