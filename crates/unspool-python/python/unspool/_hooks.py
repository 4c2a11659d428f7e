"""Hooks that the application assigns to names of `uwsgi`: `post_fork_hook` and `atexit`.

Owns when the first is called. A worker that has the application of its zygote calls it after its
fork. One that imports the application itself calls what stands there before its import, which
`shared-import` has set, as uWSGI does, and after it what the import has set.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any


class _State:
    # What stood there at the fork.
    known: Callable[[], Any] | None = None
    # The same, until it has been called.
    waiting: Callable[[], Any] | None = None
    # How many functions of the decorators it calls.
    chained = 0


_state = _State()


def at_fork(call_now: bool) -> None:
    """Before an import of its own: calls the hook that is there, or has `after_fork` do so."""
    hook = getattr(sys.modules.get("uwsgi"), "post_fork_hook", None)
    _state.known = _state.waiting = hook
    _state.chained = len(getattr(sys.modules.get("uwsgidecorators"), "postfork_chain", ()))
    if call_now and hook is not None:
        _state.waiting = None
        _call(hook)


def after_fork(uwsgi: Any) -> None:
    """Calls what is to be called in a worker that has the application."""
    if _state.waiting is not None:
        _call(_state.waiting)
    hook = getattr(uwsgi, "post_fork_hook", None)
    if hook is not None and hook is not _state.known:
        _call(hook)
        return
    decorators: Any = sys.modules.get("uwsgidecorators")
    if hook is not None and hook is getattr(decorators, "postfork_chain_hook", None):
        for function in decorators.postfork_chain[_state.chained :]:
            _call(function)


def at_exit(uwsgi: Any) -> None:
    """Calls what is to be called when a worker for signals, or a mule, ends."""
    hook = getattr(uwsgi, "atexit", None)
    if hook is not None:
        _call(hook)


def _call(hook: Callable[[], Any]) -> None:
    """What it raises is logged."""
    try:
        hook()
    except Exception:
        traceback.print_exc()
