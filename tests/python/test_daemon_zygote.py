"""What a zygote started ends with it, and its workers, which live in its session, do not."""

from __future__ import annotations

from factory import DaemonFactory
from harness import Project
from processes import marked, wait_ended
from spooling import submit

MODULE = """
    import os
    import subprocess
    import sys
    import time

    from uwsgidecorators import spool
    from reporting import pause, report

    if not os.path.exists("hang"):
        # An orphan with a group of its own, in the zygote's session.
        orphan = "import os, time; os.fork() and os._exit(0); os.setpgid(0, 0); time.sleep(1000)"
        null = subprocess.DEVNULL
        streams = {"stdin": null, "stdout": null, "stderr": null}
        subprocess.Popen([sys.executable, "-c", orphan], **streams).wait()

    ZYGOTE = os.getpid()

    def hang():
        # What a lock does that a thread of the zygote holds at the fork.
        if os.path.exists("hang") and os.getppid() == ZYGOTE:
            time.sleep(1000)

    os.register_at_fork(after_in_child=hang)

    @spool
    def last(args):
        report("last", group=os.getpgid(0), session=os.getsid(0))
        pause("last")
        report("done")

    @spool
    def die(args):
        report("die")
        os._exit(9)
"""


def test_a_zygote_goes_with_what_it_started_and_without_its_workers(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    gate = project.gate("last")
    spool = ("--spooler", project.spool, "--spooler-import", "tasks", "--spooler-processes=2")
    running = daemon(*spool, "--spooler-start-timeout=0.5", "--chdir", project.root)
    submit(project, "last")
    last = project.events.wait("last")
    # In the zygote's session: one of its own would get as much of the processors as all others.
    zygote = last["session"]
    assert last["group"] == last.pid != zygote
    (orphan,) = marked(running.pid, "z000000001")
    (project.root / "hang").touch()
    submit(project, "die")
    project.events.wait("die")
    running.wait_log(rf"the zygote forks no workers; killing it pid={zygote}\b")
    wait_ended(zygote, orphan)
    (project.root / "hang").unlink()
    gate.release()
    assert project.events.wait("done").pid == last.pid
