"""Signed tasks: what none of the keys signed is set aside before anything of it is decoded."""

from __future__ import annotations

import os
import pickle
import signal
from pathlib import Path

import pytest
import taskfile
from factory import DaemonFactory
from harness import PYTHON, Daemon, Project, wait_present
from signing import Key, mac_of, make_key, ours, resealed, verifies, write_keys
from spooling import attempts, foreign, publish, submit

SETTLE_SECONDS = 0.3
OTHER_UID = 12345
PWN = "pwned"

MODULE = """
    import os

    from uwsgidecorators import spool
    from reporting import report

    @spool
    def mark(args):
        report("mark", id=args.get("id"))
        if "again" in args:
            mark(id=args["again"])

    @spool(pass_arguments=True)
    def called(*args, **kwargs):
        report("called", args=args, kwargs=kwargs)
"""

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="not run: only root can give files away")


class Exploit:
    """Loading its pickle makes a directory: a sign that code ran."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (os.fspath(self.sign),)


def configure(project: Project, *keys: Key, more: str = "") -> Path:
    """The configuration that producers and the daemon share."""
    write_keys(project.root / "keys", *keys)
    project.write("tasks.py", MODULE)
    text = f"""
        [uwsgi]
        spooler = {project.spool}
        spooler-import = tasks
        spooler-keys = keys
        spooler-settle = {SETTLE_SECONDS}
    """
    return project.write("app.ini", text + f"        {more}\n")


def start(project: Project, daemon: DaemonFactory, *keys: Key, more: str = "") -> Daemon:
    return daemon("--ini", configure(project, *keys, more=more))


def submit_signed(project: Project, function: str, **pairs: object) -> Path:
    return submit(project, function, "--config", "app.ini", **pairs)


def check_refused(project: Project, running: Daemon, path: Path, content: bytes, why: str) -> None:
    """It is in `corrupt/` as it was, and the log has the reason, at once and at the move."""
    kept = wait_present(project.spool / "corrupt", path.name)
    assert kept.read_bytes() == content
    assert not path.exists()
    running.wait_log(rf"WARN  task refused: {why}.*; it goes to corrupt/ task=\S*{path.name} in_s=")
    running.wait_log(rf"ERROR task refused: {why}.* task=\S*{path.name} moved_to={kept}$")


@pytest.mark.parametrize("way", ["command", "option", "configuration", "keys", "environment"])
def test_signed_tasks_run_and_verify_by_the_specification(
    project: Project, daemon: DaemonFactory, way: str
) -> None:
    old, new = make_key("old"), make_key("new")
    ini = configure(project, new, old)
    calls = {
        "command": lambda: submit_signed(project, "mark", id=way),
        "option": lambda: submit(project, "mark", "--keys", "keys", id=way),
        "configuration": lambda: spool_in_python(project, "config='app.ini'", way),
        "keys": lambda: spool_in_python(
            project, f"spooler={os.fspath(project.spool)!r}, keys='keys'", way
        ),
        "environment": lambda: spool_in_python(project, "", way),
    }
    path = calls[way]()
    content = path.read_bytes()
    assert verifies(content, new) and not verifies(content, old)
    mark = taskfile.read(path).mark
    assert mark is not None and mark.isascii() and b" kid=new mac=" in mark
    daemon("--ini", ini)
    assert project.events.wait("mark")["id"] == way
    project.wait_empty()


def spool_in_python(project: Project, how: str, mark: str) -> Path:
    source = f"""
    import unspool
    if {how!r}:
        unspool.configure({how})
    print(unspool.spool(ud_spool_func="mark", id={mark!r}).decode())
    """
    env = {**project.env, "UNSPOOL_CONFIG": "app.ini"}
    return Path(project.python(source, env=env).stdout.strip())


def test_a_task_that_a_task_submits_is_signed_too(project: Project, daemon: DaemonFactory) -> None:
    start(project, daemon, make_key("k"))
    submit_signed(project, "mark", id=1, again=2)
    assert [event["id"] for event in project.events.collect(2, "mark")] == ["1", "2"]
    project.wait_empty()


def test_a_file_that_others_sign_by_the_specification_runs(
    project: Project, daemon: DaemonFactory
) -> None:
    key = make_key("another.signer-1")
    start(project, daemon, make_key("first"), key)
    content = ours({b"ud_spool_func": b"mark", b"id": b"1"}, b"body", b"tasks", key)
    publish(project.spool, "1", content)
    assert project.events.wait("mark")["id"] == "1"


def test_what_is_not_signed_is_refused(project: Project, daemon: DaemonFactory) -> None:
    key = make_key("k")
    running = start(project, daemon, key)
    call = {b"ud_spool_func": b"mark", b"id": b"refused"}
    good = bytearray(ours(call, b"body", b"tasks", key))
    place = mac_of(good)
    forged_body, forged_mac = bytearray(good), bytearray(good)
    forged_body[-1] ^= 1
    forged_mac[place] = bytes(good[place])[::-1]
    missing, wrong = "it is not signed", "its signature with the key `k` is wrong"
    cases = {
        "unsigned": (ours(call), missing),
        "uwsgi": (foreign(call), missing),
        "nothing": (b"\x11\0\0\0", missing),
        "body": (resealed(forged_body), wrong),
        "mac": (resealed(forged_mac), wrong),
        "secret": (ours(call, key=make_key("k")), wrong),
        "unknown": (
            ours(call, key=make_key("retired")),
            "it is signed with the key `retired`, which is not known here",
        ),
        # No pair of this is one, and nobody looks.
        "pairs": (b"\x11\x04\0\0\xff\xff\xff\xff", missing),
    }
    for name, (content, why) in cases.items():
        path = publish(project.spool, name, content)
        check_refused(project, running, path, content, why)
    publish(project.spool, "good", bytes(good))
    assert project.events.wait("mark")["id"] == "refused"
    project.wait_empty()
    assert len(project.events.history) == 1


def test_a_refused_task_that_is_signed_later_runs(project: Project, daemon: DaemonFactory) -> None:
    """It was kept: a key that was forgotten loses nothing."""
    key, forgotten = make_key("k"), make_key("forgotten")
    running = start(project, daemon, key)
    content = ours({b"ud_spool_func": b"mark", b"id": b"1"}, key=forgotten)
    path = publish(project.spool, "1", content)
    check_refused(project, running, path, content, "it is signed with the key `forgotten`")
    write_keys(project.root / "keys", key, forgotten)
    running.reload()
    (project.spool / "corrupt" / path.name).rename(path)
    assert project.events.wait("mark")["id"] == "1"


def test_keys_are_changed_without_a_refused_task(project: Project, daemon: DaemonFactory) -> None:
    old, new = make_key("old"), make_key("new")
    running = start(project, daemon, old)
    submit_signed(project, "mark", id=0)
    for number, keys in enumerate([(old, new), (new, old), (new,)], 1):
        write_keys(project.root / "keys", *keys)
        running.reload()
        path = submit_signed(project, "mark", id=number)
        assert path.name
    got = {event["id"] for event in project.events.collect(4, "mark")}
    assert got == {"0", "1", "2", "3"}
    assert not any("refused" in line for line in running.log)


def test_a_reload_with_keys_that_cannot_be_used_keeps_the_old_ones(
    project: Project, daemon: DaemonFactory
) -> None:
    key = make_key("k")
    running = start(project, daemon, key)
    path = submit_signed(project, "mark", id=1)
    project.events.wait("mark")
    mark = running.mark()
    write_keys(project.root / "keys", key, mode=0o644)
    running.send(signal.SIGHUP)
    running.wait_log(r"spooler-keys.*chmod 600", since=mark)
    content = ours({b"ud_spool_func": b"mark", b"id": b"2"}, key=key)
    publish(project.spool, "2", content)
    assert project.events.wait("mark")["id"] == "2"
    assert not path.exists()


@root_only
def test_listed_users_need_no_signature(project: Project, daemon: DaemonFactory) -> None:
    running = start(
        project, daemon, make_key("k"), more=f"spooler-unsigned-uids = nobody, {OTHER_UID}"
    )
    call = {b"ud_spool_func": b"mark", b"id": b"of the listed"}
    own = foreign({**call, b"id": b"of root"})
    for name, uid in (("number", OTHER_UID), ("name", 65534)):
        publish_as(project, name, foreign(call), uid, 0o600)
        assert project.events.wait("mark")["id"] == "of the listed"
    check_refused(project, running, publish(project.spool, "own", own), own, "it is not signed")
    # Somebody else may have written in it.
    path = publish_as(project, "open", foreign(call), OTHER_UID, 0o666)
    check_refused(project, running, path, foreign(call), "it is not signed")


def publish_as(project: Project, name: str, content: bytes, uid: int, mode: int) -> Path:
    """A file of another user."""
    aside = project.spool / f".{name}"
    aside.write_bytes(content)
    os.chown(aside, uid, uid)
    aside.chmod(mode)
    path = project.spool / f"uwsgi_spoolfile_on_{name}"
    aside.rename(path)
    return path


def pickled(sign: Path) -> dict[bytes, bytes]:
    return {
        b"ud_spool_func": b"called",
        b"args": pickle.dumps((Exploit(sign),)),
        b"kwargs": pickle.dumps({}),
    }


@root_only
@pytest.mark.parametrize(
    ("uid", "mode", "why"),
    [
        (OTHER_UID, 0o600, f"belongs to uid {OTHER_UID} and is not signed"),
        (0, 0o666, r"can be written by others than its owner \(mode 0666\) and is not signed"),
        (0, 0o620, r"can be written by others than its owner \(mode 0620\)"),
    ],
)
def test_pickles_of_others_are_not_loaded(
    project: Project, daemon: DaemonFactory, uid: int, mode: int, why: str
) -> None:
    project.write("tasks.py", MODULE)
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    sign = project.root / PWN
    path = publish_as(project, "1", foreign(pickled(sign)), uid, mode)
    text = "PermissionError: the arguments of this task are pickled"
    assert "spooler-keys" in running.wait_log(rf"{text}.*{why}").string
    running.wait_log(r"ERROR task failed .*attempt=1")
    # Its other tasks run.
    publish_as(project, "2", foreign({b"ud_spool_func": b"mark", b"id": b"2"}), uid, mode)
    assert project.events.wait("mark")["id"] == "2"
    assert running.stop() == 0
    assert attempts(path) == 1
    assert not sign.exists() and len(project.events.history) == 1


def test_pickles_of_this_user_are_loaded(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", MODULE)
    daemon("--spooler", project.spool, "--spooler-import", "tasks")
    values = {b"args": pickle.dumps((1, [2])), b"kwargs": pickle.dumps({"a": {3}})}
    publish(project.spool, "1", foreign({b"ud_spool_func": b"called", **values}))
    event = project.events.wait("called")
    assert (event["args"], event["kwargs"]) == ((1, [2]), {"a": {3}})


@root_only
def test_a_signature_stands_for_the_user(project: Project, daemon: DaemonFactory) -> None:
    key = make_key("k")
    start(project, daemon, key)
    values = {b"args": pickle.dumps((1,)), b"kwargs": pickle.dumps({})}
    content = ours({b"ud_spool_func": b"called", **values}, module=b"tasks", key=key)
    publish_as(project, "1", content, OTHER_UID, 0o666)
    assert project.events.wait("called")["args"] == (1,)


def test_no_pickle_of_an_unsigned_task_is_loaded(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon, make_key("k"))
    content = foreign(pickled(project.root / PWN))
    path = publish(project.spool, "1", content)
    check_refused(project, running, path, content, "it is not signed")
    assert not (project.root / PWN).exists()


@pytest.mark.parametrize(
    ("text", "mode", "problem"),
    [
        ("k " + "00" * 32, 0o644, "has mode 0644, with which others can read or change the keys: "),
        ("k " + "00" * 31, 0o600, "line 1: the key has less than 32 bytes"),
        ("k", 0o600, "line 1: write `NAME KEY`"),
        ("", 0o600, "there is no key in it"),
    ],
)
def test_keys_that_cannot_be_used_stop_everybody(
    project: Project, text: str, mode: int, problem: str
) -> None:
    ini = configure(project)
    keys = project.root / "keys"
    keys.write_text(text)
    keys.chmod(mode)
    for arguments in (("run", "--ini", ini), ("spool", "--config", ini, "mark")):
        done = project.unspool(*arguments, check=False)
        assert done.returncode == 2 and problem in done.stderr, done.stderr
        assert "00" * 31 not in done.stderr
    env = {**project.env, "UNSPOOL_CONFIG": os.fspath(ini)}
    done = project.run(PYTHON, "-c", "import uwsgi", check=False, env=env)
    assert "ConfigError" in done.stderr and problem in done.stderr
    assert not project.spool.exists()


def test_keys_that_are_missing_stop_everybody(project: Project) -> None:
    ini = configure(project)
    (project.root / "keys").unlink()
    for arguments in (("run", "--ini", ini), ("spool", "--config", ini, "mark")):
        done = project.unspool(*arguments, check=False)
        assert done.returncode == 1 and "No such file" in done.stderr, done.stderr
    assert not project.spool.exists()
