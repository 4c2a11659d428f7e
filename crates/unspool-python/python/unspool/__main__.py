"""`python -m unspool ARGS`: becomes the command `unspool`, which the wheel carries."""

from __future__ import annotations

import os
import sys
import sysconfig


def _candidates() -> list[str]:
    folders = [os.path.dirname(sys.executable), sysconfig.get_path("scripts")]
    if "posix_user" in sysconfig.get_scheme_names():
        folders.append(sysconfig.get_path("scripts", "posix_user"))
    return [os.path.join(folder, "unspool") for folder in dict.fromkeys(folders)]


def main() -> None:
    """Replaces this process by the command."""
    candidates = _candidates()
    for path in candidates:
        if os.access(path, os.X_OK) and os.path.isfile(path):
            os.execv(path, [path, *sys.argv[1:]])
    sys.exit(
        "unspool: the command is missing, looked for "
        + " and ".join(candidates)
        + "; install the wheel again: pip install --force-reinstall unspool"
    )


main()
