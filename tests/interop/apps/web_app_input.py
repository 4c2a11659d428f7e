"""What is told of a request, and bodies that are read in every way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from reporting import report
from web_app_kinds import PLAIN, Environ, StartResponse, invalid, keeps, told, valid


@keeps
def variables(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """All that the server says of a request; objects as their kinds."""
    shown = {
        name: value if isinstance(value, str | int | bool) else f"<{_kind(value)}>"
        for name, value in environ.items()
    }
    return told(start_response, shown)


def _kind(value: object) -> str:
    return repr(value) if isinstance(value, tuple) else type(value).__name__


def digest(data: bytes) -> object:
    """Short data as they are, long ones as a number that tells them apart."""
    if len(data) < 4096:
        return data.decode("latin-1")
    return [len(data), hashlib.sha256(data).hexdigest()]


def reading(app: Callable[[Any], object]) -> Callable[[Any], object]:
    """An application that tells what it reads of the body, or how that fails."""

    def reads(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            found = app(environ["wsgi.input"])
        except Exception as error:
            kinds = [kind.__name__ for kind in (OSError, ValueError) if isinstance(error, kind)]
            report("unread", what=app.__name__, kinds=kinds, error=str(error))
            found = ["failed", kinds]
        return told(start_response, found)

    reads.__name__ = app.__name__
    keeps(reads)
    return app


@reading
def read_by_number(body: Any) -> object:
    """A number of bytes at a time, and twice behind the end."""
    parts = [body.read(7) for _ in range(6)]
    return [digest(part) for part in parts]


@reading
def read_more_than_there_is(body: Any) -> object:
    """Once all and more."""
    return [digest(body.read(1 << 27)), digest(body.read(10))]


@reading
def read_in_large_parts(body: Any) -> object:
    """As frameworks save what is uploaded."""
    found, size = hashlib.sha256(), 0
    while part := body.read(65536):
        found.update(part)
        size += len(part)
    return [size, found.hexdigest()]


@reading
def read_nothing(body: Any) -> object:
    """No bytes, then some."""
    return [digest(body.read(0)), digest(body.read(3))]


@reading
def read_lines(body: Any) -> object:
    """Line by line to the end."""
    return [digest(body.readline()) for _ in range(8)]


@reading
def read_all_lines(body: Any) -> object:
    """Lines as a list."""
    return [digest(line) for line in body.readlines()]


@reading
def read_lines_to_a_hint(body: Any) -> object:
    """Not many lines, then the rest."""
    return [[digest(line) for line in body.readlines(12)], digest(body.read(1 << 20))]


@reading
def read_by_iteration(body: Any) -> object:
    """Lines of an iteration."""
    return [digest(line) for line in body]


@reading
def read_in_turns(body: Any) -> object:
    """Bytes and lines in turns."""
    found = [body.read(3), body.readline(), body.read(4), next(iter(body), b"over")]
    return [digest(part) for part in [*found, body.read(1 << 20)]]


# Those that the validator has no room for.


def unchecked(app: Callable[[Any], object]) -> Callable[[Any], object]:
    """Reads in a way that the validator forbids and files allow."""
    reading(app)
    invalid[app.__name__] = valid.pop(app.__name__)
    return app


@unchecked
def read_whole(body: Any) -> object:
    """Everything at once."""
    return [digest(body.read()), digest(body.read())]


@unchecked
def read_parts_of_lines(body: Any) -> object:
    """So many bytes of a line."""
    return [digest(body.readline(4)) for _ in range(12)]


@unchecked
def read_less_than_nothing(body: Any) -> object:
    """A negative number is all, in files."""
    return digest(body.read(-1))


@keeps
def not_read(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A body that nobody wants."""
    start_response("200 OK", list(PLAIN))
    return [b"not read"]
