"""Caches, queue, metrics and numbered locks: shared by producers and the daemon's workers."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import PYTHON, Project

INI = """
    [uwsgi]
    spooler = spool
    spooler-import = tasks
    cache2 = name=default,items=1000
    cache2 = name=kept,items=10,store=kept.cache
    queue = 100
    metric = done
    locks = 2
    """
TASKS = """
    import uwsgi
    from uwsgidecorators import spool
    from reporting import report

    @spool
    def work(args):
        uwsgi.cache_inc("count")
        uwsgi.metric_inc("done")
        uwsgi.queue_push("from a task")
        report("did", seen=uwsgi.cache_get("from the web"), pid=uwsgi.masterpid())
    """


def stores(project: Project) -> list[Path]:
    return sorted((project.spool / ".unspool/shared").glob("*.sqlite3"))


@pytest.fixture
def ini(project: Project) -> dict[str, str]:
    project.write("tasks.py", TASKS)
    return {**project.env, "UNSPOOL_CONFIG": os.fspath(project.write("app.ini", INI))}


def test_a_producer_that_knows_the_spool_alone_has_the_daemons_queue(
    project: Project, daemon: DaemonFactory, ini: dict[str, str]
) -> None:
    source = """
    import sys, uwsgi
    names = ["queue_push", "queue_pull", "queue_size", "queue_nothing"]
    print([hasattr(uwsgi, name) for name in names])
    if hasattr(uwsgi, "queue_size"):
        print(uwsgi.queue_push("a"), uwsgi.queue_size, uwsgi.queue_pull())
        from uwsgi import queue_slot
    """
    assert project.python(source, env=project.producer_env).stdout == f"{[False] * 4}\n"
    daemon(project.root / "app.ini")
    found = project.python(source, env=project.producer_env).stdout
    assert found == "[True, True, True, False]\nTrue 100 b'a'\n"


def test_a_queue_of_a_later_configuration_is_there(project: Project, ini: dict[str, str]) -> None:
    source = """
    import unspool, uwsgi
    assert not hasattr(uwsgi, "queue_push")
    unspool.configure(config="app.ini")
    assert uwsgi.queue_push("a") is True and uwsgi.queue_size == 100
    """
    project.python(source, env=project.producer_env)


@pytest.mark.parametrize("by", ["UNSPOOL_CONFIG", "UNSPOOL_SPOOL"])
def test_a_producer_and_the_daemons_workers_share_them(
    project: Project, daemon: DaemonFactory, ini: dict[str, str], by: str
) -> None:
    running = daemon(project.root / "app.ini")
    env = ini if by == "UNSPOOL_CONFIG" else project.producer_env
    source = f"""
    import uwsgi
    from tasks import work
    assert uwsgi.masterpid() == {running.pid}, uwsgi.masterpid()
    assert uwsgi.spooler_pid() == {running.pid} and uwsgi.spooler_pids() == [{running.pid}]
    assert uwsgi.cache_set("from the web", "seen") is True
    for _ in range(3):
        work.spool(a="b")
    """
    project.python(source, env=env)
    did = project.events.collect(3, "did")
    assert [event["seen"] for event in did] == [b"seen"] * 3
    assert {event["pid"] for event in did} == {running.pid}
    project.wait_empty()
    asked = """
    import uwsgi
    print(uwsgi.cache_num("count"), uwsgi.metric_get("done"), hasattr(uwsgi, "queue_pull"))
    """
    assert project.python(asked, env=env).stdout == "3 3 True\n"
    pulled = project.python("import uwsgi; print(uwsgi.queue_pull())", env=env).stdout
    assert pulled == "b'from a task'\n"


def test_a_daemon_that_starts_alone_empties_them_but_what_is_stored(
    project: Project, daemon: DaemonFactory, ini: dict[str, str]
) -> None:
    first = daemon(project.root / "app.ini")
    put = """
    import uwsgi
    for cache in ("default", "kept"):
        uwsgi.cache_set("key", "value", 0, cache)
    """
    project.python(put, env=ini)
    first.reload()
    asked = "import uwsgi; print([uwsgi.cache_get('key', c) for c in ('default', 'kept')])"
    assert project.python(asked, env=ini).stdout == "[b'value', b'value']\n"
    first.stop()
    assert project.python(asked, env=ini).stdout == "[b'value', b'value']\n"
    daemon(project.root / "app.ini")
    assert project.python(asked, env=ini).stdout == "[None, b'value']\n"


def test_a_daemon_that_starts_beside_a_producer_leaves_them(
    project: Project, daemon: DaemonFactory, ini: dict[str, str]
) -> None:
    source = """
import sys, uwsgi
uwsgi.cache_set("key", "value")
print("set", flush=True)
sys.stdin.readline()
print(uwsgi.cache_get("key"))
"""
    with subprocess.Popen(
        [PYTHON, "-c", source],
        cwd=project.root,
        env=ini,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as web:
        assert web.stdout is not None and web.stdin is not None
        assert web.stdout.readline() == "set\n"
        daemon(project.root / "app.ini")
        asked = "import uwsgi; print(uwsgi.cache_get('key'))"
        assert project.python(asked, env=ini).stdout == "b'value'\n"
        web.stdin.write("\n")
        web.stdin.flush()
        assert web.stdout.readline() == "b'value'\n"


def test_no_increment_of_many_processes_and_threads_is_lost(
    project: Project, ini: dict[str, str]
) -> None:
    source = """
    import os, threading, uwsgi
    uwsgi.cache_set("warm", "x")
    def work():
        for _ in range(50):
            assert uwsgi.cache_inc("count") is True
            assert uwsgi.queue_push("x") is True
            uwsgi.metric_inc("done")
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            threads = [threading.Thread(target=work) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            os._exit(uwsgi.cache_num("count") == 0)
        children.append(pid)
    work()
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    print(uwsgi.cache_num("count"), uwsgi.metric_get("done"))
    """
    assert project.python(source, env=ini).stdout == "350 350\n"


def test_a_child_keeps_its_store_when_its_parent_ends(
    project: Project, ini: dict[str, str]
) -> None:
    """As a worker does whose zygote used the cache and was replaced."""
    source = """
    import os, uwsgi
    uwsgi.cache_set("a", "of the parent")
    ended, ends = os.pipe()
    if os.fork() == 0:
        os.close(ends)
        uwsgi.cache_set("b", "of the child")
        os.read(ended, 1)
        uwsgi.cache_set("c", "of the child, later")
        os._exit(0)
    """
    project.python(source, env=ini)
    asked = "import uwsgi; print(uwsgi.cache_keys())"
    # The child has inherited standard output: the first program ended when both did.
    assert project.python(asked, env=ini).stdout == "[b'a', b'b', b'c']\n"


def test_a_store_that_is_locked_for_too_long_is_an_error_that_says_so(
    project: Project, ini: dict[str, str]
) -> None:
    project.python("import uwsgi; uwsgi.cache_set('a', 'b')", env=ini)
    (store,) = stores(project)
    holder = sqlite3.connect(store, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    source = """
    import unspool, uwsgi
    from unspool import _shared
    _shared.BUSY_SECONDS_MAX = 0.2
    try:
        uwsgi.cache_set('a', 'c')
    except unspool.SharedStoreError as error:
        assert isinstance(error, RuntimeError)
        print(error)
    """
    said = project.python(source, env=ini).stdout
    holder.execute("ROLLBACK")
    holder.close()
    assert os.fspath(store) in said and "locked for too long" in said
    store.write_bytes(b"no database" * 100)
    for beside in store.parent.glob(f"{store.name}-*"):
        beside.unlink()
    said = project.python(source, env=ini).stdout
    assert "remove the file" in said


def test_the_files_are_the_owners_alone_and_no_tasks(project: Project, ini: dict[str, str]) -> None:
    source = """
    import os, uwsgi
    os.umask(0)
    uwsgi.cache_set('a', 'b')
    uwsgi.cache_set('a', 'b', 0, 'kept')
    uwsgi.lock(2)
    print(uwsgi.spooler_jobs())
    """
    assert project.python(source, env=ini).stdout == "[]\n"
    assert len(stores(project)) == 2
    shared = project.spool / ".unspool/shared"
    assert shared.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in shared.iterdir()} == {0o600}
    assert project.tasks() == []


def test_a_store_of_another_boot_is_removed_and_one_that_is_removed_made_anew(
    project: Project, ini: dict[str, str]
) -> None:
    source = """
    import os, uwsgi
    from unspool import _shared
    _shared.LOOK_SECONDS = 0.0
    shared = 'spool/.unspool/shared'
    uwsgi.cache_set('a', 'b')
    (name,) = [name for name in os.listdir(shared) if name.endswith('.sqlite3')]
    for entry in os.listdir(shared):
        os.unlink(f'{shared}/{entry}')
    open(f'{shared}/boot-of-old.sqlite3', 'w').close()
    assert uwsgi.cache_get('a') is None and uwsgi.cache_set('a', 'c') is True
    assert [entry for entry in os.listdir(shared) if entry.endswith('.sqlite3')] == [name]
    """
    project.python(source, env=ini)


def test_numbered_locks_are_apart_and_end_with_their_holder(
    project: Project, ini: dict[str, str]
) -> None:
    source = "import sys, uwsgi; uwsgi.lock(1); print('held', flush=True); sys.stdin.readline()"
    asked = "import uwsgi; print([uwsgi.is_locked(n) for n in (0, 1, 2)])"
    with subprocess.Popen(
        [PYTHON, "-c", source],
        cwd=project.root,
        env=ini,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert project.python(asked, env=ini).stdout == "[False, True, False]\n"
        holder.send_signal(signal.SIGKILL)
    assert project.python(asked, env=ini).stdout == "[False, False, False]\n"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("cache2 = items=5", "write `cache2 = name=NAME,items=NUMBER`"),
        ("cache2 = name=a", "write `cache2 = name=NAME,items=NUMBER`"),
        ("cache2 = name=a,items=x", "`items` is not a number"),
        ("cache2 = name=a,items=0", "0 is not between"),
        ("cache2 = foo", "is not of the form key=value"),
        ("queue = -1", "this is not a number"),
        ("queue = 1000001 # more", "this is more than 1000000"),
        ("locks = many", "app.ini:3: `locks = many`: this is not a number"),
        ("metric = type=gauge", "write `metric = NAME`"),
    ],
)
def test_a_wrong_definition_is_named(project: Project, line: str, text: str) -> None:
    project.write("app.ini", f"[uwsgi]\nspooler = spool\n{line}\n")
    source = """
    import unspool
    try:
        import uwsgi
    except unspool.ConfigError as error:
        print(error)
    """
    env = {**project.env, "UNSPOOL_CONFIG": "app.ini"}
    assert text in project.python(source, env=env).stdout


def test_text_behind_the_numbers_does_not_count(project: Project) -> None:
    lines = "queue = 3 # slots\ncache2 = name=a,items=2 # few\nlocks = 2 ; two\n"
    project.write("app.ini", f"[uwsgi]\nspooler = spool\n{lines}")
    source = """
    import uwsgi
    uwsgi.cache_set('k', b'v', 0, 'a')
    print(uwsgi.cache_get('k', 'a'), uwsgi.queue_size, uwsgi.lock(2))
    """
    env = {**project.env, "UNSPOOL_CONFIG": "app.ini"}
    assert project.python(source, env=env).stdout == "b'v' 3 None\n"


def test_a_daemon_with_a_wrong_definition_says_so_and_runs_nothing(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", TASKS)
    ini = project.write(
        "app.ini", "[uwsgi]\nspooler = spool\nspooler-import = tasks\ncache2 = name=a,items=0\n"
    )
    running = daemon(ini, ready=False)
    running.wait_log(r"^unspool: `cache2 = name=a,items=0`: 0 is not between")


def test_without_a_daemon_a_producer_is_its_own_master(project: Project) -> None:
    source = """
    import os, uwsgi
    assert uwsgi.masterpid() == os.getpid()
    assert uwsgi.spooler_pid() == 0 and uwsgi.spooler_pids() == []
    assert not os.path.exists('spool')
    """
    project.python(source)
