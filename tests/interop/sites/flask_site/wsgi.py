"""A page with what tasks have done, and a form that submits one: Flask."""

from __future__ import annotations

import os

import store
import uwsgi_spools.mysite_spool as mysite_spool
from flask import Flask, Response, redirect, render_template_string, request

VERSION = 1
PAGE = """version {{ version }} over {{ request.scheme }} for {{ request.remote_addr }}
{% for text in texts %}<li>{{ text }}</li>
{% endfor %}
<form method="post"><textarea name="text"></textarea></form>
"""

application = Flask(__name__)


@application.get("/")
def page() -> str:
    """What is done."""
    return render_template_string(PAGE, texts=store.texts(), version=VERSION)


@application.post("/")
def submit() -> Response:
    """Submits a task; the answer names it."""
    name = mysite_spool.my_func.spool(text=request.form["text"], test=True)
    answer = redirect("/", 303)
    answer.headers["X-Task"] = os.fsdecode(name)
    assert isinstance(answer, Response)
    return answer
