"""What one system writes the other runs, with the same arguments.

Every case also runs with uWSGI on both sides, so that what is expected is what uWSGI does.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from both import Both, Call, System
from harness import wait_gone

PAIRS = [
    pytest.param("uwsgi", "uwsgi", id="uwsgi-alone"),
    pytest.param("unspool", "uwsgi", id="unspool-to-uwsgi"),
    pytest.param("uwsgi", "unspool", id="uwsgi-to-unspool"),
    pytest.param("unspool", "unspool", id="unspool-alone"),
]
FROM_UNSPOOL = [
    pytest.param("uwsgi", id="unspool-to-uwsgi"),
    pytest.param("unspool", id="unspool-alone"),
]
PAST = "1000000000"


def own_pair_removed(env: dict[Any, Any], writer: System, runner: System) -> dict[Any, Any]:
    """Under uWSGI the one pair that unspool adds is one more key, in printable ASCII."""
    if (writer, runner) == ("unspool", "uwsgi"):
        key = b"unspool" if b"unspool" in env else "unspool"
        value = env.pop(key)
        text = value.decode("ascii") if isinstance(value, bytes) else value
        assert text.isascii()
        assert text.isprintable()
    return env


def handle(both: Both, writer: System, runner: System, call: Call) -> tuple[Path, dict[Any, Any]]:
    """Writes one task and returns its file and what a bare handler was given."""
    (path,) = both.write(writer, call)
    both.run(runner, "interop_raw")
    env = both.project.events.wait("handled")["env"]
    both.project.wait_empty()
    return path, own_pair_removed(env, writer, runner)


def execute(both: Both, writer: System, runner: System, call: Call) -> tuple[Path, dict[str, Any]]:
    """The same with the decorated tasks."""
    (path,) = both.write(writer, call)
    both.run(runner, "interop_tasks")
    fields = dict(both.project.events.wait("ran").fields)
    both.project.wait_empty()
    if "arguments" in fields:
        fields["arguments"] = own_pair_removed(fields["arguments"], writer, runner)
    return path, fields


@pytest.mark.parametrize(("writer", "runner"), PAIRS)
@pytest.mark.parametrize("function", ["spool", "send_to_spooler"])
def test_bare_handler_is_given_the_same_dictionary(
    both: Both, writer: System, runner: System, function: str
) -> None:
    task = {b"first": b"one", b"binary": bytes(range(256)), b"empty": b"", b"body": b"BODY\x00\xff"}
    path, env = handle(both, writer, runner, (function, (task,), {}))
    assert env == {
        "spooler_task_name": os.fsencode(path.name),
        b"first": b"one",
        b"binary": bytes(range(256)),
        b"empty": b"",
        "body": b"BODY\x00\xff",
    }


@pytest.mark.parametrize(("writer", "runner"), PAIRS)
def test_body_and_task_name_are_text_keys_only_when_they_are_no_pairs(
    both: Both, writer: System, runner: System
) -> None:
    task = {b"spooler_task_name": b"mine", b"key": b"value"}
    path, env = handle(both, writer, runner, ("spool", (task,), {}))
    assert env == {
        "spooler_task_name": os.fsencode(path.name),
        b"spooler_task_name": b"mine",
        b"key": b"value",
    }


@pytest.mark.parametrize(("writer", "runner"), PAIRS)
def test_empty_task_is_run(both: Both, writer: System, runner: System) -> None:
    path, env = handle(both, writer, runner, ("spool", ({},), {}))
    assert env == {"spooler_task_name": os.fsencode(path.name)}


@pytest.mark.parametrize(("writer", "runner"), PAIRS)
def test_body_larger_than_any_pair(both: Both, writer: System, runner: System) -> None:
    body = bytes(range(256)) * 400
    _, env = handle(both, writer, runner, ("spool", ({b"key": b"v" * 60_000, b"body": body},), {}))
    assert env[b"key"] == b"v" * 60_000
    assert env["body"] == body


@pytest.mark.parametrize(("writer", "runner"), PAIRS)
def test_due_time_in_the_past_is_kept_and_runs_at_once(
    both: Both, writer: System, runner: System
) -> None:
    call: Call = ("spool", ({b"key": b"value", b"at": PAST.encode()},), {})
    (path,) = both.write(writer, call)
    assert path.stat().st_mtime_ns == int(PAST) * 10**9
    both.run(runner, "interop_raw")
    env = own_pair_removed(both.project.events.wait("handled")["env"], writer, runner)
    assert env == {
        "spooler_task_name": os.fsencode(path.name),
        b"key": b"value",
        b"at": PAST.encode(),
    }


@pytest.mark.parametrize(("writer", "runner"), PAIRS)
def test_task_that_is_not_due_is_left(both: Both, writer: System, runner: System) -> None:
    later = int(time.time()) + 86_400
    waiting, due = both.write(
        writer,
        ("spool", ({b"key": b"later", b"at": b"%d" % later},), {}),
        ("spool", ({b"key": b"now"},), {}),
    )
    assert waiting.stat().st_mtime_ns == later * 10**9
    both.run(runner, "interop_raw")
    assert both.project.events.wait("handled")["env"][b"key"] == b"now"
    wait_gone(due)
    both.stop()
    assert waiting.exists()
    assert len(both.project.events.history) == 2  # what the writer and what the handler told


@pytest.mark.parametrize(("writer", "runner"), PAIRS)
def test_decorated_task_is_given_text(both: Both, writer: System, runner: System) -> None:
    keywords = {"name": "value", "accents": "d\u00e9j\u00e0 vu", "raw": b"bytes", "at": PAST}
    call: Call = ("plain", (), {**keywords, "body": "the body"})
    path, fields = execute(both, writer, runner, call)
    assert fields == {
        "task": "plain",
        "arguments": {
            "ud_spool_func": "plain",
            "ud_spool_ret": "-2",
            "name": "value",
            "accents": "d\u00e9j\u00e0 vu",
            "raw": "bytes",
            "at": PAST,
            "body": "the body",
            "spooler_task_name": path.name,
        },
    }


@pytest.mark.parametrize(("writer", "runner"), PAIRS)
def test_decorated_task_called_with_a_dictionary(
    both: Both, writer: System, runner: System
) -> None:
    path, fields = execute(both, writer, runner, ("plain", ({"a": "1", b"b": b"2"},), {"c": "3"}))
    assert fields["arguments"] == {
        "ud_spool_func": "plain",
        "ud_spool_ret": "-2",
        "a": "1",
        "b": "2",
        "c": "3",
        "spooler_task_name": path.name,
    }


@pytest.mark.parametrize(("writer", "runner"), PAIRS)
def test_python_arguments_are_passed(both: Both, writer: System, runner: System) -> None:
    args = ("text", b"bytes", 7, 2.5, None, True, [1, {"nested": (2, 3)}])
    keywords = {"count": 10**30, "mapping": {1: "one"}, "empty": ()}
    _, fields = execute(both, writer, runner, ("passing", args, {**keywords, "at": PAST}))
    assert fields == {"task": "passing", "args": args, "kwargs": keywords}


@pytest.mark.parametrize(("writer", "runner"), PAIRS)
def test_raw_task_returns_its_own_code(both: Both, writer: System, runner: System) -> None:
    path, fields = execute(both, writer, runner, ("raw", (), {"key": "value"}))
    assert fields["task"] == "raw"
    assert fields["arguments"] == {
        "ud_spool_func": "raw",
        "key": "value",
        "spooler_task_name": path.name,
    }


@pytest.mark.parametrize(("writer", "runner"), PAIRS)
def test_task_for_ever_runs_again(both: Both, writer: System, runner: System) -> None:
    (path,) = both.write(writer, ("forever", (), {"key": "value"}))
    both.run(runner, "interop_tasks")
    runs = both.project.events.collect(2, "ran")
    assert [run["arguments"]["spooler_task_name"] for run in runs] == [path.name, path.name]
    both.stop()
    assert path.exists()


@pytest.mark.parametrize("runner", FROM_UNSPOOL)
def test_values_that_are_not_bytes_arrive_as_text(both: Both, runner: System) -> None:
    """uWSGI refuses such values; unspool writes what `str` makes of them."""
    call: Call = ("plain", (), {"text": "t", "number": 5, "ratio": 1.5, "flag": True, "at": 1})
    path, fields = execute(both, "unspool", runner, call)
    assert fields["arguments"] == {
        "ud_spool_func": "plain",
        "ud_spool_ret": "-2",
        "text": "t",
        "number": "5",
        "ratio": "1.5",
        "flag": "True",
        "at": "1",
        "spooler_task_name": path.name,
    }


@pytest.mark.parametrize("runner", FROM_UNSPOOL)
def test_raw_values_that_are_not_bytes_arrive_as_bytes(both: Both, runner: System) -> None:
    task = {"text": "t\u00e9", b"number": 5, b"ratio": 1.5, b"flag": False, b"bytes": b"\xff"}
    path, env = handle(both, "unspool", runner, ("spool", (task,), {}))
    assert env == {
        "spooler_task_name": os.fsencode(path.name),
        b"text": "t\u00e9".encode(),
        b"number": b"5",
        b"ratio": b"1.5",
        b"flag": b"False",
        b"bytes": b"\xff",
    }


@pytest.mark.parametrize(("writer", "runner"), PAIRS)
def test_priorities_are_run_in_their_order(both: Both, writer: System, runner: System) -> None:
    order = [None, b"10", b"5", None, b"7"]
    calls: list[Call] = []
    for number, priority in enumerate(order):
        task = {b"n": b"%d" % number} | ({b"priority": priority} if priority else {})
        calls.append(("spool", (task,), {}))
    paths = both.write(writer, *calls)
    spool = both.project.spool
    expected = [spool / priority.decode() if priority else spool for priority in order]
    assert [path.parent for path in paths] == expected
    both.run(runner, "interop_raw", "--spooler-ordered")
    events = both.project.events.collect(len(order), "handled")
    assert [event["env"][b"n"] for event in events] == [b"2", b"4", b"1", b"0", b"3"]
    assert events[0]["env"][b"priority"] == b"5"
    both.project.wait_empty()
