"""Output that is compared with a snapshot: what differs from run to run is masked.

Snapshots lie in `__snapshots__`; `pytest --snapshot-update` writes those of the tests that it runs.
"""

from __future__ import annotations

import re

from harness import Project

_MASKS = [
    (r"\b[0-9a-f]{32}\b", "<id>"),
    (r"uwsgi_spoolfile_on_\S*?_\d+_\d+_\d+_\d+_\d+", "<name>"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "<time>"),
    (r"\b\d+ (?:ms|s|min|h|d)(?: \d+ (?:s|min|h))?(?= ago|\b)", "<age>"),
    (r"\bprocess \d+(?: on [^\s,]+)?", "<process>"),
    (r"\bworker \d+", "worker <pid>"),
    (r"\bpaused by \S+", "paused by <user>"),
    (r"\b0x[0-9a-f]+\b", "<address>"),
    # Of tracebacks what is not the application's, and what only newer Pythons draw.
    (r"^( *Traceback .*\n)(?: .*\n)*?(?= +File \"<project>)", r"\1"),
    (r"^ *[~^]+\n", ""),
    (r"\bpeak memory \d+ MiB", "peak memory <size>"),
    (r"\b\d+ bytes, of user \d+", "<bytes>, of user <uid>"),
]


def masked(project: Project, text: str) -> str:
    """The text without ids, times, processes and paths, and with columns of any width."""
    text = text.replace(str(project.spool), "<spool>").replace(str(project.root), "<project>")
    for pattern, mask in _MASKS:
        text = re.sub(pattern, mask, text, flags=re.M)
    # A short id stands at the start of a row.
    text = re.sub(r"^[0-9a-f]{8}(?= )", "<short>", text, flags=re.M)
    return re.sub(r"(?<=\S) {2,}", "  ", text)
