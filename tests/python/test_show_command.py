"""`unspool show`: all of one task, and nothing of it is run."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import pickle
import subprocess
import uuid
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from harness import UNSPOOL, Project, wait_gone
from snapshots import masked
from spooling import foreign, publish, submit
from syrupy.assertion import SnapshotAssertion

DONE, FAILED, USAGE, NOTHING = 0, 1, 2, 3

MODULE = """
    import datetime
    from uwsgidecorators import spool

    class Account:
        def __init__(self, number):
            self.number, self.api_token = number, "hush"

    @spool(pass_arguments=True)
    def transfer(source, amount, when=None, password=None):
        print("moving", amount)
        raise ValueError(f"{source} has not enough")
"""


def show(project: Project, task: Path | str, *arguments: str) -> dict[str, Any]:
    done = project.unspool("show", "--json", *arguments, str(task))
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def made(project: Project) -> Path:
    """The spool, which unspool knows as one."""
    submit(project, "mark")
    return project.spool


def raw(project: Project, *arguments: str | Path) -> bytes:
    command = [UNSPOOL, "show", *arguments]
    return subprocess.run(command, env=project.env, stdout=subprocess.PIPE, check=True).stdout


def pickled(project: Project, *args: object, **kwargs: object) -> Path:
    """A task whose arguments are pickled by this process."""
    protocol = kwargs.pop("protocol", None)
    assert protocol is None or isinstance(protocol, int)
    content = foreign(
        {
            b"ud_spool_func": b"f",
            b"args": pickle.dumps(args, protocol),
            b"kwargs": pickle.dumps(kwargs, protocol),
        }
    )
    return publish(made(project), "web_1_1_7_1795000000_0", content)


def test_a_task_that_failed(project: Project, snapshot: SnapshotAssertion) -> None:
    project.write("tasks.py", MODULE)
    call = "tasks.transfer.using(max_attempts=2, retry_delay=0.001)"
    arguments = "tasks.Account(7), amount=12.5, when=datetime.date(2026, 11, 26), password='hush'"
    code = f"import os, tasks, datetime\nprint(os.fsdecode({call}.spool({arguments})))"
    path = Path(project.python(code).stdout.strip())
    assert masked(project, project.unspool("show", str(path)).stdout) == snapshot(name="pending")
    running = project.daemon("--spooler", project.spool, "--spooler-import", "tasks")
    try:
        running.start().wait_ready()
        running.wait_log("task given up")
        wait_gone(path)
    finally:
        running.close()
    shown = project.unspool("show", "--spooler", str(project.spool), path.name).stdout
    assert "hush" not in shown
    assert masked(project, shown) == snapshot(name="dead")
    history = show(project, path)["history"]
    assert [attempt["outcome"] for attempt in history] == ["exception", "exception"]
    assert "moving 12.5" in history[0]["output"]


VALUES = [
    None,
    True,
    -1,
    255,
    65_536,
    -(2**31),
    2**100,
    1.5,
    -0.0,
    "text",
    "it's",
    'say "it\'s"',
    "ü€😀",
    "line\nnext\ttab",
    "x" * 300,
    b"",
    b"bytes\x00\xff",
    [],
    [1, [2, [3]]],
    (),
    (1,),
    (1, 2),
    (1, 2, 3, 4),
    {},
    {"a": 1, "b": {"c": [None]}},
    {1: "int key", None: "none"},
    datetime.datetime(2026, 11, 26, 14, 3, 11),
    datetime.datetime(2026, 11, 26, 14, 3, 11, 512),
    datetime.date(2026, 11, 26),
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_arguments_look_like_pythons(project: Project, protocol: int) -> None:
    values = [
        value
        for value in VALUES
        # What has no opcode of its own in the old protocols is a call there.
        if protocol >= 3 or not isinstance(value, bytes | datetime.date)
    ]
    path = pickled(project, *values, protocol=protocol)
    shown = project.unspool("show", str(path)).stdout.splitlines()
    first = next(number for number, line in enumerate(shown) if line.startswith("arguments"))
    lines = [line[11:] for line in shown[first : first + len(values)]]
    assert lines == [repr(value) for value in values]


def test_objects_are_shown_by_name(project: Project) -> None:
    identity = uuid.UUID("12345678-1234-5678-1234-567812345678")
    arguments = [identity, decimal.Decimal("1.50"), OrderedDict(a=1), print, {3}, Path("/srv")]
    path = pickled(project, *arguments, account=datetime.timedelta(1, 2, 3))
    shown = show(project, path)
    assert shown["args"] == [
        f"UUID('{identity}')",
        "Decimal('1.50')",
        "<collections.OrderedDict({'a': 1})>",
        "<builtins.print>",
        [3],
        "<pathlib.PosixPath('/', 'srv')>",
    ]
    assert shown["kwargs"] == {"account": "datetime.timedelta(1, 2, 3)"}


class Trap:
    """What a pickle runs when Python loads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nothing_of_a_pickle_is_run(project: Project) -> None:
    mark = project.root / "ran"
    shown = project.unspool("show", str(pickled(project, Trap(mark)))).stdout
    assert "touch" in shown and not mark.exists()


def test_secrets_are_hidden_unless_asked_for(project: Project) -> None:
    keys = {"password": "hush1", "nested": [{"api_key": "hush2", "user": "me"}]}
    path = pickled(project, "redis://me:hush3@host/1", Authorization="hush4", **keys)
    for arguments in ((), ("--json",)):
        text = project.unspool("show", *arguments, str(path)).stdout
        assert "hush" not in text and "me" in text
    assert "hush1" in project.unspool("show", "--show-secrets", str(path)).stdout
    plain = submit(project, "f", token="hush5", data='{"cookie": "hush6", "n": 1}')
    shown = show(project, plain)
    assert shown["kwargs"] == {"token": "***", "data": '{"cookie": "***", "n": 1}'}
    assert b"hush5" in plain.read_bytes()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('{"token": "hush", "n": 1', '{"token": "***", "n": 1'),
        ("{'token': ['hush'], 'n': 1}", "{'token': ***, 'n': 1}"),
        (r'{"a": "{\"token\": \"hush\"}"}', r'{"a": "{\"token\": \"***\"}"}'),
        (f'{{"token": "hush", "x": "{"y" * 1_100_000}"', '{"token": "***", "x": "y'),
        ('{"z": 1.10, "pass": "hush", "a": 1e400}', '{"z": 1.10, "pass": "***", "a": 1e400}'),
        ('[["Authorization", "hush"], ["x", 1]]', '[["Authorization", "***"], ["x", 1]]'),
        ('["PATH=/bin", "DB_PASSWORD=hush hush"]', '["PATH=/bin", "DB_PASSWORD=***"]'),
        ("/path?a=1&api-key=hush&b=2", "/path?a=1&api-key=***&b=2"),
        ("Cookie: a=hush; b=hush\nHost: h", "Cookie: ***\nHost: h"),
        (
            "SELECT a FROM t WHERE key = 1 -- monkey: 2",
            "SELECT a FROM t WHERE key = 1 -- monkey: 2",
        ),
    ],
    ids=[
        *("torn JSON", "Python's", "JSON in JSON", "long JSON", "JSON as it is", "pairs"),
        *("variables", "a query", "headers", "no secrets"),
    ],
)
def test_secrets_are_hidden_in_what_is_no_json(project: Project, value: str, expected: str) -> None:
    project.write("value", value)
    body = project.root / "value"
    path = submit(project, "f", "--body", str(body))
    assert show(project, path)["body"].startswith(expected)


def test_secrets_are_hidden_in_what_is_no_text(project: Project) -> None:
    body = project.root / "value"
    body.write_bytes(b"\xff\x00token=hush&x=1")
    shown = show(project, submit(project, "f", "--body", str(body)))
    assert base64.b64decode(shown["body"]["base64"]) == b"\xff\x00token=***&x=1"
    # Old protocols have bytes as a call that makes them of a text.
    pairs = [("password", "hush"), [b"otp", 5], ("user", "me")]
    for protocol in (2, 4):
        path = pickled(project, b"\xfftoken=hush", pairs, {b"pwd": "hush"}, protocol=protocol)
        text = project.unspool("show", str(path)).stdout
        assert "hush" not in text and "token=***" in text and "('user', 'me')" in text
        assert "('password', ***), [b'otp', ***]" in text and "{b'pwd': ***}" in text


def test_two_arguments_may_be_a_name_and_its_value(project: Project) -> None:
    path = pickled(project, "password", "hush", n=1)
    assert show(project, path)["args"] == ["password", "***"]
    assert show(project, path, "--show-secrets")["args"] == ["password", "hush"]
    assert show(project, pickled(project, "user", "me"))["args"] == ["user", "me"]


def test_a_pickle_that_cannot_be_read_is_said_to_be_one(project: Project) -> None:
    content = foreign({b"ud_spool_func": b"f", b"args": b"\x80\x04\xff.", b"kwargs": b"\x80\x04}."})
    path = publish(made(project), "web_1_1_7_1795000000_0", content)
    assert "a pickle of 8 bytes that cannot be shown" in project.unspool("show", str(path)).stdout
    assert show(project, path)["unreadable_pickle"]["bytes"] == 8


def test_values_and_bodies_are_written_as_they_are(project: Project) -> None:
    body = project.root / "body"
    body.write_bytes(b"\x00\xffbody\x1b[31m")
    path = submit(project, "f", "--body", str(body), to="a\nb")
    assert raw(project, "--body", path) == body.read_bytes()
    assert raw(project, "--raw", "to", path) == b"a\nb"
    shown = project.unspool("show", str(path)).stdout
    assert "to='a\\nb'" in shown and "\x1b" not in shown
    assert "body       11 bytes: b'\\x00\\xffbody\\x1b[31m'" in shown
    for arguments in (("--raw", "odd", str(path)), ("--body", str(submit(project, "f")))):
        done = project.unspool("show", *arguments, check=False)
        assert done.returncode == NOTHING, done.stderr


def test_a_capsule_is_replayed_elsewhere(project: Project) -> None:
    project.write("tasks.py", MODULE)
    code = "import os, tasks\nprint(os.fsdecode(tasks.transfer.spool('x', 1)))"
    path = Path(project.python(code).stdout.strip())
    capsule = project.root / "capsule.json"
    capsule.write_text(project.unspool("show", "--capsule", str(path)).stdout)
    path.unlink()
    done = project.unspool("replay", "--capsule", str(capsule), check=False)
    assert done.returncode == FAILED and "x has not enough" in done.stderr


def test_who_signed_is_said(project: Project) -> None:
    keys = project.root / "keys"
    keys.write_text("web " + "ab" * 32 + "\n")
    keys.chmod(0o600)
    path = submit(project, "f", "--keys", str(keys))
    assert show(project, path)["signature"] == {"key": "web", "holds": None}
    ini = project.root / "app.ini"
    ini.write_text(f"[uwsgi]\nspooler = {project.spool}\nspooler-keys = {keys}\n")
    assert show(project, path, "--config", str(ini))["signature"]["holds"] is True
    keys.write_text("web " + "cd" * 32 + "\n")
    assert show(project, path, "--config", str(ini))["signature"]["holds"] is False


def test_what_is_no_task_is_shown_as_far_as_it_goes(project: Project) -> None:
    path = publish(made(project), "web_1_1_7_1795000000_0", b"no task at all")
    shown = show(project, path)
    assert (shown["state"], shown["id"], shown["function"]) == ("torn", None, None)
    assert shown["damage"] == "its first byte is 110 and not 17"
    for arguments, status, said in [
        (("--raw", "x", str(path)), FAILED, "is no whole task"),
        (("--spooler", str(project.spool), "ffffffff"), NOTHING, "that is done leaves nothing"),
        (("--spooler", str(project.spool), "x"), USAGE, "names no task"),
        (("--json", "--body", str(path)), USAGE, "cannot be used with"),
    ]:
        done = project.unspool("show", *arguments, check=False)
        assert (done.returncode, said in done.stderr) == (status, True), done.stderr


def test_a_task_of_a_directory_that_only_a_uwsgi_has_used(project: Project) -> None:
    (project.spool / "5").mkdir(parents=True, mode=0o700)
    task = publish(project.spool / "5", "web_1_1_7_1795000000_0", foreign({b"ud_spool_func": b"f"}))
    for given in (task, task.relative_to(project.root), task.name, task.relative_to(project.spool)):
        done = project.unspool("show", "--json", "--spooler", project.spool, given)
        assert json.loads(done.stdout)["path"] == str(task), given
    assert not (project.spool / ".unspool").exists()


def test_names_command_no_terminal(project: Project) -> None:
    project.spool.mkdir(parents=True, mode=0o700)
    name = "h\x1b[31m_1_1_7_1795000000_0"
    task = publish(project.spool, name, foreign({b"ud_spool_func": b"f\x1b]0;x\x07"}), due=1)
    publish(project.spool, name[:-1] + "1", foreign({b"ud_spool_func": b"f"}), due=1)
    for words in (("ls",), ("show", task), ("show", "1_1_7"), ("why", task), ("retry", task),
                  ("mv", "--at", "now", task), ("edit", task, "a=b"), ("stats", "--functions"),
                  ("cancel", task), ("why", task), ("top",)):  # fmt: skip
        done = project.unspool(*words, check=False)
        said = done.stdout + done.stderr
        assert said and "\x1b" not in said and "\x07" not in said, words
