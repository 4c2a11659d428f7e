"""Processes that fork: what is submitted before, after, and by whom."""

from __future__ import annotations

import os
from pathlib import Path

from harness import PYTHON, Project

FORK = """
import os, sys

def in_child(work):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            sys.stdout.flush()
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
"""


def test_parent_and_child_submit_before_and_after_the_fork(project: Project) -> None:
    source = FORK + (
        """
import uwsgi
uwsgi.spool(who='parent')
def child():
    assert uwsgi.masterpid() == os.getpid()
    uwsgi.spool(who='child')
    in_child(lambda: uwsgi.spool(who='grandchild'))
in_child(child)
uwsgi.spool(who='parent again')
found = sorted(uwsgi.parsefile(path)[b'who'] for path in uwsgi.spooler_jobs())
assert found == [b'child', b'grandchild', b'parent', b'parent again'], found
"""
    )
    project.python(source)
    # The name says who: no child goes on with its parent's numbers.
    assert len({path.name.split("_")[4] for path in project.tasks()}) == 3


def test_a_child_configures_what_its_parent_had_not(project: Project) -> None:
    source = FORK + (
        f"""
import unspool
def child():
    unspool.configure({os.fspath(project.spool)!r})
    import uwsgi
    uwsgi.spool()
in_child(child)
try:
    import uwsgi
except ImportError:
    pass
else:
    raise AssertionError
"""
    )
    project.python(source, env=project.env)
    assert len(project.tasks()) == 1


def test_a_fork_in_the_middle_of_submissions_by_threads(project: Project) -> None:
    # Whatever a thread of the parent holds at that moment, the child must not wait for it.
    source = FORK + (
        """
import threading, unspool, uwsgi
stop = threading.Event()
def submit():
    while not stop.is_set():
        unspool.spool(who='thread', durability='group')
threads = [threading.Thread(target=submit) for _ in range(4)]
for thread in threads: thread.start()
for _ in range(40):
    in_child(lambda: unspool.spool(who='child', durability='group'))
stop.set()
for thread in threads: thread.join()
found = [uwsgi.parsefile(path)[b'who'] for path in uwsgi.spooler_jobs()]
assert found.count(b'child') == 40
assert found.count(b'thread') >= 1
"""
    )
    project.python(source)


def test_workers_that_are_forked_after_the_import_of_the_application(project: Project) -> None:
    # As under gunicorn --preload.
    project.write(
        "app.py",
        """
        from uwsgidecorators import spool

        @spool
        def work(args):
            pass

        work.spool(n=0)
        """,
    )
    source = FORK + (
        """
sys.path.insert(0, '.')
import app
for n in range(1, 4):
    in_child(lambda: app.work.spool(n=n))
import uwsgi
found = sorted(uwsgi.parsefile(path)[b'n'] for path in uwsgi.spooler_jobs())
assert found == [b'0', b'1', b'2', b'3'], found
"""
    )
    project.python(source)


def test_multiprocessing_children_submit(project: Project) -> None:
    project.write(
        "pool.py",
        """
        import multiprocessing, uwsgi

        def submit(n):
            return uwsgi.spool(n=n)

        if __name__ == '__main__':
            for method in ('fork', 'spawn'):
                with multiprocessing.get_context(method).Pool(2) as pool:
                    for path in pool.map(submit, range(4)):
                        print(path.decode())
        """,
    )
    printed = project.run(PYTHON, "pool.py").stdout.split()
    assert len(printed) == 8
    assert sorted(map(Path, printed)) == project.tasks()


def test_a_child_does_not_inherit_the_lock(project: Project) -> None:
    source = FORK + (
        """
import uwsgi
uwsgi.lock()
def child():
    uwsgi.unlock()
    assert uwsgi.is_locked() is True
in_child(child)
assert uwsgi.is_locked() is True
uwsgi.unlock()
assert uwsgi.is_locked() is False
"""
    )
    project.python(source)
