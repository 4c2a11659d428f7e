"""Answers of every form: bodies, statuses, headers, files."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable
from typing import Any

from web_app_kinds import PLAIN, Environ, Parts, StartResponse, keeps

FILE = os.path.join(os.environ["UNSPOOL_TEST_ROOT"], "file")
PART = b"x" * 65536

# Bodies


@keeps
def as_list(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The usual."""
    start_response("200 OK", list(PLAIN))
    return [b"hello"]


@keeps
def as_long_list(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Parts, empty ones among them."""
    start_response("200 OK", list(PLAIN))
    return [b"", b"one ", b"", b"two ", b"three", b""]


@keeps
def as_tuple(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Parts of a tuple."""
    start_response("200 OK", list(PLAIN))
    return (b"one ", b"two")


@keeps
def as_generator(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Parts that come one by one."""
    start_response("200 OK", list(PLAIN))
    return (part for part in (b"one ", b"", b"two"))


@keeps
def as_iterable(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Parts of an object that is to be closed."""
    start_response("200 OK", list(PLAIN))
    return Parts(b"one ", b"two", name="as_iterable")


@keeps
def empty_list(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """No body."""
    start_response("200 OK", list(PLAIN))
    return []


@keeps
def empty_part(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """No body either."""
    start_response("200 OK", list(PLAIN))
    return [b""]


@keeps
def empty_generator(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Nor here."""
    start_response("200 OK", list(PLAIN))
    return iter(())


@keeps
def written(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The way of old applications."""
    write = start_response("200 OK", list(PLAIN))
    write(b"one ")
    write(b"")
    write(b"two")
    return []


@keeps
def written_and_returned(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Both ways."""
    write = start_response("200 OK", list(PLAIN))
    write(b"one ")
    return [b"two"]


@keeps
def with_length(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A length that is right."""
    start_response("200 OK", [*PLAIN, ("Content-Length", "7")])
    return (part for part in (b"one ", b"two"))


@keeps
def one_mib(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A body of 1 MiB in one piece."""
    start_response("200 OK", list(PLAIN))
    return [PART * 16]


@keeps
def seventy_mib(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A body of 70 MiB in many pieces."""
    start_response("200 OK", list(PLAIN))
    return (PART for _ in range(1120))


# Status and headers


@keeps
def no_content(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """204 has no body."""
    start_response("204 No Content", [("X-A", "b")])
    return []


@keeps
def not_modified(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """304 has none."""
    start_response("304 Not Modified", [("ETag", '"1"')])
    return []


@keeps
def odd_status(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A status of one's own."""
    start_response("299 Very (odd) indeed", list(PLAIN))
    return [b"odd"]


@keeps
def not_found(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """An error of the client's."""
    start_response("404 Not Found", list(PLAIN))
    return [b"no"]


@keeps
def many_headers(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Names that come twice, letters of both cases, values of latin-1, and none."""
    start_response(
        "200 OK",
        [
            *PLAIN,
            ("Set-Cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("X-Latin", "caf\xe9"),
            ("X-Empty", ""),
            ("X-Blank", " a  b "),
            ("Server", "own"),
            ("Date", "Fri, 27 Nov 2026 08:25:11 GMT"),
        ],
    )
    return [b"ok"]


@keeps
def started_again(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """An error before anything was sent replaces the head."""
    start_response("200 OK", [*PLAIN, ("X-First", "1")])
    try:
        raise ValueError("tried")
    except ValueError:
        start_response("503 Down", [*PLAIN, ("X-Second", "2")], sys.exc_info())
    return [b"down"]


# Files


def wrapper(environ: Environ, file: Any, *more: Any) -> Iterable[bytes]:
    """The server's own, or a plain one behind the validator, which knows none."""
    made: Iterable[bytes] = environ["wsgi.file_wrapper"](file, *more)
    return made


@keeps
def file(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A file."""
    start_response("200 OK", list(PLAIN))
    return wrapper(environ, open(FILE, "rb"))


@keeps
def file_with_length(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """As most frameworks send one."""
    length = str(os.stat(FILE).st_size)
    start_response("200 OK", [*PLAIN, ("Content-Length", length)])
    return wrapper(environ, open(FILE, "rb"), 8192)


@keeps
def file_from_its_middle(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """What is left of one."""
    start_response("200 OK", list(PLAIN))
    opened = open(FILE, "rb")  # noqa: SIM115
    opened.seek(1000)
    return wrapper(environ, opened)


@keeps
def file_in_memory(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """None that the system knows."""
    start_response("200 OK", list(PLAIN))
    return wrapper(environ, io.BytesIO(b"in memory"))


@keeps
def file_of_pipe(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """One that the system knows, and that has no length."""
    start_response("200 OK", list(PLAIN))
    reader, writer = os.pipe()
    os.write(writer, b"from a pipe")
    os.close(writer)
    return wrapper(environ, open(reader, "rb"))


@keeps
def file_that_is_read(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """An object with `read` alone."""

    class Reads:
        def __init__(self) -> None:
            self._parts = [b"of ", b"an object", b""]

        def read(self, size: int) -> bytes:
            return self._parts.pop(0)

    start_response("200 OK", list(PLAIN))
    return wrapper(environ, Reads(), 4)


@keeps
def empty_file(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Nothing in it."""
    start_response("200 OK", list(PLAIN))
    return wrapper(environ, open("/dev/null", "rb"))
