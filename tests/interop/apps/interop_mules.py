"""What mules do with the messages of `test_mules`: the first word says it."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import uwsgi
from reporting import pause, report
from uwsgidecorators import farm, mule, mulefunc, muleloop, mulemsg


def handle(message: bytes) -> None:
    """Reports the message and does what it says."""
    word, _, rest = message.partition(b" ")
    shown = message if len(message) < 1000 else len(message)
    report("message", mule=uwsgi.mule_id(), message=shown)
    if word == b"raise":
        raise ValueError("as told")
    if word == b"exit":
        sys.exit(3)
    if word == b"die":
        os.kill(os.getpid(), 9)
    if word == b"pause":
        pause(rest.decode())
        report("resumed", mule=uwsgi.mule_id())
    if word == b"sleep":
        time.sleep(float(rest))
        report("slept", mule=uwsgi.mule_id())
    if word == b"limit":
        uwsgi.set_user_harakiri(int(rest))
        time.sleep(20)


@mulefunc
def anywhere(*args: Any, **kwargs: Any) -> None:
    """Runs in any mule."""
    report("called", mule=uwsgi.mule_id(), args=args, kwargs=kwargs)


@mulefunc(2)
def in_two(*args: Any) -> None:
    """Runs in mule 2."""
    report("called", mule=uwsgi.mule_id(), args=args)


@mulefunc("pair")
def in_a_pair(*args: Any) -> None:
    """Runs in a mule of the farm `pair`."""
    report("called", mule=uwsgi.mule_id(), args=args)


if "INTEROP_BRAINS" in os.environ:

    @mule(1)
    def once() -> None:
        """Is the program of mule 1."""
        report("brain", kind="mule", mule=uwsgi.mule_id())
        time.sleep(1000)

    @muleloop(2)
    def again() -> None:
        """Is the program of mule 2."""
        report("brain", kind="muleloop", mule=uwsgi.mule_id())
        time.sleep(0.1)

    @mulemsg(3)
    def for_each_message(message: bytes) -> None:
        """Gets the messages of mule 3."""
        report("brain", kind="mulemsg", mule=uwsgi.mule_id(), message=message)

    @farm("pair")
    def for_each_farm_message(message: bytes) -> None:
        """Gets the messages of the farm `pair`."""
        report("brain", kind="farm", mule=uwsgi.mule_id(), message=message)

elif "INTEROP_FUNCTIONS" not in os.environ:
    uwsgi.mule_msg_hook = handle
    uwsgi.post_fork_hook = lambda: report("forked", mule=uwsgi.mule_id())

uwsgi.atexit = lambda: report("left", mule=uwsgi.mule_id(), worker=uwsgi.worker_id())


def program() -> None:
    """What `mule = interop_mules:program` calls."""
    report("program", mule=uwsgi.mule_id(), module=__name__)
