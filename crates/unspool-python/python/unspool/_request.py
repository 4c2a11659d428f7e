"""Names of `uwsgi` that belong to the request of a web worker, in processes that answer none.

Packages take them from the module while they are imported, and uWSGI's spooler has them: what they
do there, which is next to nothing, they do here. Those that cannot work without a request at all
are not here.
"""

from __future__ import annotations

_variables: dict[bytes, bytes] = {}


def set_logvar(name: str | bytes, value: str | bytes, /) -> None:
    """Keeps a variable for `get_logvar`: there is no request whose line it would be in."""
    _variables[_bytes(name)] = _bytes(value)


def get_logvar(name: str | bytes, /) -> bytes | None:
    """What `set_logvar` kept."""
    return _variables.get(_bytes(name))


def log_this_request() -> None:
    """Nothing: there is no request."""


def disconnect() -> None:
    """Nothing: there is no client."""


def accepting() -> None:
    """Nothing: there are no requests to accept."""


def cl() -> int:
    """0: the length of a request that is not there."""
    return 0


def request_id() -> int:
    """0: no request was answered."""
    return 0


def suspend() -> bool:
    """True: there is no other request whose turn it would be."""
    return True


def _bytes(value: str | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise TypeError(f"a bytes-like object is required, not '{type(value).__name__}'")
