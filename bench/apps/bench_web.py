"""An application that does next to nothing: what is measured is the server."""

from __future__ import annotations

from typing import Any

BODY = b"Hello world\n"
HEADERS = [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))]


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """12 bytes."""
    start_response("200 OK", HEADERS)
    return [BODY]
