"""What the applications of `web_app` are made with: who keeps to PEP 3333, and what they answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from reporting import report

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], Any]]
Application = Callable[[Environ, StartResponse], Any]

PLAIN = [("Content-Type", "text/plain")]

# Those that keep to PEP 3333, and those that do not.
valid: dict[str, Application] = {}
invalid: dict[str, Application] = {}


def keeps(app: Application) -> Application:
    """An application that keeps to PEP 3333."""
    valid[app.__name__] = app
    return app


def breaks(app: Application) -> Application:
    """An application that does not."""
    invalid[app.__name__] = app
    return app


class Parts:
    """An iterable whose end is told."""

    def __init__(self, *parts: bytes, name: str = "") -> None:
        self._parts = iter(parts)
        self._name = name

    def __iter__(self) -> Iterator[bytes]:
        return self._parts

    def close(self) -> None:
        """Called by the server, whatever happened."""
        report("closed", what=self._name)


def told(start_response: StartResponse, what: object) -> Iterable[bytes]:
    """Answers with what was found."""
    body = json.dumps(what).encode()
    start_response("200 OK", [*PLAIN, ("Content-Length", str(len(body)))])
    return [body]
