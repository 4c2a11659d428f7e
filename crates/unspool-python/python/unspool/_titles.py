"""The titles of the daemon's Python processes, which `ps` and `top` show."""

from __future__ import annotations

import os
from typing import Any

from unspool import _native


class _State:
    name: str | None = None
    prefix = ""
    append = ""


_state = _State()


def configure(settings: dict[str, Any]) -> None:
    """Takes over the options `procname` and its kin."""
    _state.name = settings["name"]
    _state.prefix = settings["prefix"]
    _state.append = settings["append"]


def show(usual: str) -> None:
    """Names this process, as the options want it or else so."""
    name = usual if _state.name is None else _state.name
    _native.set_title(os.fsencode(f"{_state.prefix}{name}{_state.append}"))
