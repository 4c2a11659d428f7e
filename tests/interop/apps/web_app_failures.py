"""Applications that fail, and those that break PEP 3333."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from web_app_answers import FILE, wrapper
from web_app_kinds import PLAIN, Environ, Parts, StartResponse, breaks, keeps


@keeps
def raises(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Before anything is said."""
    raise ValueError("raised before")


@keeps
def raises_behind_start(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Behind start_response."""
    start_response("200 OK", [*PLAIN, ("X-A", "b")])
    raise ValueError("raised behind start_response")


@keeps
def raises_at_first(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Where the first part is asked for."""
    start_response("200 OK", list(PLAIN))

    def parts() -> Iterator[bytes]:
        raise ValueError("raised at the first part")
        yield b""

    return parts()


@keeps
def raises_in_the_middle(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Where something was sent."""
    start_response("200 OK", list(PLAIN))

    def parts() -> Iterator[bytes]:
        yield b"half"
        raise ValueError("raised in the middle")

    return parts()


@keeps
def raises_with_a_length(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Where a part of what was promised was sent."""
    start_response("200 OK", [*PLAIN, ("Content-Length", "8")])

    def parts() -> Iterator[bytes]:
        yield b"half"
        raise ValueError("raised before the length was reached")

    return parts()


@keeps
def raises_when_closed(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Behind a whole answer."""

    class Fails(Parts):
        def close(self) -> None:
            raise ValueError("raised in close")

    start_response("200 OK", list(PLAIN))
    return Fails(b"whole")


@keeps
def started_too_late(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """An error behind the first part comes back to the application."""
    start_response("200 OK", list(PLAIN))

    def parts() -> Iterator[bytes]:
        yield b"half"
        try:
            raise ValueError("too late")
        except ValueError:
            start_response("500 Error", list(PLAIN), sys.exc_info())
        yield b"never"

    return parts()


@breaks
def exits(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """As scripts end."""
    sys.exit(3)


@breaks
def starts_when_asked(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A generator that begins with start_response; the validator wants it called before."""
    start_response("200 OK", list(PLAIN))
    yield b"one "
    yield b"two"


@breaks
def raises_when_asked(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The same, which fails before it."""
    raise ValueError("raised in a generator")
    yield b""


@breaks
def length_too_small(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """More than was promised."""
    start_response("200 OK", [*PLAIN, ("Content-Length", "3")])
    return [b"hello"]


@breaks
def length_too_great(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Less than was promised."""
    start_response("200 OK", [*PLAIN, ("Content-Length", "10")])
    return [b"hello"]


@breaks
def file_longer_than_said(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The begin of a file."""
    start_response("200 OK", [*PLAIN, ("Content-Length", "1000")])
    return wrapper(environ, open(FILE, "rb"))


@breaks
def file_shorter_than_said(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A file that became shorter meanwhile."""
    start_response("200 OK", [*PLAIN, ("Content-Length", "1000000")])
    return wrapper(environ, open(FILE, "rb"))


@breaks
def length_is_none(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """No number."""
    start_response("200 OK", [*PLAIN, ("Content-Length", "some")])
    return [b"hello"]


@breaks
def no_content_with_body(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A body where none can be."""
    start_response("204 No Content", [*PLAIN, ("Content-Length", "5")])
    return [b"hello"]


@breaks
def not_modified_with_body(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The length is that of what is not sent."""
    start_response("304 Not Modified", [("Content-Length", "5")])
    return [b"hello"]


@breaks
def never_started(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """No start_response, and a body."""
    return [b"hello"]


@breaks
def never_started_and_empty(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """No start_response, and nothing."""
    return []


@breaks
def started_twice(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Without exc_info."""
    start_response("200 OK", list(PLAIN))
    start_response("404 Not Found", list(PLAIN))
    return [b"hello"]


@breaks
def text(environ: Environ, start_response: StartResponse) -> object:
    """Texts where bytes have to be."""
    start_response("200 OK", list(PLAIN))
    return ["text"]


@breaks
def text_alone(environ: Environ, start_response: StartResponse) -> object:
    """A text as a body."""
    start_response("200 OK", list(PLAIN))
    return "text"


@breaks
def text_among_bytes(environ: Environ, start_response: StartResponse) -> object:
    """A text behind bytes."""
    start_response("200 OK", list(PLAIN))
    return [b"bytes ", "text", b" bytes"]


@breaks
def bytes_alone(environ: Environ, start_response: StartResponse) -> object:
    """An iterable of numbers, strictly."""
    start_response("200 OK", list(PLAIN))
    return b"bytes"


@breaks
def array_of_bytes(environ: Environ, start_response: StartResponse) -> object:
    """What can be taken for bytes."""
    start_response("200 OK", list(PLAIN))
    return [bytearray(b"array "), memoryview(b"view")]


@breaks
def nothing(environ: Environ, start_response: StartResponse) -> object:
    """None where a body has to be."""
    start_response("200 OK", list(PLAIN))
    return None


@breaks
def number(environ: Environ, start_response: StartResponse) -> object:
    """No iterable."""
    start_response("200 OK", list(PLAIN))
    return 7


@breaks
def status_without_words(environ: Environ, start_response: StartResponse) -> object:
    """Digits alone."""
    start_response("200", list(PLAIN))
    return [b"hello"]


@breaks
def status_of_bytes(environ: Environ, start_response: StartResponse) -> object:
    """As Python 2 had it."""
    start_response(b"200 OK", list(PLAIN))
    return [b"hello"]


@breaks
def status_of_words(environ: Environ, start_response: StartResponse) -> object:
    """No number."""
    start_response("fine", list(PLAIN))
    return [b"hello"]


@breaks
def headers_of_tuple(environ: Environ, start_response: StartResponse) -> object:
    """No list."""
    start_response("200 OK", tuple(PLAIN))
    return [b"hello"]


@breaks
def headers_of_lists(environ: Environ, start_response: StartResponse) -> object:
    """Lists where tuples have to be."""
    start_response("200 OK", [list(PLAIN[0])])
    return [b"hello"]


@breaks
def header_of_number(environ: Environ, start_response: StartResponse) -> object:
    """A number where a text has to be."""
    start_response("200 OK", [*PLAIN, ("X-A", 7)])
    return [b"hello"]


@breaks
def header_of_bytes(environ: Environ, start_response: StartResponse) -> object:
    """Bytes where a text has to be."""
    start_response("200 OK", [*PLAIN, (b"X-A", b"b")])
    return [b"hello"]


@breaks
def header_beyond_latin_1(environ: Environ, start_response: StartResponse) -> object:
    """A character that is no byte."""
    start_response("200 OK", [*PLAIN, ("X-A", "\u20ac")])
    return [b"hello"]


@breaks
def header_of_two_lines(environ: Environ, start_response: StartResponse) -> object:
    """Another header in a value."""
    start_response("200 OK", [*PLAIN, ("X-A", "b\r\nX-Injected: c")])
    return [b"hello"]


@breaks
def header_without_name(environ: Environ, start_response: StartResponse) -> object:
    """No name."""
    start_response("200 OK", [*PLAIN, ("", "b")])
    return [b"hello"]


@breaks
def hop_by_hop(environ: Environ, start_response: StartResponse) -> object:
    """What is the server's to say."""
    start_response("200 OK", [*PLAIN, ("Connection", "close"), ("Keep-Alive", "timeout=5")])
    return [b"hello"]


@breaks
def chunks_of_its_own(environ: Environ, start_response: StartResponse) -> object:
    """An application that makes chunks."""
    start_response("200 OK", [*PLAIN, ("Transfer-Encoding", "chunked")])
    return [b"5\r\nhello\r\n0\r\n\r\n"]
