"""Functions of one name in several modules: each task runs the one that it was submitted for."""

from __future__ import annotations

import os

import pytest
import taskfile
from factory import DaemonFactory
from harness import PYTHON, Project
from spooling import submit

MODULE = """
    import sys
    from reporting import report
    from uwsgidecorators import spool, spoolraw

    @spool
    def send(arguments):
        report("sent", by="{label}", arguments=arguments)

    @spool(pass_arguments=True)
    def passing(*args, **kwargs):
        report("sent", by="{label}", arguments=(args, kwargs))

    if sys.argv[1:] == ["submit"]:
        send(who="main")
"""
OWN_PAIR = "unspool"


@pytest.fixture
def two(project: Project) -> Project:
    """Two modules with functions of the same names."""
    for name in ("mail", "shop/sms"):
        label = os.path.basename(name)
        project.write(f"{name}.py", MODULE.format(label=label))
    project.write("shop/__init__.py", "")
    return project


def both(daemon: DaemonFactory, project: Project, *imports: str) -> None:
    options = [part for name in imports for part in ("--spooler-import", name)]
    daemon("--spooler", project.spool, "--pythonpath", ".", *options)


@pytest.mark.parametrize("order", [("mail", "shop.sms"), ("shop.sms", "mail")])
def test_each_task_runs_the_function_that_it_was_submitted_for(
    two: Project, daemon: DaemonFactory, order: tuple[str, str]
) -> None:
    # Each producer knows one of the two modules alone.
    two.python("import mail; mail.send(a='1'); mail.passing(1)")
    two.python("import shop.sms; shop.sms.send(a='2'); shop.sms.passing(2)")
    both(daemon, two, *order)
    events = two.events.collect(4, "sent")
    two.wait_empty()
    arguments = [event["arguments"] for event in events]
    assert [event["by"] for event in events] == ["mail", "mail", "sms", "sms"]
    assert arguments[1::2] == [((1,), {}), ((2,), {})]
    # The module is no part of what the function is given.
    assert [sorted(given) for given in arguments[::2]] == [
        ["a", "spooler_task_name", "ud_spool_func", "ud_spool_ret"]
    ] * 2


def test_a_worker_submits_for_its_own_function(two: Project, daemon: DaemonFactory) -> None:
    two.write(
        "first.py",
        """
        import mail, shop.sms
        from uwsgidecorators import spool

        @spool
        def start(arguments):
            mail.send()
            shop.sms.send()
        """,
    )
    both(daemon, two, "first")
    submit(two, "start")
    assert [event["by"] for event in two.events.collect(2, "sent")] == ["mail", "sms"]


@pytest.mark.parametrize("imports", [("mail", "shop.sms"), ("./mail.py", "shop/sms.py")])
@pytest.mark.parametrize(
    ("command", "by"),
    [
        (("mail.py", "submit"), "mail"),
        (("shop/sms.py", "submit"), "sms"),
        (("-m", "shop.sms", "submit"), "sms"),
        (("-c", "import mail; mail.send()"), "mail"),
        (("-c", "import shop.sms; shop.sms.send()"), "sms"),
    ],
)
def test_a_module_may_have_another_name_where_it_runs(
    two: Project,
    daemon: DaemonFactory,
    command: tuple[str, ...],
    by: str,
    imports: tuple[str, str],
) -> None:
    two.run(PYTHON, *command)
    both(daemon, two, *imports)
    assert two.events.wait("sent")["by"] == by


def test_an_absolute_path_is_the_module_too(two: Project, daemon: DaemonFactory) -> None:
    two.python("import mail; mail.send()")
    both(daemon, two, os.fspath(two.root / "mail.py"), os.fspath(two.root / "shop/sms.py"))
    assert two.events.wait("sent")["by"] == "mail"


def test_a_bare_name_means_the_last_one_and_a_warning_names_both(
    two: Project, daemon: DaemonFactory
) -> None:
    submit(two, "send", a="1")
    running = daemon(
        "--spooler", two.spool, "--spooler-import", "mail", "--spooler-import", "shop.sms"
    )
    assert two.events.wait("sent")["by"] == "sms"
    line = running.wait_log("RuntimeWarning: a task for 'send'").string
    assert "mail.py:send and " in line and "sms.py:send" in line


def test_a_bare_name_that_is_unique_is_that_function(two: Project, daemon: DaemonFactory) -> None:
    submit(two, "send", a="1")
    running = daemon("--spooler", two.spool, "--spooler-import", "mail")
    assert two.events.wait("sent")["by"] == "mail"
    assert running.stop() == 0
    assert not [line for line in running.log if "RuntimeWarning" in line]


def test_a_function_of_another_module_is_not_run_in_its_place(
    two: Project, daemon: DaemonFactory
) -> None:
    two.python("import mail; mail.send()")
    (path,) = two.tasks()
    running = daemon("--spooler", two.spool, "--spooler-import", "shop.sms", "--pythonpath", ".")
    line = running.wait_log("'send' is that of the module 'mail'").string
    assert "shop.sms has another one" in line
    assert path.exists()
    assert not [event for event in two.events.history if event.name == "sent"]


def test_a_function_that_moved_is_found_where_it_went(two: Project, daemon: DaemonFactory) -> None:
    two.python("import mail; mail.send(a='1')")
    two.write("mail.py", "from shop.sms import send\n")
    both(daemon, two, "mail")
    assert two.events.wait("sent")["by"] == "sms"


def test_a_module_that_no_longer_has_the_function_lets_the_only_other_one_run(
    two: Project, daemon: DaemonFactory
) -> None:
    two.python("import mail; mail.send(a='1')")
    two.write("mail.py", "import shop.sms\n")
    both(daemon, two, "mail")
    assert two.events.wait("sent")["by"] == "sms"


def test_a_file_loaded_under_two_names_is_one_function(two: Project, daemon: DaemonFactory) -> None:
    submit(two, "send", a="1")
    two.python("import sys; sys.path.append('shop'); import sms; sms.send(a='2')")
    two.python("import shop.sms; shop.sms.send(a='3')")
    two.write("twice.py", "import sys; sys.path.append('shop'); import sms, shop.sms\n")
    running = daemon("--spooler", two.spool, "--spooler-import", "twice")
    assert [event["arguments"]["a"] for event in two.events.collect(3, "sent")] == ["1", "2", "3"]
    assert running.stop() == 0
    assert not [line for line in running.log if "Warning" in line]


def test_the_module_stands_in_our_own_pair_alone(two: Project) -> None:
    two.python("import mail; mail.send(a='1')")
    two.python("import mail; mail.send(ud_spool_func='other')")
    two.python("import uwsgi; uwsgi.spool({b'ud_spool_func': b'send'})")
    files = [taskfile.read(path) for path in two.tasks()]
    assert [dict(file.pairs).get(b"ud_spool_func") for file in files] == [
        b"send",
        b"other",
        b"send",
    ]
    modules = [path.read_bytes().partition(b" module=")[2][:4] for path in two.tasks()]
    assert modules == [b"mail", b"", b""]
    assert all(b"mail" not in part for pair in files[0].pairs for part in pair)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("app.tasks", "tasks", True),
        ("app.tasks", "app_tasks", True),
        ("app.tasks", "_srv_app_tasks", True),
        ("tasks", "__tasks", True),
        ("uwsgi_file_site", "site", True),
        ("uwsgi_file___site", "site", True),
        ("app.tasks", "shop.tasks", False),
        ("my_tasks", "tasks", False),
        ("mytasks", "tasks", False),
        ("app.tasks", "_srv_shop_tasks", False),
        ("tasks", None, False),
    ],
)
def test_names_of_one_module(project: Project, a: str, b: str | None, same: bool) -> None:
    source = f"""
    from unspool._functions import _same_module
    assert _same_module({a!r}, {b!r}) is {same}
    if {b!r} is not None:
        assert _same_module({b!r}, {a!r}) is {same}
    """
    project.python(source)


def test_tests_that_replace_uwsgi_spool_see_a_plain_dictionary(project: Project) -> None:
    source = """
    from unittest import mock
    import uwsgi
    from uwsgidecorators import spool

    @spool
    def send(arguments): pass

    with mock.patch.object(uwsgi, 'spool') as replaced:
        send(a='1')
    replaced.assert_called_once_with(
        {b'ud_spool_func': b'send', b'ud_spool_ret': b'-2', b'a': b'1'})
    """
    project.python(source)
