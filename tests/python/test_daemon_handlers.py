"""How the daemon calls an application's functions, and what it hands to them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from factory import DaemonFactory
from harness import PYTHON, Daemon, Project, wait_gone
from spooling import Producer, attempts, call, foreign, publish, submit

FREQUENCY = 0.25

DECORATED = """
    from decimal import Decimal
    from uwsgidecorators import spool, spoolforever, spoolraw, uwsgi
    from reporting import report

    RUNS = []

    @spool
    def plain(args):
        report("plain", args=args)
        return uwsgi.SPOOL_RETRY

    @spoolraw
    def raw(args):
        RUNS.append(args)
        report("raw", run=len(RUNS))
        return [uwsgi.SPOOL_RETRY, uwsgi.SPOOL_IGNORE, uwsgi.SPOOL_OK][len(RUNS) - 1]

    @spoolforever
    def forever(args):
        report("forever")
        return uwsgi.SPOOL_OK

    @spool(pass_arguments=True)
    def call_with(*args, **kwargs):
        report("call_with", args=args, kwargs=kwargs)

    @spoolraw(pass_arguments=True)
    def raw_with(price, currency="EUR"):
        report("raw_with", price=price, currency=currency)
        return uwsgi.SPOOL_OK
"""


def run_decorated(project: Project, daemon: DaemonFactory) -> Daemon:
    project.write("tasks.py", DECORATED)
    spool = ("--spooler", project.spool, "--spooler-import", "tasks")
    return daemon(*spool, "--spooler-frequency", str(FREQUENCY))


def call_in_python(project: Project, source: str) -> Path:
    """What a call of a decorated function returns, in an ordinary Python."""
    program = f"import os, tasks\nprint(os.fsdecode(tasks.{source}))"
    return Path(project.python(program).stdout.strip())


def test_spool_is_done_whatever_the_function_returns(
    project: Project, daemon: DaemonFactory
) -> None:
    run_decorated(project, daemon)
    path = call_in_python(project, "plain.spool({b'a': b'1'}, b='2')")
    args = project.events.wait("plain")["args"]
    assert args.pop("spooler_task_name") == path.name
    assert args == {"ud_spool_func": "plain", "ud_spool_ret": "-2", "a": "1", "b": "2"}
    wait_gone(path)
    # From the command line there is no pair that says what to return: the decorator says it.
    wait_gone(submit(project, "plain"))


def test_spoolraw_returns_the_code_itself(project: Project, daemon: DaemonFactory) -> None:
    running = run_decorated(project, daemon)
    path = call_in_python(project, "raw.spool()")
    runs = project.events.collect(3, "raw")
    assert [event["run"] for event in runs] == [1, 2, 3]
    for earlier, later in itertools.pairwise(runs):
        assert later.monotonic - earlier.monotonic >= FREQUENCY
    wait_gone(path)
    running.wait_log(r"task asked to run again .*function=raw")
    running.wait_log(rf"task ignored by its handler task={path.name}")
    running.wait_log(r"task done .*function=raw")


def test_spoolforever_runs_again_and_again(project: Project, daemon: DaemonFactory) -> None:
    running = run_decorated(project, daemon)
    path = call_in_python(project, "forever.spool()")
    runs = project.events.collect(4, "forever")
    for earlier, later in itertools.pairwise(runs):
        assert later.monotonic - earlier.monotonic >= FREQUENCY
    assert running.stop() == 0
    assert path.exists() and attempts(path) == 0


def test_pass_arguments_calls_the_function_with_the_objects(
    project: Project, daemon: DaemonFactory
) -> None:
    run_decorated(project, daemon)
    path = call_in_python(
        project, "call_with.spool(tasks.Decimal('1.5'), ['x'], when={1, 2}, none=None)"
    )
    event = project.events.wait("call_with")
    assert [str(event["args"][0]), event["args"][1]] == ["1.5", ["x"]]
    assert event["kwargs"] == {"when": {1, 2}, "none": None}
    wait_gone(path)
    path = call_in_python(project, "raw_with.spool(7, currency='USD')")
    event = project.events.wait("raw_with")
    assert (event["price"], event["currency"]) == (7, "USD")
    wait_gone(path)


BARE = """
    import uwsgi
    from reporting import report

    def handler(env):
        report("handler", env=env, spooler=uwsgi.i_am_the_spooler(), cwd=__import__("os").getcwd())
        return uwsgi.SPOOL_OK

    uwsgi.spooler = handler

    def application(environ, start_response):
        raise RuntimeError("nobody asks the web application")
"""


def test_a_function_whose_call_runs_nothing_of_it_is_not_done(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write(
        "tasks.py",
        """
        import asyncio
        from reporting import report
        from uwsgidecorators import spool

        @spool
        async def later(args):
            report("later")

        @spool
        def yielding(args):
            yield report("yielding")

        async def work():
            report("work")

        @spool
        def runs_it(args):
            asyncio.run(work())
            return (number for number in range(3))
        """,
    )
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    for function, what in (("later", "is asynchronous"), ("yielding", "is a generator")):
        path = submit(project, function)
        running.wait_log(f"TypeError: {function} {what}, so that calling it ran nothing of it")
        assert path.exists()
    done = submit(project, "runs_it")
    project.events.wait("work")
    # What the worker printed is in the same pipe, before this.
    running.wait_log(f"task done task={done.name}")
    assert not any("never awaited" in line for line in running.log)


def test_a_bare_handler_in_module_runs_tasks_without_a_spooler_import(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("site_of_mine.py", BARE)
    ini = project.write(
        "app.ini",
        f"""
        [uwsgi]
        spooler = {project.spool}
        module = site_of_mine:application
        """,
    )
    daemon(ini)
    path = submit(project, "anything", colour="blue")
    event = project.events.wait("handler")
    assert event["env"][b"colour"] == b"blue"
    assert event["spooler"] is True
    wait_gone(path)


def test_the_handler_gets_the_dictionary_that_uwsgi_hands_it(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", BARE)
    daemon("--spooler", project.spool, "--import", "tasks")
    message: dict[Any, Any] = {
        b"\xff\x00": b"\x00\xfe",
        b"b'ody": b"",
        "body": b"\x00whole\n",
        "n": 5,
        "f": True,
    }
    with Producer(project) as producer:
        (task,) = producer.many([message])
        event = project.events.wait("handler")
        assert event["env"] == {
            "spooler_task_name": task.path.name.encode(),
            b"\xff\x00": b"\x00\xfe",
            b"b'ody": b"",
            b"n": b"5",
            b"f": b"True",
            "body": b"\x00whole\n",
        }
        # As in uWSGI, a task runs in the folder of its file.
        assert event["cwd"] == str(project.spool)
        (task,) = producer.many([{"priority": "7", "x": b"1"}])
        event = project.events.wait("handler")
        assert event["env"] == {
            "spooler_task_name": task.path.name.encode(),
            b"priority": b"7",
            b"x": b"1",
        }
        assert event["cwd"] == str(project.spool / "7")


def test_pairs_named_like_the_two_text_keys_are_separate(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", BARE)
    daemon("--spooler", project.spool, "--import", "tasks")
    pairs = {b"body": b"a pair", b"spooler_task_name": b"another"}
    publish(project.spool, "foreign_1", foreign(pairs, b"the body"))
    wanted: dict[str | bytes, bytes] = {
        b"body": b"a pair",
        b"spooler_task_name": b"another",
        "spooler_task_name": b"uwsgi_spoolfile_on_foreign_1",
        "body": b"the body",
    }
    assert project.events.wait("handler")["env"] == wanted


def test_a_value_over_64_kib_arrives_where_it_was_put(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", DECORATED.replace("args=args)", "size=len(args['big']))", 1))
    daemon("--spooler", project.spool, "--spooler-import", "tasks")
    with Producer(project) as producer:
        (task,) = producer.many([call("plain", big="x" * 200_000)])
    assert project.events.wait("plain")["size"] == 200_000
    wait_gone(task.path)


def test_python_m_unspool_runs_it_too_and_only_tasks_write_to_standard_output(
    project: Project,
) -> None:
    project.write("tasks.py", DECORATED.replace('report("plain"', 'print("hello"); report("plain"'))
    options = ("--spooler", project.spool, "--spooler-import", "tasks")
    command = (PYTHON, "-m", "unspool", "run")
    running = Daemon(*options, cwd=project.root, env=project.env, command=command)
    try:
        running.start().wait_ready()
        submit(project, "plain")
        running.wait_log("task done")
        assert running.stop() == 0
    finally:
        running.close()
    assert running.output == ["hello"]
