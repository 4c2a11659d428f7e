"""Evaluates expressions on the decorators in this process and reports what each gives.

INTEROP_EXPRESSIONS is a file with pickled texts; they share one namespace and run in their order.
"""

from __future__ import annotations

import os
import pickle
from typing import Any

from reporting import report

SETUP = """
import pickle, threading, uwsgi
from uwsgidecorators import *
import uwsgidecorators as module

called = []

def fresh(name='f', result=None):
    def f(*args, **kwargs):
        called.append((name, args, kwargs))
        return result
    f.__name__ = name
    return f

plain, raw, forever = fresh('plain'), fresh('raw'), fresh('forever')
task = {b'ud_spool_func': b'plain', b'ud_spool_ret': b'-2'}
sent = pickle.dumps(
    {'service': 'uwsgi_mulefunc', 'func': 'plain', 'args': (1,), 'kwargs': {}}
)

def joined():
    for other in threading.enumerate():
        if other.daemon:
            other.join()

passed = {
    b'ud_spool_func': b'p', b'ud_spool_ret': b'-2',
    b'args': pickle.dumps((1,)), b'kwargs': pickle.dumps({'k': 2}),
}
"""


def outcome(expression: str, namespace: dict[str, Any]) -> str:
    """What it gives, as text, or what it raises."""
    try:
        return repr(eval(expression, namespace))
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


with open(os.environ["INTEROP_EXPRESSIONS"], "rb") as file:
    expressions = pickle.load(file)
namespace: dict[str, Any] = {"__name__": "surface"}
exec(SETUP, namespace)
for expression in expressions:
    report("evaluated", expression=expression, result=outcome(expression, namespace))
if "INTEROP_EXIT" in os.environ:
    # Before uWSGI would start its processes.
    os._exit(0)
