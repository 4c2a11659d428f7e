"""`uwsgi.opt`."""

from __future__ import annotations

import re
from typing import Any

# What makes uWSGI start web workers.
SERVING = (
    "socket",
    "uwsgi-socket",
    "suwsgi-socket",
    "ssl-socket",
    "puwsgi-socket",
    "http-socket",
    "http11-socket",
    "https-socket",
    "fastcgi-socket",
    "fastcgi-nph-socket",
    "scgi-socket",
    "scgi-nph-socket",
    "raw-socket",
    "http",
    "https",
)


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

    def number(self, *names: str, default: int) -> int:
        """The digits at the start of the option's value, as uWSGI reads it. Of several names for
        one option the last one given counts.
        """
        given = [value for name, value in self.items() if name in names]
        last = given[-1] if given else b""
        digits = re.match(rb"[0-9]+", last) if isinstance(last, bytes) else None
        return int(digits[0]) if digits else default

    def web_workers(self) -> int:
        """The number of web workers that uWSGI would start."""
        if not any(name in self for name in SERVING):
            return 0
        return self.number("processes", "workers", default=1)
