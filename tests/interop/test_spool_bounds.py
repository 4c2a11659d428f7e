"""A spool with bounds on which a real uWSGI submits and runs, which knows of none."""

from __future__ import annotations

from both import Both

MODULE = """
    from uwsgidecorators import spool
    from reporting import report

    @spool
    def mark(args):
        report("ran", id=args["id"])
"""
# The count of a spool that no daemon of ours keeps is believed for a second.
SUBMIT = """
    import time, unspool
    unspool.configure({spool!r}, max_pending={limit})
    time.sleep(1.1)
    try:
        unspool.spool({{"ud_spool_func": "mark", "ud_spool_ret": "-2", "id": "ours"}})
    except unspool.SpoolFullError as error:
        print("refused", error.present, error.excess)
    else:
        print("taken")
"""


def submit(both: Both, limit: int) -> str:
    """What becomes of one more task."""
    source = SUBMIT.format(spool=str(both.project.spool), limit=limit)
    return both.project.python(source, env=both.project.env).stdout.strip()


def test_tasks_of_a_real_uwsgi_count_and_are_counted_out_when_it_has_run_them(both: Both) -> None:
    both.project.write("bounded_tasks.py", MODULE)
    assert submit(both, 2) == "taken"
    call = {b"ud_spool_func": b"mark", b"ud_spool_ret": b"-2", b"id": b"theirs"}
    both.write("uwsgi", *[("spool", (call,), {}) for _ in range(3)])
    assert submit(both, 4) == "refused 4 1"
    both.run("uwsgi", "bounded_tasks", f"--pythonpath={both.project.root}")
    both.project.events.collect(4, "ran")
    both.project.wait_empty()
    assert submit(both, 2) == "taken"
    both.project.events.wait("ran")
