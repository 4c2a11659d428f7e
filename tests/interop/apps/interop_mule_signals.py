"""Signals for mules: `INTEROP_TARGETS` has the target of each, by its number from 1."""

from __future__ import annotations

import json
import os

import uwsgi
from reporting import pause, report


def handle(number: int) -> None:
    """Says where it runs."""
    report("handled", signal=number, mule=uwsgi.mule_id(), worker=uwsgi.worker_id() > 0)
    if number == 100:
        raise ValueError("as told")
    if number == 101:
        pause("handler")
        report("resumed", mule=uwsgi.mule_id())
    if number == 102:
        os.kill(os.getpid(), 9)
    if number == 103:
        report("other", result=uwsgi.signal_wait(), signal=uwsgi.signal_received())


TARGETS = json.loads(os.environ["INTEROP_TARGETS"])
for number, target in enumerate(TARGETS, start=1):
    uwsgi.register_signal(number, target, handle)
for number in (100, 101, 102, 103):
    uwsgi.register_signal(number, "mule1", handle)
if "INTEROP_TIMER" in os.environ:
    uwsgi.add_timer(1, 1)

uwsgi.mule_msg_hook = lambda message: report("message", mule=uwsgi.mule_id(), message=message)


def register_here(number: int) -> None:
    """Called by the driver: this signal is handled in its mule."""
    uwsgi.register_signal(number, "", handle)
