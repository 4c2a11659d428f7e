"""The last that a task printed and logged, kept for the record of its failure.

Standard output and error are replaced by streams that do the same and note what passes; a worker
that runs tasks keeps the end of it where its daemon reads it, also once the worker is dead. What is
written by C code, or by a stream of the application's own, is not noted.
"""

from __future__ import annotations

import io
import sys
from typing import Any

from unspool._native import note_output


class _State:
    # Texts that streams have noted.
    noted = 0


class _Stream(io.TextIOWrapper):
    def write(self, text: str, /) -> int:
        if note_output(text):
            _State.noted += 1
        return super().write(text)


def install() -> None:
    """Replaces standard output and error. Before anything of the application can hold them."""
    for name in ("stdout", "stderr"):
        old = getattr(sys, name)
        if type(old) is not io.TextIOWrapper:
            continue
        options = (old.encoding, old.errors, None, old.line_buffering, old.write_through)
        old.flush()
        new: Any = _Stream(old.detach(), *options)
        new.mode = "w"
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)


def watch_logging() -> None:
    """Notes records of `logging` that do not go to one of these streams, too."""
    logging = sys.modules.get("logging")
    if logging is None:
        return
    handle = logging.Logger.callHandlers

    def handle_and_note(self: Any, record: Any) -> None:
        before = _State.noted
        handle(self, record)
        if _State.noted == before:
            note_output(f"{record.levelname} {record.name}: {record.getMessage()}\n")

    logging.Logger.callHandlers = handle_and_note
