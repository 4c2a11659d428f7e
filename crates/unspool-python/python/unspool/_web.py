"""The life of a web worker: answers requests with the application until the daemon lets it go.

Owns one process after its fork, and which object the application is. Connections and WSGI are the
native ``Web``'s business.
"""

from __future__ import annotations

import os
import random
import threading
import time
import traceback
from operator import attrgetter
from typing import Any

from unspool import (
    _errors,
    _hooks,
    _imports,
    _limits,
    _native,
    _own_import,
    _process,
    _sources,
    _steps,
    _titles,
)
from unspool._worker import flush

# What a web worker is given: what all of them have stands between the two.
CHANNEL, LENT, LISTENERS = 0, slice(1, 4), slice(4, None)

_NO_APPLICATION = (
    "unspool: no application in this web worker: each request is answered with 500 Internal Server "
    "Error\n"
)

# How often it is looked whether requests have imported something (`py-autoreload`).
SOURCES_SECONDS = 1.0


def find_failure(setup: dict[str, Any]) -> list[dict[str, Any]]:
    """Looks for the application among what was imported, as web workers do. A failure if it is not
    there; one whose module could not be imported is told of already."""
    named = (setup["web"] or {}).get("application")
    if named is None or not _imports.is_loaded(named["number"]):
        return []
    try:
        _application(setup)
    except LookupError as error:
        item = setup["imports"][named["number"]]
        target = f"{item['target']}:{_callable(named)}"
        return [{"number": named["number"], "target": target, "traceback": str(error.args[0])}]
    return []


def _callable(named: dict[str, Any]) -> str:
    return named["callable"] or "application"


def _application(setup: dict[str, Any]) -> Any:
    """The application; LookupError says why there is none."""
    named = (setup["web"] or {}).get("application")
    if named is None:
        raise LookupError("no application is named: write `module = package.module:callable`")
    loaded = _imports.loaded(named["number"])
    if loaded is None:
        raise LookupError("its import failed")
    module, made = loaded
    name = _callable(named)
    if name.endswith("()"):
        # The import has called it.
        if made is None:
            raise LookupError(f"{name} in {module.__name__} returned no application, but None")
        return made
    try:
        return attrgetter(name)(module)
    except AttributeError as error:
        raise LookupError(
            f"AttributeError: {_errors.encodable(str(error))}: there is no callable "
            f"`{name}` in {module.__name__}: name the application's, "
            "`module = package.module:CALLABLE` or `callable = CALLABLE`"
        ) from None


def run(setup: dict[str, Any], request: dict[str, Any], descriptors: list[int]) -> None:
    """Runs a web worker until the daemon lets it go, or it has answered as many requests as it may.

    ``descriptors`` are its connection to the daemon, the memory in which threads say what they do,
    the socket over which it hands connections over, the bell of all of them, and the sockets that
    it accepts on.
    """
    # A group of its own, so that it is ended together with what it starts. Not a session: the
    # kernel shares the processors out among sessions (autogroups), and a busy worker would have as
    # much as all others of a session together.
    os.setpgid(0, 0)
    _own_import.import_application(setup, request)
    _limits.apply(setup, request["worker"])
    number = request["row"]
    _titles.show(f"unspool web worker {number}")
    _process.become_worker(request["role"], request["worker"], number)
    channel = _native.Worker(descriptors[CHANNEL], -1, -1, -1, 0, setup)
    # While it lives, nobody else can have its sockets.
    if not _native.end_with_daemon(setup["daemon_pid"]):
        return
    random.seed()
    import uwsgi

    _steps.take(setup, "post-fork")
    _hooks.after_fork(uwsgi)
    web = _native.Web(
        setup["web"],
        number,
        request["spool"],
        descriptors[LENT],
        os.dup(channel.fileno()),
        descriptors[LISTENERS],
    )
    if setup["autoreload"]:
        threading.Thread(target=_tell_sources, name="unspool-sources", daemon=True).start()
    serving = _Serving(web, channel, _find(setup))
    channel.ready()
    try:
        serving.run(number)
    finally:
        _hooks.at_exit(uwsgi)
        flush()


def _find(setup: dict[str, Any]) -> Any:
    try:
        return _application(setup)
    except LookupError:
        # Why, the daemon has said when it was imported.
        os.write(2, _NO_APPLICATION.encode())
        return None


class _Serving:
    """The threads that answer requests, and what the daemon says meanwhile."""

    def __init__(self, web: _native.Web, channel: _native.Worker, application: Any) -> None:
        self._web = web
        self._channel = channel
        self._application = application

    def run(self, number: int) -> None:
        """Answers requests until the worker is to leave, in this thread and, if need be, others."""
        others = [
            threading.Thread(
                target=self._answer, args=(core,), name=f"uWSGIWorker{number}Core{core}"
            )
            for core in range(1, self._web.threads)
        ]
        for thread in others:
            thread.start()
        try:
            self._answer(0)
        finally:
            for thread in others:
                thread.join()

    def _serve(self, core: int) -> None:
        self._web.serve(self._application, core, self._listen, self._channel.leaves)

    def _answer(self, core: int) -> None:
        try:
            self._serve(core)
        except BaseException:
            traceback.print_exc()
            # A signal has raised between two requests. With a thread less it would answer
            # less than is asked of it: another one comes, and this one answers what it has.
            self._channel.leaves()
            self._web.drain()
            self._serve(core)

    def _listen(self) -> None:
        """Reads what the daemon says."""
        while self._channel.look() is not None:
            pass
        if self._channel.leaving:
            self._web.drain()
            # From here on others answer whoever comes.
            self._channel.leaves()


def _tell_sources() -> None:
    """Tells the daemon of modules that requests import: Django's views, for one."""
    while True:
        time.sleep(SOURCES_SECONDS)
        try:
            _sources.tell()
        except Exception:
            # Without it everything works but this.
            traceback.print_exc()
            return
