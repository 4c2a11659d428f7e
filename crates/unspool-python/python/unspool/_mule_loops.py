"""What the decorators `mule`, `muleloop`, `mulemsg` and `farm` run in mules after their fork.

The classes have uWSGI's names, which programs use; `uwsgidecorators` has them too.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

import uwsgi


class mule_brain:
    """Runs a function in the mule of this number, once, after its fork."""

    def __init__(self, f: Callable[..., Any], num: int) -> None:
        self.f = f
        self.num = num

    def is_here(self) -> bool:
        """Whether this process is that mule."""
        return uwsgi.mule_id() == self.num

    def run(self) -> None:
        """What is run there."""
        self.f()

    def __call__(self) -> None:
        """Runs it, if this is the place; the mule ends if it raises, and is started again."""
        if self.is_here():
            try:
                self.run()
            except Exception:
                traceback.print_exc()
                sys.exit(1)


class mule_brainloop(mule_brain):
    """The same again and again."""

    def run(self) -> None:
        """Never returns."""
        while True:
            self.f()


class mulemsg_loop(mule_brain):
    """Calls a function in the mule of this number with each message that it is sent."""

    def run(self) -> None:
        """Never returns; what the function raises is logged."""
        while True:
            message = self.receive()
            if message:
                try:
                    self.f(message)
                except Exception:
                    traceback.print_exc()

    def receive(self) -> Any:
        """The next message."""
        return uwsgi.mule_get_msg()


class farm_loop(mulemsg_loop):
    """Calls a function in the mules of a farm with each message that the farm is sent."""

    def __init__(self, f: Callable[[bytes], Any], farm: str | None = None) -> None:
        super().__init__(f, 0)
        self.farm = farm

    def is_here(self) -> bool:
        """Whether this process is a mule of that farm, or without a name of any."""
        return bool(uwsgi.mule_id() and uwsgi.in_farm(*(() if self.farm is None else (self.farm,))))

    def receive(self) -> Any:
        """The next message."""
        return uwsgi.farm_get_msg()
