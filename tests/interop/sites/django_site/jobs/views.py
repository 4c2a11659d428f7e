"""A page with what tasks have done, and a form that submits one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import store
import uwsgi_spools.mysite_spool as mysite_spool
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt

from jobs.models import Done

VERSION = 1


def page(request: HttpRequest) -> HttpResponse:
    """GET shows, POST submits; the answer names the task."""
    if request.method == "POST":
        name = mysite_spool.my_func.spool(text=request.POST["text"], test=True)
        answer = HttpResponseRedirect("/", headers={"X-Task": os.fsdecode(name)})
        answer.status_code = 303
        return answer
    done = Done.objects.order_by("id")
    return render(request, "page.html", {"done": done, "version": VERSION})


def download(request: HttpRequest) -> FileResponse:
    """A file."""
    return FileResponse(open("download.bin", "rb"))


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """A page that comes in pieces."""

    def lines() -> Iterator[str]:
        for number in range(1000):
            yield f"line {number}\n"

    return StreamingHttpResponse(lines(), content_type="text/plain")


@csrf_exempt
def digest(request: HttpRequest) -> HttpResponse:
    """What is uploaded, read as it comes."""
    return HttpResponse(store.digest(request))
