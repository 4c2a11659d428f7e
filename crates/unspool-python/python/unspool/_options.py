"""`uwsgi.opt`."""

from __future__ import annotations

from typing import Any


class Options(dict[str, "bytes | bool"]):
    """Names as str, values as bytes, True for an option without a value.

    Looking a name up works with bytes too: code written for Python 2 asks so, and finds nothing in
    uWSGI 2.0.31.
    """

    def __missing__(self, name: Any) -> bytes | bool:
        if isinstance(name, bytes):
            text = name.decode("utf-8", "surrogateescape")
            if dict.__contains__(self, text):
                return self[text]
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        if isinstance(name, bytes):
            name = name.decode("utf-8", "surrogateescape")
        return dict.__contains__(self, name)

    def get(self, name: Any, default: Any = None) -> Any:
        """The value of an option, or the default."""
        if name in self:
            return self[name]
        return default
