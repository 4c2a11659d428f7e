"""Errors that no Rust code raises."""

from __future__ import annotations

from collections.abc import Iterable


class UnknownFunction(LookupError):
    """A task names a function that nothing registered in this process.

    `name` is the function's name, "" if the task names none; `registered` are those there are.
    """

    def __init__(self, name: str, registered: Iterable[str]) -> None:
        self.name = name
        self.registered = tuple(sorted(registered))
        super().__init__(name, self.registered)

    def __str__(self) -> str:
        known = ", ".join(self.registered) or "no function at all"
        if self.name:
            what = f"the task's function {self.name!r} is not registered"
        else:
            what = "the task names no function (it has no key 'ud_spool_func')"
        return f"{what} in this process; registered: {known}"
