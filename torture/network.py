"""Two network namespaces with a link between them, which can be cut."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess

from harness import HarnessError

from torture.filesystems import NotRun

_NETWORK = "10.213.77"


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HarnessError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


class Link:
    """Two namespaces, 0 and 1; raises NotRun where they cannot be made."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise NotRun("not run: only root can make network namespaces")
        for program, package in (("ip", "iproute2"), ("nsenter", "util-linux")):
            if shutil.which(program) is None:
                raise NotRun(
                    f"not run: {program} is missing (on Debian and Ubuntu: apt install {package})"
                )
        self._names = [f"unspool-{os.getpid()}-{side}" for side in (0, 1)]
        # The name of an interface has 15 bytes.
        self._interfaces = [f"us{os.getpid()}.{side}" for side in (0, 1)]
        try:
            self._make()
        except HarnessError as error:
            self.close()
            raise NotRun(f"not run: {error}") from error

    def _make(self) -> None:
        first, second = self._interfaces
        for name in self._names:
            _ip("netns", "add", name)
        _ip("link", "add", first, "netns", self._names[0], "type", "veth",
            "peer", "name", second, "netns", self._names[1])  # fmt: skip
        for side, (name, interface) in enumerate(zip(self._names, self._interfaces, strict=True)):
            _ip("-n", name, "addr", "add", f"{self.host(side)}/24", "dev", interface)
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "link", "set", interface, "up")

    def host(self, side: int) -> str:
        """The address of a side."""
        return f"{_NETWORK}.{side + 1}"

    def within(self, side: int) -> list[str]:
        """What stands before a command that runs on a side; the process is the command's."""
        return ["nsenter", f"--net=/run/netns/{self._names[side]}"]

    def set(self, state: str) -> None:
        """Cuts it (`down`), or mends it (`up`)."""
        _ip("-n", self._names[0], "link", "set", self._interfaces[0], state)

    def close(self) -> None:
        """Removes what there is of it."""
        for name in self._names:
            with contextlib.suppress(HarnessError):
                _ip("netns", "del", name)
