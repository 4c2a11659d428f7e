"""Tasks are tried again, edited and moved while a real uWSGI and unspool run the spool."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from both import Both
from harness import Project
from spooling import submit

TASKS = 300
PROCESSES = 2


def bury(project: Project, path: Path) -> None:
    dead = project.spool / "dead"
    dead.mkdir(mode=0o700, exist_ok=True)
    path.rename(dead / path.name)


def runs(project: Project) -> Counter[str]:
    """How often each task ran, in either daemon."""
    lines = (project.root / "runs.log").read_text().splitlines()
    return Counter(line.split()[0] for line in lines)


def test_what_is_tried_again_beside_both_runs_once(both: Both) -> None:
    project = both.project
    gate = project.gate("start")
    for number in range(TASKS):
        bury(project, submit(project, "f", id=number))
    both.run("uwsgi", "interop_count", processes=PROCESSES)
    both.run("unspool", "interop_count", processes=PROCESSES)
    gate.release(2 * PROCESSES)
    done = project.unspool("retry", "--all")
    assert done.stdout == f"{TASKS} tasks pending again, 0 due now\n"
    project.events.collect(TASKS, "done", 120)
    project.wait_empty()
    assert runs(project) == Counter({str(number): 1 for number in range(TASKS)})


def wait_run(project: Project, number: str) -> None:
    project.events.wait(lambda event: event.fields.get("id") == number)


def test_uwsgi_runs_what_was_edited_and_moved(both: Both) -> None:
    project = both.project
    project.gate("start").release()
    ours = submit(project, "f", "--delay", "1000", id="before")
    (theirs,) = both.write("uwsgi", ("spool", ({b"id": b"2", b"at": b"2000000000"},), {}))
    both.run("uwsgi", "interop_count", "--spooler-ordered")
    for path, number in [(ours, "after"), (theirs, "foreign")]:
        project.unspool("edit", path, f"id={number}", "--at", "now")
        wait_run(project, number)
    last = submit(project, "f", "--delay", "1000", id="moved")
    project.unspool("mv", last, "--priority", "5", "--at", "now")
    wait_run(project, "moved")
    project.wait_empty()
    assert runs(project) == Counter(["after", "foreign", "moved"])


def test_what_uwsgi_runs_is_refused(both: Both) -> None:
    project = both.project
    gate = project.gate("start")
    path = submit(project, "f", id="1")
    both.run("uwsgi", "interop_count")
    project.events.wait("gated")
    for command, *change in (["edit", "id=2"], ["mv", "--none"], ["retry"]):
        assert project.unspool(command, path, *change, check=False).returncode == 4, command
    gate.release()
    project.events.wait("done")
    project.wait_empty()
    assert runs(project) == Counter(["1"])
