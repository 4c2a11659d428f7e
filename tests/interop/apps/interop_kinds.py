"""Asks `uwsgi` the same questions in every kind of process: where it is imported and where it runs.

Imported by a producer, by a zygote or uWSGI's master, and then called as a task, as a handler of a
signal and as one of a message to a mule.
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


def handle(task: dict[Any, Any]) -> int:
    """The first task answers, the second has the mule answer: one after the other."""
    if b"mule" in task:
        uwsgi.mule_msg(b"ask", 1)
    else:
        ask("spooler")
    return int(uwsgi.SPOOL_OK)


ask(os.environ.get("INTEROP_KIND", "import"))
uwsgi.spooler = handle
uwsgi.mule_msg_hook = lambda _: ask("mule")
uwsgi.register_signal(99, "", lambda _: ask("signal"))
uwsgi.add_rb_timer(99, 1, 1)
