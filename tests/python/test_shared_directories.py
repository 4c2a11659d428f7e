"""A spool in a folder of another machine, over sshfs: nothing tells of what the other side does."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import Project, wait_gone
from page import Page
from spooling import foreign, publish
from sshfs import Shared, shared

MODULE = """
    import uwsgi
    from reporting import report

    tries = []

    def handler(env):
        tries.append(1)
        report("ran", env=env)
        return uwsgi.SPOOL_RETRY if env.get(b"again") and len(tries) == 1 else uwsgi.SPOOL_OK

    uwsgi.spooler = handler
"""
# Of polling: what is late by more than twice that was not found by it.
FREQUENCY_S = 1.0
PAGE = Page("howto/shared-directories.md")
POLLS = "the spool is on a file system of several machines"


@pytest.fixture
def both(project: Project) -> Iterator[Shared]:
    project.write("tasks.py", MODULE)
    with shared(project.root) as made:
        (made.remote / "spool").mkdir(mode=0o700)
        yield Shared(made.remote / "spool", made.mount / "spool")


def options(spool: Path, *more: str) -> list[str]:
    return [f"--spooler={spool}", "--import=tasks", f"--spooler-frequency={FREQUENCY_S:g}", *more]


def ran(project: Project, name: bytes) -> float:
    """When a task ran, by the clock."""
    found = project.events.wait(lambda event: event["env"].get(b"name") == name)
    return found.time


def test_tasks_of_both_sides_run_and_none_early(
    project: Project, daemon: DaemonFactory, both: Shared
) -> None:
    running = daemon(*options(both.mount))
    line = running.wait_log(POLLS).string
    # As the page has it, of a mount and a time of its own.
    (printed,) = (
        told for told in PAGE.blocks("One machine runs, others submit", "") if POLLS in told
    )
    printed = printed.replace("/mnt/shared/spool", str(both.mount)).replace("NFS", "sshfs")
    assert printed.strip().replace("every_s=5.0", f"every_s={FREQUENCY_S}") in line
    # There is a watch, which hears of neither of these.
    for number in range(2):
        name = f"there-{number}".encode()
        path = publish(
            both.remote,
            f"there-{number}",
            foreign({b"name": name}),
        )
        written = time.time()
        # One scan that had begun, a pause, one scan; and a slow machine.
        assert ran(project, name) - written < 2 * FREQUENCY_S + 3
        wait_gone(path)
    project.unspool("spool", "--spooler", both.mount, "f", "name=here")
    ran(project, b"here")
    due = time.time() + 3
    project.unspool("spool", "--spooler", both.mount, "--at", f"{due:.0f}", "f", "name=late")
    # Times there are whole seconds.
    assert ran(project, b"late") > due - 1
    project.wait_empty()
    assert sum(POLLS in line for line in running.log) == 1


def test_a_task_that_is_put_off_waits(
    project: Project, daemon: DaemonFactory, both: Shared
) -> None:
    """A file has no change time there: the one that is shown is the due time itself."""
    daemon(*options(both.mount, "--spooler-retry-delay=3"))
    publish(
        both.remote,
        "there",
        foreign({b"name": b"again", b"again": b"1"}),
    )
    first, second = project.events.collect(2, "ran")
    assert second.time - first.time > 1.9


def of_another_host(spool: Path, project: Project) -> Path:
    """What a daemon of another machine has in a spool."""
    project.unspool("ls", "--spooler", spool, check=False)
    folder = spool / ".unspool" / "daemons" / ("0" * 32)
    folder.mkdir(mode=0o700, parents=True)
    (folder / "running").touch(mode=0o600)
    (folder / "pid").write_text("77\nelsewhere\n")
    return folder


def test_one_machine_runs_it_unless_more_are_said_to(
    project: Project, daemon: DaemonFactory, both: Shared
) -> None:
    daemon(*options(both.mount)).stop()
    folder = of_another_host(both.remote, project)
    refused = daemon(*options(both.mount), ready=False)
    said = refused.wait_log("a daemon of the host `elsewhere`").string
    assert refused.wait_exit() == 1
    assert "sshfs" in said and "process 77 there" in said
    for cure in (
        f"remove `{both.mount}/.unspool/daemons/{'0' * 32}`",
        "`spooler = relay:HOST:PORT`",
        "`spooler-shared-hosts = true`",
    ):
        assert cure in said
    daemons = both.remote / ".unspool" / "daemons"
    assert os.listdir(daemons) == [folder.name], "it leaves nothing behind"
    running = daemon(*options(both.mount, "--spooler-shared-hosts"))
    publish(both.remote, "there", foreign({b"name": b"x"}))
    ran(project, b"x")
    running.stop()
    # Whether the other one lives cannot be told by locks that it does not see.
    assert folder.is_dir()
    for path in sorted(folder.iterdir()):
        path.unlink()
    folder.rmdir()
    daemon(*options(both.mount))


def test_on_a_disk_of_its_own_a_machine_may_have_had_another_name(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", MODULE)
    daemon(*options(project.spool)).stop()
    of_another_host(project.spool, project)
    running = daemon(*options(project.spool))
    assert not any(POLLS in line for line in running.log)


def test_doctor_says_what_is_different(project: Project, both: Shared) -> None:
    project.write(
        "app.ini", f"[uwsgi]\nspooler = {both.mount}\nimport = tasks\nspooler-frequency = 5\n"
    )
    project.unspool("spool", "--spooler", both.mount, "f", "name=x")
    done = project.unspool("doctor", "app.ini", "--json", check=False)
    findings = json.loads(done.stdout)["findings"]
    (found,) = [finding for finding in findings if "is on sshfs" in finding["what"]]
    assert found["level"] == "warning" and "may be seen on this machine alone" in found["what"]
    assert "every 5 s" in str(found)


def test_an_outbox_there_is_polled_too(
    project: Project, daemon: DaemonFactory, both: Shared
) -> None:
    receiver = project.root / "receiver.sock"
    daemon(*options(project.spool, f"--socket={receiver}"))
    address = f"relay:{receiver}"
    sender = daemon(f"--spooler={address}", f"--network-outbox={both.mount}", "--spooler-freq=1")
    sender.wait_log("the outbox is on a file system of several machines")
    outbox = next(path for path in both.remote.iterdir() if path.is_dir())
    name = "there"
    path = publish(outbox, name, foreign({b"name": b"relayed"}))
    written = time.time()
    assert ran(project, b"relayed") - written < 2 * FREQUENCY_S + 3
    wait_gone(path)
