"""A task that a real uWSGI runs cannot be cancelled, and one that it wrote can."""

from __future__ import annotations

from both import Both
from harness import wait_gone

HELD = 4


def test_a_uwsgi_that_runs_the_task_is_named(both: Both) -> None:
    project = both.project
    gate = project.gate("start")
    running, pending = both.write(
        "uwsgi",
        ("spool", ({b"id": b"1"},), {}),
        ("spool", ({b"id": b"2", b"at": b"2000000000"},), {}),
    )
    both.run("uwsgi", "interop_count")
    pid = project.events.wait("gated").pid
    done = project.unspool("cancel", running, pending, check=False)
    assert done.returncode == HELD, (done.stdout, done.stderr)
    assert f"process {pid}, a uWSGI or another program, has it locked" in done.stderr
    assert done.stdout.split() == ["removed", str(pending)]
    gate.release()
    # It was not disturbed.
    project.events.wait("done")
    wait_gone(running)
