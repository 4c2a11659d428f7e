"""Every decorator of uWSGI 2.0.31, on it and on unspool: the same module, the same results.

What differs on purpose stands here with its reason, and in docs/uwsgi-differences.md.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from both import APPS, Both, System
from harness import PYTHON, SUPPORT, Event

SYSTEMS: list[System] = ["uwsgi", "unspool"]
EVALUATOR = APPS / "interop_decorators.py"

# Names that end with `_loop` or `_brain` are how uWSGI's module works inside.
INSIDE = {"spool_decorate"}

# Expressions that give the same on both, evaluated in this order in one namespace.
SAME = """
callable(spool(plain))
isinstance(spool(plain), type(plain))
spool(plain).f is plain
spool(plain).pass_arguments
spool(plain, pass_arguments=True).pass_arguments
spool(pass_arguments=True)(plain).pass_arguments
spool(plain).base_dict
spoolraw(raw).base_dict
spoolforever(forever).base_dict
type(spool(plain)).__name__
type(spoolraw(plain)).__name__
type(spoolforever(plain)).__name__
hasattr(plain, 'spool')
spooler_functions['plain'] is plain
sorted(spooler_functions)
type(spool(None)).__name__
spool(5)
spool(partial(print))
setattr(spool(plain), 'delay', 1)
type(spool(fresh('x'))()), type(spool(fresh('x')).spool(a='1')), type(fresh('x'))
spool(fresh('x')).f.spool(a='1')[:1]
spool(fresh('x'))(a=object())
manage_spool_request({b'ud_spool_func': b'x', b'ud_spool_ret': b'-1'})
called[-1:]
manage_spool_request({'ud_spool_func': b'x', 'ud_spool_ret': b'7'})
called[-1:]
spool(fresh('p'), pass_arguments=True).pass_arguments
manage_spool_request(passed)
called[-1:]
manage_spool_request({b'ud_spool_func': b'nothing'})
manage_spool_request({})
spoolraw(fresh('five', 5)) and manage_spool_request({b'ud_spool_func': b'five'})
spoolraw(fresh('text', '-2')) and manage_spool_request({b'ud_spool_func': b'text'})
spoolraw(fresh('truth', True)) and manage_spool_request({b'ud_spool_func': b'truth'})
spoolraw(fresh('none')) and manage_spool_request({b'ud_spool_func': b'none'})
spoolraw(fresh('words', 'x')) and manage_spool_request({b'ud_spool_func': b'words'})
signal(100)(plain) is plain
signal(101, target='worker')(plain) is plain
signal('x')(plain)
get_free_signal()
timer(3600)(plain) is plain
get_free_signal()
timer(3600, signum=77)(plain) is plain
uwsgi.signal_registered(77)
timer(3600, target='spooler')(plain) is plain
timer('x')(plain)
timer(secs=3600)(plain) is plain
rbtimer(3600)(plain) is plain
rbtimer(secs=3600, signum=78, target='')(plain) is plain
cron(1, 2, -1, -1, -1)(plain) is plain
cron(minute=1, hour=2, day=-1, month=-1, dayweek=-1, target='worker')(plain) is plain
cron(1, 2)
cron('x', 2, 3, 4, 5)(plain)
filemon('/tmp')(plain) is plain
filemon('/tmp', target='spooler', signum=79)(plain) is plain
uwsgi.signal_registered(79)
get_free_signal()
len(postfork_chain)
postfork(plain) and len(postfork_chain)
[postfork(3)(plain), len(postfork_chain)][1]
postfork_chain_hook()
rpc('name')(plain) is plain
mulefunc(plain)(1)
mulefunc(2)(plain)(1)
mulefunc('farm')(plain)(1)
mule_functions['plain'] is plain
mule(1)(plain)
muleloop(1)(plain)
mulemsg(1)(plain)
farm('name')(plain)
farm()(plain)
mule_msg_dispatcher(sent)
called[-1:]
mule_msg_dispatcher(pickle.dumps({'service': 'other'}))
mule_msg_dispatcher(b'x')
lock(fresh('l', 'value'))(1)
thread(plain)(1) is plain
joined()
called[-1:]
harakiri(60)(fresh('h', 'value'))(1)
called[-1:]
uwsgi.spooler is manage_spool_request
uwsgi.mule_msg_hook is mule_msg_dispatcher
uwsgi.post_fork_hook is postfork_chain_hook
""".strip().splitlines()


class Difference(NamedTuple):
    expression: str
    uwsgi: str
    unspool: str
    reason: str


DIFFERENT = [
    Difference(
        "spool(plain).__name__",
        "AttributeError",
        "'plain'",
        "a decorated function keeps its name, its text and its signature",
    ),
    Difference("timer(1.5, signum=150)(plain) is plain", "TypeError", "True", "fractions work"),
    Difference("mstimer(500)(plain) is plain", "NameError", "True", "it is of the master branch"),
    Difference(
        "postfork(plain) is plain", "False", "True", "the function can still be called by its name"
    ),
    Difference("postfork(4)(plain) is plain", "False", "True", "the same"),
    Difference(
        "erlang('name')(plain) is plain",
        "AttributeError",
        "True",
        "what cannot be carried out is recorded and named in the log",
    ),
    Difference(
        "spool(spool(fresh('again')))",
        "AttributeError",
        "TypeError",
        "an error that says what is wrong: such a task would submit itself for ever",
    ),
    Difference("spool(fresh('x'))(at=2000000000)[:1]", "ValueError", "b'/'", "numbers are taken"),
    Difference(
        "manage_spool_request({**task, b'a': b'\\xff'})",
        "UnicodeDecodeError",
        "-2",
        "bytes that are no text stay bytes",
    ),
    Difference(
        "manage_spool_request({**task, b'args': b'x'})",
        "UnpicklingError",
        "-2",
        "a plain task may have an argument of this name",
    ),
]


def evaluate(both: Both, system: System, expressions: Sequence[str]) -> list[str]:
    """What each gives: its text, or the name of the error."""
    path = both.project.root / "expressions"
    path.write_bytes(pickle.dumps(list(expressions)))
    env = {"INTEROP_EXPRESSIONS": str(path), "INTEROP_EXIT": "1"}
    if system == "uwsgi":
        child = both._uwsgi(f"--spooler={both.project.spool}", f"--import={EVALUATOR}", env=env)
    else:
        spool = {"UNSPOOL_SPOOL": str(both.project.spool), "PYTHONPATH": str(SUPPORT)}
        child = both._start(PYTHON, str(EVALUATOR), env={**env, **spool})
    events = both.project.events.collect(len(expressions), "evaluated")
    assert child.wait_exit() == 0
    return [told(event) for event in events]


def told(event: Event) -> str:
    result: str = event["result"]
    error = re.match(r"(\w+(?:Error|Exception|Function)): ", result)
    if error is None:
        return result
    # Ours are kinds of uWSGI's.
    return {"SpoolError": "ValueError", "UnknownFunction": "KeyError"}.get(error[1], error[1])


def test_each_decorator_gives_the_same(both: Both) -> None:
    real, ours = (evaluate(both, system, SAME) for system in SYSTEMS)
    differing = [
        f"{expression}: uwsgi {a}, unspool {b}"
        for expression, a, b in zip(SAME, real, ours, strict=True)
        if a != b
    ]
    assert differing == []


def test_each_difference_is_as_it_is_described(both: Both) -> None:
    expressions = [difference.expression for difference in DIFFERENT]
    assert evaluate(both, "uwsgi", expressions) == [difference.uwsgi for difference in DIFFERENT]
    assert evaluate(both, "unspool", expressions) == [
        difference.unspool for difference in DIFFERENT
    ]


def test_each_name_of_uwsgis_is_there(both: Both) -> None:
    names = "sorted(name for name in dir(module) if not name.startswith('_'))"
    (real,), (ours,) = (evaluate(both, system, [names]) for system in SYSTEMS)
    missing = set(names_in(real)) - set(names_in(ours))
    assert missing == INSIDE
    star = "sorted(name for name in globals() if name in dir(module))"
    (real,), (ours,) = (evaluate(both, system, [star]) for system in SYSTEMS)
    starred = {name for name in names_in(real) if not name.startswith("_")}
    assert starred - set(names_in(ours)) == INSIDE


def names_in(text: str) -> list[str]:
    return re.findall(r"'(\w+)'", text)


PROCESSES = """
    import os
    from reporting import report
    from uwsgidecorators import *

    forked = []

    @postfork
    def first():
        forked.append("first")

    @postfork(1)
    def only_in_worker_one():
        forked.append("one")

    @postfork
    def second():
        forked.append("second")

    @lock
    def locked():
        return "value"

    @thread
    def aside(number):
        report("aside", pid=os.getpid(), number=number)

    @timer(1, target="spooler")
    def tick(number):
        report("tick", number=number)

    @spool
    def task(arguments):
        aside(7)
        report("task", forked=forked, locked=locked(), pid=os.getpid())
"""


@pytest.mark.parametrize(("system", "locked"), [("uwsgi", None), ("unspool", "value")])
def test_decorators_in_a_process_that_runs_tasks(
    both: Both, system: System, locked: str | None
) -> None:
    """`lock` skips its function in a uWSGI spooler; all else is the same."""
    both.project.write("processes.py", PROCESSES)
    both.write("uwsgi", ("spool", ({b"ud_spool_func": b"task", b"ud_spool_ret": b"-2"},), {}))
    # Imported before the fork, so that uWSGI has the hooks and the timer.
    both.run(system, "processes", "--import=processes")
    task, aside = both.project.events.wait("task"), both.project.events.wait("aside")
    assert task["forked"] == ["first", "second"]
    assert task["locked"] == locked
    assert (aside["number"], aside["pid"]) == (7, task["pid"])
    assert both.project.events.wait("tick")["number"] == 0
