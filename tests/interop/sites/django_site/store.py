"""Where tasks leave what they did."""

from __future__ import annotations


def add(text: str) -> None:
    """Called by tasks: by then Django is set up, as `wsgi` was imported."""
    from jobs.models import Done

    Done.objects.create(text=text)
