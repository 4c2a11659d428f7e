"""A task that a real uWSGI runs is not asked for its stack, and goes on."""

from __future__ import annotations

from both import Both
from harness import wait_gone

HELD = 4


def test_a_uwsgi_that_runs_the_task_is_named(both: Both) -> None:
    project = both.project
    gate = project.gate("start")
    (task,) = both.write("uwsgi", ("spool", ({b"id": b"1"},), {}))
    both.run("uwsgi", "interop_count")
    pid = project.events.wait("gated").pid
    done = project.unspool("stack", task.name, check=False)
    assert (done.returncode, done.stdout) == (HELD, ""), done.stderr
    assert f"process {pid} (`uwsgi`) has it, a uWSGI or another program" in done.stderr
    gate.release()
    # It was not disturbed: by default the signals kill.
    project.events.wait("done")
    wait_gone(task)
