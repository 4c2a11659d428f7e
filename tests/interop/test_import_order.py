"""The application is imported as by uWSGI: in its order, under its names, with its paths.

Each module of the application reports its import. Every case runs on both with one ini file.
"""

from __future__ import annotations

import os

import pytest
from both import APPS, Both, System
from harness import REAL_UWSGI, SUPPORT, UNSPOOL, Event, Project

SYSTEMS: list[System] = ["uwsgi", "unspool"]
MODULE = """
    import os, sys
    from reporting import report
    report("imported", file=__file__, module=__name__, argv=sys.argv, path=list(sys.path),
           cwd=os.getcwd(), package=list(globals().get("__path__", [])))

    def application(environ, start_response): pass

    def create():
        report("created")
        return application
"""
FILES = ("app.py", "shared.py", "first.py", "second.py", "third.py", "sub/deep.py")


@pytest.fixture
def application(both: Both) -> Project:
    for name in (*FILES, "package/__init__.py"):
        both.project.write(name, MODULE)
    both.project.write("broken.py", MODULE + "    1 / 0\n")
    return both.project


def start(both: Both, system: System, ini: str) -> None:
    path = both.project.write("app.ini", f"[uwsgi]\nspooler = spool\n{ini}")
    if system == "uwsgi":
        both._uwsgi("--ini", str(path), env={})
    else:
        paths = {"PYTHONPATH": f"{SUPPORT}"}
        both._start(UNSPOOL, "run", str(path), env=paths)


def imports(both: Both, system: System, ini: str, count: int) -> list[Event]:
    """The first so many reports of imports, in the order of the log."""
    start(both, system, ini)
    return both.project.events.collect(count, lambda event: event.name in ("imported", "created"))


def end(both: Both) -> None:
    """Ends what runs: a uWSGI that has only just started does not hear SIGTERM."""
    for daemon in both._started:
        if daemon.arguments[0] == str(REAL_UWSGI):
            daemon.close()
        elif daemon.running:
            daemon.wait_ready()
            daemon.stop()


def told(project: Project, event: Event) -> tuple[object, ...]:
    """What must be the same on both."""
    if event.name == "created":
        return ("created",)
    root = os.fspath(project.root)
    path = event["path"]
    # What comes after is Python's; the two have different environments.
    own = [
        part if part in ("", ".") else os.path.normpath(os.path.join(root, part))
        for part in path[: path.index("") + 1]
    ]
    support = os.fspath(SUPPORT)
    return (
        os.path.relpath(os.path.join(event["cwd"], event["file"]), root),
        event["module"],
        event["argv"],
        [part for part in own if part != support and part != os.fspath(APPS)],
        event["cwd"],
        bool(event["package"]),
    )


CASES = {
    "order": (
        """
        spooler-import = first
        import = second
        module = app
        shared-import = shared
        import = third
        """,
        5,
    ),
    "files": (
        """
        import = first.py
        import = ./second.py
        import = sub/deep.py
        shared-import = {root}/third.py
        spooler-import = package/
        spooler-import = {root}/shared.py
        """,
        6,
    ),
    "package": ("spooler-import = {root}/package", 1),
    "dotted": ("spooler-import = package\nimport = sub.deep", 2),
    "wsgi-file": ("wsgi-file = app.py\nspooler-import = first", 2),
    "wsgi-file-absolute": ("wsgi-file = {root}/app.py", 1),
    "callable": ("module = app\ncallable = application", 1),
    "factory": ("module = app:create()", 2),
    "factory-by-option": ("module = app\ncallable = create()", 2),
    "pythonpath": (
        "pythonpath = sub\npythonpath = {root}/package\nimport = first\nimport = deep",
        2,
    ),
    "pyargv": ("pyargv = one  two --three\nimport = first", 1),
    "chdir": ("chdir = {root}/sub\nimport = deep\nspooler-import = deep.py", 1),
    "a-failed-import-is-passed": ("import = broken\nimport = first\nspooler-import = second", 3),
}


@pytest.mark.parametrize("case", CASES)
def test_imports_are_those_of_uwsgi(both: Both, application: Project, case: str) -> None:
    options, count = CASES[case]
    lines = [line.strip() for line in options.format(root=application.root).splitlines()]
    ini = "\n".join(line for line in lines if line) + "\n"
    seen = {}
    for system in SYSTEMS:
        events = imports(both, system, ini + "socket = 127.0.0.1:0\n", count)
        end(both)
        seen[system] = [told(application, event) for event in events]
    assert seen["unspool"] == seen["uwsgi"]


HANDLER = """
    import uwsgi
    from reporting import report

    def handler(env):
        report("handled")
        return uwsgi.SPOOL_OK

    uwsgi.spooler = handler

    def application(environ, start_response): pass
"""


@pytest.mark.parametrize("option", ["module = site_app", "wsgi-file = site_app.py"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_handler_of_the_application_needs_no_spooler_import(
    both: Both, system: System, option: str
) -> None:
    both.project.write("site_app.py", HANDLER)
    both.write("unspool", ("spool", ({b"a": b"1"},), {}))
    start(both, system, f"pythonpath = {SUPPORT}\n{option}\nsocket = 127.0.0.1:0\n")
    both.project.events.wait("handled")
    both.project.wait_empty()
    end(both)


@pytest.mark.parametrize("system", SYSTEMS)
def test_lazy_apps_leaves_no_worker_without_its_functions(both: Both, system: System) -> None:
    """uWSGI's spooler has no function then, and says so at each scan."""
    both.project.write("site_app.py", HANDLER)
    both.write("unspool", ("spool", ({b"a": b"1"},), {}))
    options = "module = site_app\nlazy-apps = true\nsocket = 127.0.0.1:0\n"
    start(both, system, f"pythonpath = {SUPPORT}\n{options}")
    if system == "uwsgi":
        both._started[-1].wait_log("unable to find the spooler function")
        assert len(both.project.tasks()) == 1
    else:
        both.project.events.wait("handled")
        both.project.wait_empty()
    end(both)


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_import_error_shows_its_traceback_and_the_rest_is_imported(
    both: Both, application: Project, system: System
) -> None:
    both.project.write("site_app.py", HANDLER)
    ini = f"pythonpath = {SUPPORT}\nimport = broken\nmodule = site_app\nsocket = 127.0.0.1:0\n"
    start(both, system, ini)
    log = both._started[-1]
    log.wait_log("Traceback")
    log.wait_log("broken.py.*line")
    log.wait_log("ZeroDivisionError")
    both.write("unspool", ("spool", ({b"a": b"1"},), {}))
    if system == "unspool":
        both.project.events.wait("handled")
    else:
        log.wait_log("spawned the uWSGI spooler")
    end(both)


@pytest.mark.parametrize("system", SYSTEMS)
def test_system_exit_in_an_import(both: Both, application: Project, system: System) -> None:
    """It ends uWSGI with all of its processes; here it is a failed import."""
    both.project.write("leaving.py", "raise SystemExit(3)\n")
    start(both, system, f"pythonpath = {SUPPORT}\nimport = leaving\nimport = first\n")
    daemon = both._started[-1]
    if system == "uwsgi":
        assert daemon.wait_exit() == 3
    else:
        daemon.wait_log("SystemExit: 3")
        assert both.project.events.wait("imported")["module"] == "first"
        end(both)
