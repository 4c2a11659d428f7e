"""Names of `uwsgi` that belong to the request of a web worker.

Packages take them from the module while they are imported, and uWSGI's spooler has them: what they
do there, which is next to nothing, they do here in processes that answer no request. Those that
cannot work without a request at all are not here.
"""

from __future__ import annotations

import threading

from unspool import _native


class _Variables(threading.local):
    serial = -1
    values: dict[bytes, bytes]


_variables = _Variables()


def _of_this_request() -> dict[bytes, bytes]:
    serial = _native.request_serial()
    if serial != _variables.serial:
        _variables.serial = serial
        _variables.values = {}
    return _variables.values


def set_logvar(name: str | bytes, value: str | bytes, /) -> None:
    """Keeps a variable for `get_logvar`, until the request ends if there is one."""
    _of_this_request()[_bytes(name)] = _bytes(value)


def get_logvar(name: str | bytes, /) -> bytes | None:
    """What `set_logvar` kept."""
    return _of_this_request().get(_bytes(name))


def log_this_request() -> None:
    """Has a line logged of this request, whatever the options say."""
    _native.log_request()


def disconnect() -> None:
    """Ends the answer, as far as it was sent: nobody waits for what the worker does on."""
    _native.end_request()


def accepting() -> None:
    """Nothing: a web worker accepts requests from its start on, and others have none."""


def cl() -> int:
    """Bytes of the request's body, as its head says; 0 if there is none."""
    return _native.request_length()


def request_id() -> int:
    """Requests that this worker answered before this one; 0 outside of one."""
    counts = _native.requests_answered()
    return counts[0] if counts else 0


def total_requests() -> int:
    """Requests that all web workers answered before this one; 0 outside of one."""
    counts = _native.requests_answered()
    return counts[1] if counts else 0


def suspend() -> bool:
    """True: there is no other request whose turn it would be."""
    return True


def _bytes(value: str | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise TypeError(f"a bytes-like object is required, not '{type(value).__name__}'")
