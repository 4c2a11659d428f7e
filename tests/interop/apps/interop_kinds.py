"""Asks `uwsgi` the same questions in every kind of process: where it is imported and where it runs.

Imported by a producer, by a zygote or uWSGI's master, and then called as a task and as a handler of
a signal.
"""

from __future__ import annotations

import os
from typing import Any

import uwsgi
from interop_surface import evaluate
from module_kinds import QUESTIONS
from reporting import report


def ask(kind: str) -> None:
    """Reports the answers of this process."""
    names: dict[str, Any] = {"uwsgi": uwsgi, "os": os}
    report(
        kind,
        answers=[evaluate(question.expression, names) for question in QUESTIONS],
        names=[name for name in dir(uwsgi) if not name.startswith("_")],
    )


def handle(_: dict[Any, Any]) -> int:
    """The only task."""
    ask("spooler")
    return int(uwsgi.SPOOL_OK)


def mule() -> None:
    """The program of the mule."""
    ask("mule")
    while True:
        uwsgi.mule_get_msg()


# uWSGI's mule has not what a spooler imports, and imports this for its program.
if not uwsgi.mule_id():
    ask(os.environ.get("INTEROP_KIND", "import"))
    uwsgi.spooler = handle
    uwsgi.register_signal(99, "", lambda _: ask("signal"))
    uwsgi.add_rb_timer(99, 1, 1)
