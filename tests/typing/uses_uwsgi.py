"""A small program as its author's type checker sees it; it is checked and never run."""

from __future__ import annotations

from typing import Any

import uwsgi


def handle(task: dict[Any, Any]) -> int:
    """A bare handler."""
    body: bytes = task["body"]
    if uwsgi.cache_get(b"seen") is None:
        uwsgi.cache_set("seen", body, 60, "default")
    count: int = uwsgi.cache_num("count")
    uwsgi.metric_inc("done", count)
    return uwsgi.SPOOL_OK if uwsgi.i_am_the_spooler() else uwsgi.SPOOL_RETRY


uwsgi.spooler = handle
uwsgi.atexit = uwsgi.post_fork_hook = lambda: None
path: bytes = uwsgi.spool({b"key": b"value"}) or uwsgi.send_to_spooler(key="value", at=5)
jobs: list[bytes] = uwsgi.spooler_jobs()
name: str = uwsgi.hostname.decode()
spooler: bytes | bool = uwsgi.opt["spooler"]
uwsgi.register_signal(17, "workers", print)
uwsgi.add_timer(17, 30)
newest = uwsgi.queue_last(3)
uwsgi.cache_get(5)  # type: ignore[arg-type]
uwsgi.log(b"bytes")  # type: ignore[arg-type]
uwsgi.no_such_function()  # type: ignore[attr-defined]
