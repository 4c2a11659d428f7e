"""A page with what tasks have done, and a form that submits one: Flask."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.validate import validator

import store
import uwsgi_spools.mysite_spool as mysite_spool
from flask import Flask, Response, redirect, render_template_string, request, send_file

VERSION = 1
PAGE = """version {{ version }} over {{ request.scheme }} for {{ request.remote_addr }}
{% for text in texts %}<li>{{ text }}</li>
{% endfor %}
<form method="post"><textarea name="text"></textarea></form>
"""

site = Flask(__name__)


@site.get("/")
def page() -> str:
    """What is done."""
    return render_template_string(PAGE, texts=store.texts(), version=VERSION)


@site.post("/")
def submit() -> Response:
    """Submits a task; the answer names it."""
    name = mysite_spool.my_func.spool(text=request.form["text"], test=True)
    answer = redirect("/", 303)
    answer.headers["X-Task"] = os.fsdecode(name)
    assert isinstance(answer, Response)
    return answer


@site.get("/download")
def download() -> Response:
    """A file, or a part of it."""
    return send_file(os.path.abspath("download.bin"), conditional=True)


@site.get("/stream")
def stream() -> Response:
    """A page that comes in pieces."""

    def lines() -> Iterator[str]:
        for number in range(1000):
            yield f"line {number}\n"

    return Response(lines(), mimetype="text/plain")


@site.post("/digest")
def digest() -> str:
    """What is uploaded, read as it comes."""
    return store.digest(request.stream)


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """The site, checked; but for files, which the server sends where nobody is between, and for
    forms, which Flask reads as no checked body can be read."""
    asked = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    is_checked = asked not in (("GET", "/download"), ("POST", "/"))
    return (validator(site) if is_checked else site)(environ, start_response)
