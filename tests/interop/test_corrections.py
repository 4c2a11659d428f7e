"""Where uWSGI is wrong about tasks and their arguments: what it does, and what unspool does."""

from __future__ import annotations

import pickle

import pytest
from both import Both, Call, System
from harness import Event, wait_gone
from spooling import foreign, publish

SYSTEMS: list[System] = ["uwsgi", "unspool"]

TASKS = """
    import sys
    from reporting import report
    from uwsgidecorators import spool

    @spool
    def same(arguments):
        report("ran", by="{name}")

    @spool
    def {name}_plain(arguments):
        report("ran", body=arguments["body"])

    @spool(pass_arguments=True)
    def {name}_passing(a, body=None):
        report("ran", a=a, body=body)

    @spool
    def {name}_leaves(arguments):
        report("ran", by="leaving")
        sys.exit(3)

    @spool(pass_arguments=True)
    def {name}_large(text):
        report("ran", length=len(text))
"""


def start(both: Both, system: System) -> None:
    """Both modules are imported, `first` before `second`."""
    for name in ("first", "second"):
        both.project.write(f"{name}.py", TASKS.format(name=name))
    both.run(system, "first", "--spooler-import=second")


def submit(both: Both, module: str, call: str) -> None:
    both.project.python(f"import {module}\n{module}.{call}")


def ran(both: Both) -> Event:
    return both.project.events.wait("ran")


@pytest.mark.parametrize(("system", "by"), [("uwsgi", "second"), ("unspool", "first")])
def test_two_functions_of_one_name(both: Both, system: System, by: str) -> None:
    for name in ("first", "second"):
        both.project.write(f"{name}.py", TASKS.format(name=name))
    submit(both, "first", "same()")
    start(both, system)
    assert ran(both)["by"] == by
    both.project.wait_empty()


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_binary_body(both: Both, system: System) -> None:
    pairs = {b"ud_spool_func": b"first_plain", b"ud_spool_ret": b"-2", b"body": b"\xff\xfe"}
    call: Call = ("spool", (pairs,), {})
    (path,) = both.write("uwsgi", call)
    start(both, system)
    if system == "uwsgi":
        both._started[-1].wait_log("UnicodeDecodeError")
        assert path.exists()
    else:
        assert ran(both)["body"] == b"\xff\xfe"
        both.project.wait_empty()


@pytest.mark.parametrize(("system", "body"), [("uwsgi", None), ("unspool", b"bytes")])
def test_a_body_beside_passed_arguments(both: Both, system: System, body: bytes | None) -> None:
    pairs = {
        b"ud_spool_func": b"first_passing",
        b"ud_spool_ret": b"-2",
        b"args": pickle.dumps((1,)),
        b"kwargs": pickle.dumps({}),
        b"body": b"bytes",
    }
    both.write("uwsgi", ("spool", (pairs,), {}))
    start(both, system)
    event = ran(both)
    assert (event["a"], event["body"]) == (1, body)
    both.project.wait_empty()


@pytest.mark.parametrize("system", SYSTEMS)
def test_system_exit_in_a_task(both: Both, system: System) -> None:
    pairs = {b"ud_spool_func": b"first_leaves", b"ud_spool_ret": b"-2"}
    (path,) = both.write("uwsgi", ("spool", (pairs,), {}))
    start(both, system)
    first = ran(both)
    if system == "uwsgi":
        # It runs again in a new process, before anything else, for ever.
        assert ran(both).pid != first.pid
    else:
        both._started[-1].wait_log("SystemExit: 3")
        both.write("uwsgi", ("spool", ({b"ud_spool_func": b"same", b"ud_spool_ret": b"-2"},), {}))
        event = both.project.events.wait(lambda event: event.fields.get("by") == "second")
        assert event.pid == first.pid
    assert path.exists()


@pytest.mark.parametrize("writer", SYSTEMS)
def test_passed_arguments_of_more_than_64_kib(both: Both, writer: System) -> None:
    """uWSGI stores the value modulo 65,536, and its spooler then fails on it for ever."""
    pairs = {
        b"ud_spool_func": b"first_large",
        b"ud_spool_ret": b"-2",
        b"args": pickle.dumps(("x" * 70_000,)),
        b"kwargs": pickle.dumps({}),
    }
    (path,) = both.write(writer, ("spool", (pairs,), {}))
    start(both, "unspool")
    if writer == "uwsgi":
        both._started[-1].wait_log("UnpicklingError|pickle data was truncated")
        assert path.exists()
    else:
        assert ran(both)["length"] == 70_000
        both.project.wait_empty()


@pytest.mark.parametrize(("system", "length"), [("uwsgi", 70_000 - 65_536), ("unspool", 70_000)])
def test_a_value_of_more_than_64_kib(both: Both, system: System, length: int) -> None:
    both.write(system, ("spool", ({b"text": b"x" * 70_000},), {}))
    both.run(system, "interop_raw")
    assert len(both.project.events.wait("handled")["env"][b"text"]) == length
    both.project.wait_empty()


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    ("content", "fate"),
    [
        pytest.param(b"", "left", id="empty"),
        pytest.param(b"\x11\x02", "left", id="half a header"),
        pytest.param(foreign({b"key": b"value"})[:-4], "deleted", id="cut in the pairs"),
        pytest.param(b"\x11\x08\0\0\x09\0abcdef", "deleted", id="a key past the end"),
        pytest.param(b"\0" + foreign({b"torn": b"1"})[1:], "run", id="no task by its first byte"),
    ],
)
def test_a_torn_file(both: Both, system: System, content: bytes, fate: str) -> None:
    path = publish(both.project.spool, "1", content)
    settle = ("--spooler-settle=0.2",) if system == "unspool" else ()
    daemon = both.run(system, "interop_raw", *settle)
    if system == "unspool":
        daemon.wait_log("corrupt/")
        assert (both.project.spool / "corrupt" / path.name).read_bytes() == content
        assert not path.exists()
        return
    if fate == "run":
        assert both.project.events.wait("handled")["env"][b"torn"] == b"1"
    if fate != "left":
        wait_gone(path)
        return
    # It has looked at the torn one, or will before it has run two more.
    for name in ("2", "3"):
        other = publish(both.project.spool, name, foreign({b"whole": name.encode()}))
        assert both.project.events.wait("handled")["env"][b"whole"] == name.encode()
        wait_gone(other)
    assert path.read_bytes() == content
