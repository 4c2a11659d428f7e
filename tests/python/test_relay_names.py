"""`spooler = relay:ADDRESS`: what a submission to it is, for the application and on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import Project
from spooling import submit

# Nobody listens there.
RELAY = "relay:127.0.0.1:9"
MODULE = """
    import uwsgi
    from uwsgidecorators import spool
    from reporting import report

    @spool
    def mark(args):
        report("mark", spoolers=[name.decode() for name in uwsgi.spoolers])
        uwsgi.spool(spooler=b"relay:127.0.0.1:9", x="from a task")
"""


@pytest.fixture
def outbox(project: Project) -> Path:
    """That of the relay, whose configuration is the producers'."""
    lines = f"[uwsgi]\nspooler = {project.spool}\nspooler = {RELAY}\nspooler-import = tasks\n"
    project.write("app.ini", lines)
    project.write("tasks.py", MODULE)
    return project.spool / ".unspool" / "outbox" / "127.0.0.1=3A9"


def configured(project: Project) -> dict[str, str]:
    return {**project.env, "UNSPOOL_CONFIG": "app.ini"}


def waiting(outbox: Path) -> list[Path]:
    return [path for path in outbox.iterdir() if path.name.startswith("uwsgi_spoolfile")]


def test_a_producer_names_it(project: Project, outbox: Path) -> None:
    # Before there is a daemon, or a folder.
    project.python(
        f"""
        import uwsgi
        assert uwsgi.spoolers == ({bytes(project.spool)!r}, b"{RELAY}"), uwsgi.spoolers
        uwsgi.spool({{"x": "1", "spooler": "{RELAY}"}})
        uwsgi.spool(x=b"2", spooler=b"{RELAY}", priority="5")
        uwsgi.spool(x="3")
    """,
        env=configured(project),
    )
    assert len(waiting(outbox)) == 1
    assert len(waiting(outbox / "5")) == 1
    assert len(waiting(project.spool)) == 1
    assert outbox.stat().st_mode & 0o7777 == 0o700
    done = project.unspool("fsck", "app.ini")
    assert "problem" not in done.stdout + done.stderr


def test_what_no_configuration_names_is_an_error(project: Project, outbox: Path) -> None:
    done = project.python(
        f"""
        import uwsgi
        try:
            uwsgi.spool(x="1", spooler="relay:10.0.0.1:3031")
        except Exception as error:
            print(error)
        import unspool
        unspool.configure(spooler={str(project.spool)!r})
        try:
            uwsgi.spool(x="1", spooler="{RELAY}")
        except Exception as error:
            print(error)
        """,
        env=configured(project),
    )
    first, second = done.stdout.splitlines()
    assert f"not configured in this process: use one of `{project.spool}`, `{RELAY}`" in first
    assert f"`{RELAY}`, which is not configured" in second
    assert not outbox.exists()


def test_a_daemon_runs_nothing_of_it(project: Project, outbox: Path, daemon: DaemonFactory) -> None:
    daemon("app.ini")
    submit(project, "mark")
    (event,) = project.events.collect(1, "mark")
    assert event["spoolers"] == [str(project.spool), RELAY]
    project.wait_empty()
    assert len(waiting(outbox)) == 1


def test_a_producer_that_has_relays_alone(project: Project) -> None:
    project.write("app.ini", f"[uwsgi]\nspooler = {RELAY}\nnetwork-outbox = deep/out\n")
    project.python("import uwsgi; uwsgi.spool(x='1')", env=configured(project))
    assert len(waiting(project.root / "deep" / "out" / "127.0.0.1=3A9")) == 1
    project.unspool("spool", "--config", "app.ini", "mark", "x=2")
    assert len(waiting(project.root / "deep" / "out" / "127.0.0.1=3A9")) == 2
