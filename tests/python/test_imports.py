"""Imports of the application: names of modules as uWSGI has them, and no file twice."""

from __future__ import annotations

import os

import pytest
from harness import Project

LOAD = """
    import os, sys
    sys.path[:0] = ['.']
    from unspool._imports import load
"""


@pytest.fixture
def application(project: Project) -> Project:
    project.write("tasks.py", "print('tasks as', __name__)\nvalue = 1\n")
    project.write("sub/jobs.py", "print('jobs as', __name__)\n")
    project.write("pkg/__init__.py", "print('pkg as', __name__, len(__path__))\n")
    project.write(
        "site_app.py",
        """
        print('site as', __name__)
        def create():
            print('created')
        """,
    )
    return project


# The names that the real uWSGI 2.0.31 gives.
@pytest.mark.parametrize(
    ("call", "printed"),
    [
        ("load('spooler-import', 'tasks')", "tasks as tasks"),
        ("load('spooler-import', 'tasks.py')", "tasks as tasks"),
        ("load('import', './tasks.py')", "tasks as __tasks"),
        ("load('import', 'sub/jobs.py')", "jobs as sub_jobs"),
        ("load('shared-import', 'sub.jobs')", "jobs as sub.jobs"),
        ("load('spooler-import', './pkg')", "pkg as __pkg 1"),
        ("load('module', 'site_app:create')", "site as site_app"),
        ("load('module', 'site_app', 'create')", "site as site_app"),
        ("load('module', 'site_app:create()')", "site as site_app\ncreated"),
        ("load('module', 'site_app', 'create()')", "site as site_app\ncreated"),
        ("load('module', 'site_app', 'no_such_callable')", "site as site_app"),
        ("load('wsgi-file', './site_app.py')", "site as uwsgi_file___site_app"),
        ("load('wsgi-file', 'site_app.py', 'create()')", "site as uwsgi_file_site_app\ncreated"),
    ],
)
def test_names_of_modules(application: Project, call: str, printed: str) -> None:
    done = application.python(LOAD + f"    {call}\n", env=application.env)
    assert done.stdout == printed + "\n"


def test_an_absolute_path_is_flattened(application: Project) -> None:
    path = os.fspath(application.root / "tasks.py")
    name = path.removesuffix(".py").replace("/", "_").replace(".", "_")
    done = application.python(LOAD + f"    load('import', {path!r})\n", env=application.env)
    assert done.stdout == f"tasks as {name}\n"


def test_a_file_is_executed_once_under_whatever_names(application: Project) -> None:
    path = os.fspath(application.root / "tasks.py")
    source = (
        LOAD
        + f"""
    load('module', 'tasks')
    load('spooler-import', 'tasks.py')
    load('spooler-import', './tasks.py')
    load('spooler-import', {path!r})
    import __tasks
    assert __tasks.value == 1 and sys.modules['tasks'] is __tasks
    """
    )
    assert application.python(source, env=application.env).stdout == "tasks as tasks\n"


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ("load('import', 'nowhere')", "ModuleNotFoundError"),
        ("load('import', 'nowhere.py')", "FileNotFoundError"),
        ("load('import', './broken.py')", "ZeroDivisionError"),
        ("load('module', 'site_app', 'missing()')", "AttributeError"),
    ],
)
def test_failures_are_those_of_the_import(application: Project, call: str, kind: str) -> None:
    application.write("broken.py", "1 / 0\n")
    source = (
        LOAD
        + f"""
    before = set(sys.modules)
    try:
        {call}
    except {kind}:
        assert '__broken' not in sys.modules
    else:
        raise AssertionError
    """
    )
    application.python(source, env=application.env)
