"""Signatures beside a real uWSGI, which runs signed files and signs none."""

from __future__ import annotations

import os
from pathlib import Path

import taskfile
from both import APPS, Both
from harness import SUPPORT, wait_present
from signing import make_key, verifies, write_keys


def submit_signed(both: Both, keys: Path) -> Path:
    """A task with pickled arguments, by a producer with keys."""
    source = f"""
    import unspool
    unspool.configure({os.fspath(both.project.spool)!r}, keys={os.fspath(keys)!r})
    import interop_tasks
    print(interop_tasks.passing(1, [2], a={{3}}).decode())
    """
    env = {**both.project.env, "PYTHONPATH": f"{SUPPORT}:{APPS}"}
    return Path(both.project.python(source, env=env).stdout.strip())


def test_uwsgi_runs_what_is_signed(both: Both) -> None:
    key = make_key("k")
    path = submit_signed(both, write_keys(both.project.root / "keys", key))
    assert verifies(path.read_bytes(), key)
    mark = taskfile.read(path).mark
    assert mark is not None and mark.decode("ascii").isprintable()
    both.run("uwsgi", "interop_tasks")
    ran = both.project.events.wait("ran")
    assert (ran["args"], ran["kwargs"]) == ((1, [2]), {"a": {3}})
    both.project.wait_empty()


def test_what_uwsgi_writes_is_refused_unless_its_user_is_listed(both: Both) -> None:
    keys = write_keys(both.project.root / "keys", make_key("k"))
    call = ("passing", (1,), {"a": 2})
    options = (f"--spooler-keys={keys}", "--spooler-settle=0.3")
    (refused,) = both.write("uwsgi", call)
    running = both.run("unspool", "interop_tasks", *options)
    running.wait_log(r"task refused: it is not signed")
    kept = wait_present(both.project.spool / "corrupt", refused.name)
    both.stop()
    (path,) = both.write("uwsgi", call)
    both.run("unspool", "interop_tasks", *options, f"--spooler-unsigned-uids={os.geteuid()}")
    ran = both.project.events.wait("ran")
    assert (ran["args"], ran["kwargs"]) == ((1,), {"a": 2})
    both.project.wait_empty()
    assert kept.exists() and not path.exists()
