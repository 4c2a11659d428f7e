"""The decorators: what their tasks look like on disk, and how they are run."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path
from typing import Any

import pytest
import taskfile
from harness import Project

TASKS = """
import os, pickle, sys, uwsgi
from uwsgidecorators import *

calls = []

@spool
def plain(args):
    calls.append(args)
    return 'ignored'

@spoolraw
def raw(args):
    calls.append(args)
    return RESULT

@spoolforever
def forever(args):
    calls.append(args)

@spool(pass_arguments=True)
def passing(*args, **kwargs):
    calls.append((args, kwargs))

@spoolraw(pass_arguments=True)
def with_body(a, body=None, *, b=None):
    calls.append((a, body, b))
    return uwsgi.SPOOL_OK

@spoolforever(pass_arguments=True)
def forever_passing():
    calls.append(())

RESULT = -2
"""


def submitted(project: Project, call: str) -> taskfile.TaskFile:
    """What one call put on disk."""
    path = project.python(TASKS + f"print(os.fsdecode({call}))").stdout.strip()
    return taskfile.read(path)


def ran(project: Project, message: str, result: str = "-2") -> tuple[int, list[Any]]:
    """What a task returns to the daemon and what its function was called with."""
    source = TASKS + (
        f"""
RESULT = {result}
returned = uwsgi.spooler({{'spooler_task_name': b'NAME', **{message}}})
assert type(returned) is int
print(repr((returned, calls)))
"""
    )
    returned, calls = ast.literal_eval(project.python(source).stdout)
    return returned, calls


# The pairs that the decorators of the real uWSGI 2.0.31 write for these calls.
@pytest.mark.parametrize(
    ("call", "pairs", "body"),
    [
        ("plain()", {"ud_spool_func": "plain", "ud_spool_ret": "-2"}, b""),
        (
            "plain.spool({'a': '1'})",
            {"ud_spool_func": "plain", "ud_spool_ret": "-2", "a": "1"},
            b"",
        ),
        (
            "plain({b'a': b'1', 'b': 'x'}, c='2', body=b'B')",
            {"ud_spool_func": "plain", "ud_spool_ret": "-2", "a": "1", "b": "x", "c": "2"},
            b"B",
        ),
        (
            "plain([('a', 'b')], at='2000000000')",
            {"ud_spool_func": "plain", "ud_spool_ret": "-2", "a": "b", "at": "2000000000"},
            b"",
        ),
        (
            "plain({'a': '1'}, 'ignored', a='2')",
            {"ud_spool_func": "plain", "ud_spool_ret": "-2", "a": "2"},
            b"",
        ),
        (
            "plain(ud_spool_func='other', ud_spool_ret='0')",
            {"ud_spool_func": "other", "ud_spool_ret": "0"},
            b"",
        ),
        ("plain.f.spool(a='1')", {"ud_spool_func": "plain", "ud_spool_ret": "-2", "a": "1"}, b""),
        ("raw(a='1')", {"ud_spool_func": "raw", "a": "1"}, b""),
        ("forever(a='1')", {"ud_spool_func": "forever", "ud_spool_ret": "-1", "a": "1"}, b""),
        (
            "passing(1, 'x', k=[1])",
            {
                "ud_spool_func": "passing",
                "ud_spool_ret": "-2",
                "args": pickle.dumps((1, "x")),
                "kwargs": pickle.dumps({"k": [1]}),
            },
            b"",
        ),
        (
            "passing(1, at='2000000000', body=b'b', priority='7', message_dict='q')",
            {
                "ud_spool_func": "passing",
                "ud_spool_ret": "-2",
                "message_dict": "q",
                "priority": "7",
                "at": "2000000000",
                "args": pickle.dumps((1,)),
                "kwargs": pickle.dumps({}),
            },
            b"b",
        ),
        # More than uWSGI takes.
        (
            "plain(i=1, f=1.5, b=True, t='\\xe9', n=bytearray(b'y'), at=None)",
            {
                "ud_spool_func": "plain",
                "ud_spool_ret": "-2",
                "i": "1",
                "f": "1.5",
                "b": "True",
                "t": "\xe9",
                "n": "y",
            },
            b"",
        ),
        (
            "passing(at=2000000000, priority=7, message_dict={'x': 1})",
            {
                "ud_spool_func": "passing",
                "ud_spool_ret": "-2",
                "x": "1",
                "priority": "7",
                "at": "2000000000",
                "args": pickle.dumps(()),
                "kwargs": pickle.dumps({}),
            },
            b"",
        ),
    ],
)
def test_the_pairs_are_those_of_uwsgis_decorators(
    project: Project, call: str, pairs: dict[str, str | bytes], body: bytes
) -> None:
    file = submitted(project, call)
    expected = [
        (key.encode(), value if isinstance(value, bytes) else value.encode())
        for key, value in pairs.items()
    ]
    assert (file.pairs, file.body) == (expected, body)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("plain(a=object())", "the value of 'a' is a object"),
        ("passing(at='never')", "`at` is `never`"),
        ("passing(priority='../x')", "would leave the spool"),
    ],
)
def test_bad_input_is_a_value_error(project: Project, call: str, text: str) -> None:
    source = TASKS + (
        f"""
try:
    {call}
except ValueError as error:
    print(error)
"""
    )
    assert text in project.python(source).stdout
    assert project.tasks() == []


def test_a_plain_task_is_given_text(project: Project) -> None:
    message = (
        "{b'ud_spool_func': b'plain', b'ud_spool_ret': b'-2', b'a': b'\\xc3\\xa9', 'body': b'B'}"
    )
    assert ran(project, message) == (
        -2,
        [
            {
                "spooler_task_name": "NAME",
                "ud_spool_func": "plain",
                "ud_spool_ret": "-2",
                "a": "é",
                "body": "B",
            }
        ],
    )


@pytest.mark.parametrize(
    ("message", "returned", "arguments"),
    [
        # Values that are not UTF-8, and a key `args`: uWSGI's run for ever and never succeed.
        (
            "{b'ud_spool_func': b'plain', b'a': b'\\xff', 'body': b'\\xfe'}",
            -2,
            {"a": b"\xff", "body": b"\xfe"},
        ),
        (
            "{b'ud_spool_func': b'plain', b'args': b'x', b'kwargs': b'y'}",
            -2,
            {"args": "x", "kwargs": "y"},
        ),
        # From the command line: no ud_spool_ret.
        ("{b'ud_spool_func': b'plain', b'a': b'1'}", -2, {"a": "1"}),
        ("{b'ud_spool_func': b'forever', b'a': b'1'}", -1, {"a": "1"}),
        ("{b'ud_spool_func': b'raw', b'a': b'1'}", -2, {"a": "1"}),
        # The task's own word goes before the decorator's.
        ("{b'ud_spool_func': b'plain', b'ud_spool_ret': b'-1'}", -1, {"ud_spool_ret": "-1"}),
    ],
)
def test_results_of_plain_tasks(
    project: Project, message: str, returned: int, arguments: dict[str, Any]
) -> None:
    code, calls = ran(project, message)
    assert code == returned
    (called,) = calls
    assert called["spooler_task_name"] == "NAME"
    del called["spooler_task_name"], called["ud_spool_func"]
    assert called == arguments


@pytest.mark.parametrize(
    ("message", "returned", "call"),
    [
        (
            "{b'ud_spool_func': b'passing', b'ud_spool_ret': b'-2', b'at': b'1',"
            " b'args': pickle.dumps((1, b'\\xff')), b'kwargs': pickle.dumps({'k': None})}",
            -2,
            ((1, b"\xff"), {"k": None}),
        ),
        (
            "{b'ud_spool_func': b'forever_passing', b'args': pickle.dumps(()),"
            " b'kwargs': pickle.dumps({})}",
            -1,
            (),
        ),
        # The body reaches a function that has a parameter for it, as bytes.
        (
            "{b'ud_spool_func': b'with_body', b'args': pickle.dumps((1,)),"
            " b'kwargs': pickle.dumps({'b': 2}), 'body': b'B'}",
            -2,
            (1, b"B", 2),
        ),
        (
            "{b'ud_spool_func': b'with_body', b'args': pickle.dumps((1, 'own')),"
            " b'kwargs': pickle.dumps({}), 'body': b'B'}",
            -2,
            (1, "own", None),
        ),
        (
            "{b'ud_spool_func': b'passing', b'args': pickle.dumps(()),"
            " b'kwargs': pickle.dumps({}), 'body': b'B'}",
            -2,
            ((), {}),
        ),
        # From the command line: named arguments, and nothing pickled.
        (
            "{b'ud_spool_func': b'with_body', b'a': b'1', b'at': b'1', b'priority': b'5'}",
            -2,
            ("1", None, None),
        ),
        ("{b'ud_spool_func': b'passing', b'x': b'1'}", -2, ((), {"x": "1"})),
    ],
)
def test_passed_arguments_arrive(
    project: Project, message: str, returned: int, call: tuple[Any, ...]
) -> None:
    assert ran(project, message) == (returned, [call])


@pytest.mark.parametrize(
    ("result", "returned"), [("-2", -2), ("-1", -1), ("0", 0), ("'-2'", -2), ("True", 1)]
)
def test_a_raw_task_says_its_own_result(project: Project, result: str, returned: int) -> None:
    assert ran(project, "{b'ud_spool_func': b'raw'}", result)[0] == returned


@pytest.mark.parametrize("result", ["None", "'done'", "[]"])
def test_a_raw_task_without_a_result_is_an_error(project: Project, result: str) -> None:
    source = TASKS + (
        f"""
RESULT = {result}
try:
    manage_spool_request({{b'ud_spool_func': b'raw'}})
except (TypeError, ValueError) as error:
    print(error)
"""
    )
    assert project.python(source).stdout.startswith("raw returned a ")


def test_an_exception_is_the_daemons_to_see(project: Project) -> None:
    source = """
    import uwsgi
    from uwsgidecorators import spool

    @spool
    def failing(args):
        raise ZeroDivisionError('here')

    try:
        uwsgi.spooler({b'ud_spool_func': b'failing', b'ud_spool_ret': b'-2'})
    except ZeroDivisionError as error:
        print(error)
    """
    assert project.python(source).stdout == "here\n"


def test_an_unknown_function_is_named_with_those_there_are(project: Project) -> None:
    source = """
    import pickle, unspool
    from uwsgidecorators import *

    @spool
    def zeta(args): pass

    @spool
    def alpha(args): pass

    for name, expected in (('nope', "'nope' is not registered"), (None, 'names no function')):
        message = {} if name is None else {b'ud_spool_func': name.encode()}
        try:
            manage_spool_request(message)
        except unspool.UnknownFunction as error:
            assert isinstance(error, LookupError)
            assert error.name == (name or '') and error.registered == ('alpha', 'zeta')
            assert expected in str(error) and 'alpha, zeta' in str(error), error
            assert str(pickle.loads(pickle.dumps(error))) == str(error)
        else:
            raise AssertionError
    """
    project.python(source)


def test_what_a_decorated_function_is(project: Project) -> None:
    source = (
        TASKS
        + """
assert not isinstance(plain, type(plain.f))
assert plain.f({'a': 1}) == 'ignored' and calls == [{'a': 1}]
assert plain.__name__ == 'plain' and plain.__wrapped__ is plain.f
assert plain.pass_arguments is False and passing.pass_arguments is True
assert plain.base_dict == {'ud_spool_func': 'plain'}
plain.delay = plain.spool
assert os.path.exists(plain.delay()) and os.path.exists(plain.f.spool())
assert sorted(spooler_functions) == [
    'forever', 'forever_passing', 'passing', 'plain', 'raw', 'with_body']
assert uwsgi.spooler is manage_spool_request
"""
    )
    project.python(source)


def test_import_star_brings_what_uwsgis_does(project: Project) -> None:
    source = """
    from uwsgidecorators import *
    for name in ('uwsgi', 'pickle', 'partial', 'sys', 'Thread', 'spool', 'spoolraw', 'spoolforever',
                 'timer', 'rbtimer', 'cron', 'signal', 'postfork', 'thread', 'lock',
                 'get_free_signal', 'manage_spool_request', 'postfork_chain',
                 'postfork_chain_hook', 'spooler_functions'):
        assert name in globals(), name
    from uwsgidecorators import spool, uwsgi
    """
    project.python(source)


def test_two_functions_of_one_name_are_a_warning(project: Project) -> None:
    source = """
    import warnings
    from uwsgidecorators import spool

    def make(body):
        exec(compile(body, body, 'exec'), namespace := {'spool': spool})
        return namespace['same']

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        first = make('@spool\\ndef same(args): return 1')
        again = make('@spool\\ndef same(args): return 1')
        assert caught == []
        make('@spool\\ndef same(args): return 2')
        assert [warning.category for warning in caught] == [RuntimeWarning]
        assert "'same'" in str(caught[0].message)
    """
    project.python(source)


def test_signals_timers_and_crons_register_the_function(project: Project) -> None:
    source = """
    import uwsgi
    from unspool import _signals
    from uwsgidecorators import *

    @signal(3, target='workers')
    def on_signal(num): print('signal', num)

    @timer(30)
    def tick(num): print('tick', num)

    @timer(30, signum=17, target='spooler')
    def chosen(num): pass

    @rbtimer(5)
    def rb(num): pass

    @mstimer(500)
    def ms(num): pass

    @cron(59, 3, -1, -1, -1)
    def nightly(num): pass

    @cron(minute=0, hour=2, day=-1, month=-1, dayweek=-1, target='worker')
    def keywords(num): pass

    tick(99)
    assert get_free_signal() == 6
    snapshot = _signals.snapshot()
    assert [(entry['signal'], entry['target']) for entry in snapshot['signals']] == [
        (0, ''), (1, ''), (2, ''), (3, 'workers'), (4, ''), (5, 'worker'), (17, 'spooler')]
    assert [(entry['signal'], entry['seconds']) for entry in snapshot['timers']] == [
        (0, 30), (17, 30), (1, 5), (2, 0.5)]
    assert [(entry['signal'], entry['hour']) for entry in snapshot['crons']] == [(4, 3), (5, 2)]
    _signals.dispatch(0)
    _signals.dispatch(3)

    for number in range(256):
        if not uwsgi.signal_registered(number):
            uwsgi.register_signal(number, '', print)
    try:
        timer(1)(print)
    except Exception as error:
        print(error)
    """
    printed = project.python(source).stdout
    assert printed == "tick 99\ntick 0\nsignal 3\nNo free uwsgi signal available\n"


def test_postfork_functions_run_in_order_in_their_workers(project: Project) -> None:
    source = """
    import uwsgi
    from uwsgidecorators import *

    @postfork
    def first(): print('first')

    @postfork(3)
    def in_three(): print('three')

    @postfork(4)
    def in_four(): print('four')

    assert uwsgi.post_fork_hook is postfork_chain_hook and len(postfork_chain) == 3
    from unspool import _process
    _process.become_worker('signal', 17, 3)
    uwsgi.post_fork_hook()
    """
    assert project.python(source).stdout == "first\nthree\n"


def test_thread_and_lock(project: Project) -> None:
    source = """
    import threading
    from uwsgidecorators import *

    done = threading.Event()

    @thread
    def aside(value):
        assert threading.current_thread().daemon
        print(value, flush=True)
        done.set()

    assert aside('aside') is aside.__wrapped__
    assert done.wait(10)

    @lock
    def locked(value):
        assert uwsgi.is_locked()
        return value

    assert locked('value') == 'value' and not uwsgi.is_locked()
    """
    assert project.python(source).stdout == "aside\n"


@pytest.mark.parametrize("kind", ["spool", "spoolraw", "spoolforever"])
def test_an_external_spool_is_enough(project: Project, kind: str) -> None:
    ini = project.write("app.ini", "[uwsgi]\nspooler-external = spool\n")
    source = f"""
    from uwsgidecorators import {kind}

    @{kind}
    def f(args): pass

    print(f().decode())
    """
    env = {**project.env, "UNSPOOL_CONFIG": str(ini)}
    assert Path(project.python(source, env=env).stdout.strip()).parent == project.spool
