"""Errors that no Rust code raises, and the text of those that applications raise."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable
from types import TracebackType

_PACKAGE = os.path.dirname(__file__)
# Modules of ours beside the package.
_BESIDE = tuple(
    os.path.join(_PACKAGE, os.pardir, name) for name in ("uwsgi.py", "uwsgidecorators.py")
)
_OURS = (_PACKAGE + os.sep, *map(os.path.normpath, _BESIDE))


def told() -> str:
    """The traceback of the error that is being handled, in text that any log can take.

    It begins where the application's own code does, if the error came out of that.
    """
    kind, error, frames = sys.exc_info()
    try:
        lines = traceback.format_exception(kind, error, of_application(frames))
        return encodable("".join(lines))
    except Exception:
        # An application may have broken the module `traceback`.
        name = kind.__name__ if kind is not None else "an error"
        return f"{name}, and its traceback could not be formatted"


def of_application(frames: TracebackType | None) -> TracebackType | None:
    """The frames from the first one that is not ours; all, if none is."""
    first = frames
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_OURS):
        first = first.tb_next
    return first or frames


def encodable(text: str) -> str:
    r"""The text with `\udcff` and its like spelled out: names of files may hold them."""
    return text.encode("utf-8", "backslashreplace").decode()


class SoftTimeLimitExceeded(Exception):
    """Raised in a task that runs longer than its soft time limit.

    A task that catches it may clean up and return; one that does not has failed. It is raised once,
    between two instructions of the interpreter, in the middle of a wait too, but not inside of C
    code that does not look.
    """

    # Where it is public, as tracebacks show it.
    __module__ = "unspool"


class SharedStoreError(RuntimeError):
    """The file behind caches, queues and metrics cannot be used; `path` names it."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(path, reason)

    def __str__(self) -> str:
        cure = "stop what uses it and remove the file, which loses what it holds"
        if "locked" in self.reason:
            cure = "another process has kept it locked for too long"
        return (
            f"the store of caches, queues and metrics, {self.path or 'of the first spool'}, "
            f"cannot be used: {self.reason}: {cure}"
        )


class UnknownFunction(KeyError):
    """A task names a function that nothing registered in this process.

    A KeyError, as uWSGI raises. `name` is the function's name, "" if the task names none;
    `registered` are those there are.
    `module` is the module that the task wants the function of, and `modules` are those that have a
    function of its name, if that is what is wrong.
    """

    def __init__(
        self,
        name: str,
        registered: Iterable[str],
        module: str | None = None,
        modules: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.registered = tuple(sorted(registered))
        self.module = module
        self.modules = tuple(modules)
        super().__init__(name, self.registered, module, self.modules)

    def __str__(self) -> str:
        if self.module is not None:
            return (
                f"the task's function {self.name!r} is that of the module {self.module!r}, which "
                f"is not imported in this process; {', '.join(self.modules)} has another one of "
                f"that name: import {self.module!r} here (`spooler-import`), or, if the function "
                "has moved, import it into a module of the old name"
            )
        known = ", ".join(self.registered) or "no function at all"
        if self.name:
            what = f"the task's function {self.name!r} is not registered"
        else:
            what = "the task names no function (it has no key 'ud_spool_func')"
        return f"{what} in this process; registered: {known}"
