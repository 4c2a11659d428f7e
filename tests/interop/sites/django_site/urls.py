"""Its pages."""

from __future__ import annotations

from django.urls import path
from jobs.views import digest, download, page, stream

urlpatterns = [
    path("", page),
    path("download", download),
    path("stream", stream),
    path("digest", digest),
]
