"""A page with what tasks have done, and a form that submits one."""

from __future__ import annotations

import os

import uwsgi_spools.mysite_spool as mysite_spool
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render

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
