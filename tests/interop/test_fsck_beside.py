"""`unspool fsck --repair` beside a real uWSGI: what that runs or writes is left alone."""

from __future__ import annotations

import json
import threading

from both import Both
from harness import Project

TASKS = 400


def test_repairs_while_uwsgi_runs_what_both_wrote(both: Both, project: Project) -> None:
    def tasks(first: int) -> list[tuple[str, tuple[object, ...], dict[str, object]]]:
        half = range(first, first + TASKS // 2)
        return [("spool", ({b"id": b"%d" % number},), {}) for number in half]

    gate = project.gate("start")
    both.write("uwsgi", *tasks(0))
    both.write("unspool", *tasks(TASKS // 2))
    config = project.write("app.ini", f"[uwsgi]\nspooler = {project.spool}\nspooler-settle = 0\n")

    def fsck() -> list[dict[str, object]]:
        done = project.unspool("fsck", config, "--repair", "--json", check=False)
        return [json.loads(line) for line in done.stdout.splitlines()]

    both.run("uwsgi", "interop_count")
    project.events.wait("gated")
    summary = fsck()[-1]["summary"]
    assert isinstance(summary, dict)
    assert (summary["tasks"], summary["held"]) == (TASKS, 1), "the one that it runs"
    over, findings = threading.Event(), list[dict[str, object]]()

    def check() -> None:
        while not over.is_set():
            findings.extend(found for found in fsck() if "check" in found)

    checker = threading.Thread(target=check)
    checker.start()
    try:
        gate.release()
        project.events.collect(TASKS, "done")
        project.wait_empty()
    finally:
        over.set()
        checker.join()
    both.stop()
    assert findings == []
    runs = [line.split()[0] for line in (project.root / "runs.log").read_text().splitlines()]
    assert sorted(map(int, runs)) == list(range(TASKS))
    assert not (project.spool / "corrupt").exists()
