"""A log file of the daemon, as tests wait for it."""

from __future__ import annotations

import re
from pathlib import Path

from harness import HarnessError
from inotify import DirectoryWatch
from processes import WAIT_SECONDS_MAX


class LogFile:
    """A file that somebody appends lines to; it need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def lines(self) -> list[str]:
        """What stands there now."""
        try:
            return self.path.read_text("utf-8", "backslashreplace").splitlines()
        except FileNotFoundError:
            return []

    def wait(self, pattern: str, timeout: float = WAIT_SECONDS_MAX) -> re.Match[str]:
        """The first line that the expression matches."""
        expression = re.compile(pattern)

        def find() -> re.Match[str] | None:
            return next(filter(None, map(expression.search, self.lines)), None)

        with DirectoryWatch(self.path.parent) as watch:
            watch.wait(lambda: find() is not None, timeout)
        found = find()
        if found is None:
            shown = "\n".join(f"  | {line}" for line in self.lines)
            raise HarnessError(f"no line of {self.path} matches {pattern!r}:\n{shown}")
        return found
