"""Applications of WSGI by name, which uWSGI and unspool run alike: `/NAME` is one of them.

`/checked/NAME` is the same behind `wsgiref.validate`. Those that break PEP 3333 are not checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.validate import validator

import web_app_failures
import web_app_input
from reporting import pause, report
from web_app_answers import PART
from web_app_kinds import PLAIN, Environ, Parts, StartResponse, invalid, keeps, told, valid

__all__ = ["application", "web_app_failures", "web_app_input"]


@keeps
def endless(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Parts until the client has gone."""
    start_response("200 OK", list(PLAIN))

    class Endless(Parts):
        def __iter__(self) -> Iterator[bytes]:
            # Far more than buffers take.
            return iter([PART] * 4096)

    return Endless(name="endless")


@keeps
def held(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """An answer whose second part waits for the test."""
    start_response("200 OK", list(PLAIN))

    class Held(Parts):
        def __iter__(self) -> Iterator[bytes]:
            yield b"first"
            report("held")
            pause("held")
            yield b" second"

    return Held(name="held")


@keeps
def closes_slowly(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A whole answer whose end the application takes its time for."""
    start_response("200 OK", list(PLAIN))

    class Slow(Parts):
        def close(self) -> None:
            pause("closes_slowly")
            super().close()

    return Slow(b"all of it", name="closes_slowly")


@keeps
def says(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Lines for the log."""
    errors = environ["wsgi.errors"]
    errors.write("one by write\n")
    errors.writelines(["two by ", "writelines: caf\xe9\n"])
    errors.flush()
    start_response("200 OK", list(PLAIN))
    return [b"said"]


@keeps
def names(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The applications that a plain request is answered by."""
    special = {"names", "endless", "held", "closes_slowly", "seventy_mib", "variables", "exits"}
    return told(
        start_response,
        [
            [name for name in kind if name not in special and not name.startswith("read_")]
            for kind in (valid, invalid)
        ],
    )


def application(environ: Environ, start_response: StartResponse) -> Any:
    """Runs the application that the path names."""
    path = environ["PATH_INFO"].lstrip("/")
    checked = path.startswith("checked/")
    name = path.removeprefix("checked/").partition("/")[0]
    app = valid.get(name) or invalid.get(name) or valid["variables"]
    return validator(app)(environ, start_response) if checked else app(environ, start_response)
