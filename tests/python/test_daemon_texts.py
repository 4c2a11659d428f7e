"""Errors, results and names that hold what no log and no packet can take as it is."""

from __future__ import annotations

from factory import DaemonFactory
from harness import Project
from spooling import submit

TASKS = """
    import os, traceback
    from uwsgidecorators import spool, spoolraw, uwsgi
    from reporting import report

    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    class Shy:
        def __repr__(self):
            raise RuntimeError("no text")

    @spool
    def opens(args):
        open("/nowhere/\\udcff")

    @spool
    def mute(args):
        raise Mute

    @spool
    def large(args):
        raise ValueError("x" * 500_000 + "the end")

    @spool
    def breaks(args):
        traceback.format_exception = None
        raise KeyError("lost")

    @spool
    def fine(args):
        report("fine", pid=os.getpid())

    decorated = uwsgi.spooler
    def handle(task):
        if b"shy" in task:
            return Shy()
        if b"odd" in task:
            return "\\udcff"
        return decorated(task)
    uwsgi.spooler = handle
"""


def test_no_text_of_an_error_ends_a_worker(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", TASKS)
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    submit(project, "fine")
    worker = project.events.wait("fine")["pid"]
    for function, said in (
        ("opens", r"FileNotFoundError: .*'/nowhere/\\udcff'"),
        ("mute", "Mute: <exception str"),
        ("large", "bytes left out"),
    ):
        submit(project, function)
        running.wait_log(said)
    submit(project, "-", shy=1)
    running.wait_log("the handler returned a Shy, which is no int")
    submit(project, "-", odd=1)
    running.wait_log("the handler returned '\\\\udcff', which is no int")
    # Last, since nothing is formatted any more after it.
    submit(project, "breaks")
    running.wait_log("KeyError, and its traceback could not be formatted")
    submit(project, "fine")
    assert project.events.wait("fine")["pid"] == worker


def test_an_import_may_fail_with_any_text(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", TASKS)
    project.write("broken.py", "open('/nowhere/\\udcff')")
    named = """
        from uwsgidecorators import mule, spool
        def odd(args): pass
        odd.__name__ = odd.__qualname__ = "odd\\udcff"
        spool(odd)
        mule(1)(odd)
        """
    project.write("named.py", named)
    imports = ("--import", "broken", "--import", "named", "--import", "tasks")
    running = daemon("--spooler", project.spool, *imports)
    running.wait_log(r"FileNotFoundError: .*'/nowhere/\\udcff'")
    submit(project, "fine")
    project.events.wait("fine")


def test_all_timers_crons_and_signals_fit(project: Project, daemon: DaemonFactory) -> None:
    """What the zygote tells is one packet: it must take as much as may be registered."""
    project.write(
        "tasks.py",
        """
        import uwsgi
        from uwsgidecorators import *
        from reporting import report
        for number in range(256):
            uwsgi.register_signal(number, "x" * 63, print)
            uwsgi.add_rb_timer(number, 100_000_000.123456 + number, 1_000_000)
            uwsgi.add_cron(number, 59, 23, 31, 12, 7)
        for add in (lambda: uwsgi.add_timer(1, 5), lambda: uwsgi.add_cron(1, 1, 1, 1, 1, 1)):
            try:
                add()
            except ValueError as error:
                report("refused", text=str(error))
        def many(number):
            def function(args): pass
            function.__name__ = function.__qualname__ = f"function_{number}_" + "y" * 80
            return function
        for number in range(1000):
            spool(many(number))
            mule(1)(many(number))
        """,
    )
    broken = "raise ValueError('\u00e9' * 100_000)"
    for name in ("a", "b", "c", "d"):
        project.write(f"{name}.py", broken)
    imports = [f"--import={name}" for name in ("tasks", "a", "b", "c", "d")]
    running = daemon("--spooler", project.spool, *imports)
    assert [event["text"] for event in project.events.collect(2, "refused")] == [
        "unable to add timer: there are 256 already",
        "unable to add cron: there are 256 already",
    ]
    running.wait_log("cannot import module=a")
