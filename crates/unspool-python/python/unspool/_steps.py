"""Steps of the options `hook-*` and `exec-*` that a process of the application takes.

Owns what each action does here; what the options mean is read in ``unspool-config``.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection
from typing import Any

# Those that change this process and nothing else.
OWN = frozenset({"chdir", "putenv"})


def take(setup: dict[str, Any], phase: str, only: Collection[str] | None = None) -> None:
    """Takes the steps of a phase in order, of all actions or of some. The process ends with the
    first that fails, as it does in uWSGI."""
    for hook in setup["hooks"]:
        if hook["phase"] != phase or (only is not None and hook["action"] not in only):
            continue
        try:
            _ACTIONS[hook["action"]](*hook["arguments"])
        except (OSError, LookupError, subprocess.CalledProcessError) as error:
            sys.exit(f"unspool: `{hook['shown']}` failed: {_told(error)}")


def _told(error: Exception) -> str:
    # The command itself is shown already, and may have secrets in it.
    if isinstance(error, subprocess.CalledProcessError):
        return f"the command's status is {error.returncode}"
    return str(error)


def _exec(command: str) -> None:
    sys.stdout.flush()
    subprocess.run(["/bin/sh", "-c", command], check=True, stdin=subprocess.DEVNULL)


def _print(text: str) -> None:
    print(text, flush=True)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _append(path: str, text: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)


def _write_fifo(path: str, text: str) -> None:
    try:
        fifo = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:
            # Nobody reads it.
            return
        raise
    with os.fdopen(fifo, "wb") as file:
        file.write(text.encode())


def _create(path: str) -> None:
    _write(path, "")


def _chmod(path: str, mode: str) -> None:
    os.chmod(path, int(mode, 8))


def _chown(path: str, user: str, group: str) -> None:
    shutil.chown(path, _number(user), _number(group))


def _number(name: str) -> str | int:
    return int(name) if name.isdecimal() else name


def _putenv(name: str, value: str) -> None:
    os.environ[name] = value


def _exit() -> None:
    sys.exit(0)


_ACTIONS: dict[str, Callable[..., None]] = {
    "exec": _exec,
    "print": _print,
    "chdir": os.chdir,
    "write": _write,
    "append": _append,
    "writefifo": _write_fifo,
    "create": _create,
    "unlink": os.unlink,
    "mkdir": os.mkdir,
    "chmod": _chmod,
    "chown": _chown,
    "putenv": _putenv,
    "exit": _exit,
}
