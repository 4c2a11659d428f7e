"""The module `uwsgi`: where it is, what it says there, and where it is not."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import PYTHON, Project
from spooling import submit

WAYS = ("unspool.configure(", "UNSPOOL_SPOOL", "UNSPOOL_CONFIG", "unspool run")


@pytest.mark.parametrize("module", ["uwsgi", "uwsgidecorators"])
def test_it_is_missing_where_no_spool_is_configured(project: Project, module: str) -> None:
    source = f"""
    try:
        import {module}
    except ModuleNotFoundError as error:
        assert error.name == 'uwsgi', error.name
        print(error)
    else:
        raise AssertionError
    import sys
    assert 'uwsgi' not in sys.modules and 'uwsgidecorators' not in sys.modules
    """
    text = project.python(source, env=project.env).stdout
    for way in WAYS:
        assert way in text


def test_it_is_there_once_a_spool_is_configured(project: Project) -> None:
    source = """
    import unspool
    try:
        import uwsgi
    except ImportError:
        unspool.configure('spool')
    import uwsgi
    assert uwsgi.masterpid() > 0 and 'spooler' in uwsgi.opt
    """
    project.python(source, env=project.env)


ASKED = """
    import os, uwsgi
    assert uwsgi.masterpid() == os.getpid()
    assert 'spooler' in uwsgi.opt
    print(os.fsdecode(uwsgi.spoolers[0]))
"""


def first_spool(project: Project, before: str = "", **env: str) -> Path:
    printed = project.python(before + ASKED, env={**project.env, **env}).stdout
    return Path(printed.strip())


def test_what_is_nearer_names_the_spool(project: Project) -> None:
    ini = project.write("app.ini", "[uwsgi]\nspooler = from_ini\n")
    other = project.write("other.ini", "[uwsgi]\nspooler = from_other_ini\n")
    assert first_spool(project, UNSPOOL_CONFIG=os.fspath(ini)) == project.root / "from_ini"
    both = {"UNSPOOL_CONFIG": os.fspath(ini), "UNSPOOL_SPOOL": "from_env"}
    assert first_spool(project, **both) == project.root / "from_env"
    for call, expected in [
        ("unspool.configure('from_call')", "from_call"),
        ("unspool.configure(spooler=[b'from_call', 'second'])", "from_call"),
        (f"unspool.configure(config={os.fspath(other)!r})", "from_other_ini"),
        ("unspool.configure('first'); import uwsgi; unspool.configure('second')", "second"),
    ]:
        before = f"    import unspool; {call}\n"
        assert first_spool(project, before, **both) == project.root / expected, call


def test_the_first_spool_listed_is_the_default_also_an_external_one(project: Project) -> None:
    ini = project.write("app.ini", "[uwsgi]\nspooler-external = other\nspooler = own\n")
    source = """
    import os, uwsgi
    print(os.fsdecode(uwsgi.spool()))
    """
    env = {**project.env, "UNSPOOL_CONFIG": os.fspath(ini)}
    path = Path(project.python(source, env=env).stdout.strip())
    assert path.parent == project.root / "other"


@pytest.mark.parametrize(
    ("ini", "expected"),
    [
        ("[uwsgi]\nspooler = x\nspooler-processes = -1\n", "app.ini:3:"),
        ("[uwsgi]\nmaster = true\n", "names no spool directory"),
        (None, "app.ini"),
    ],
)
def test_a_broken_configuration_is_not_taken_for_none(
    project: Project, ini: str | None, expected: str
) -> None:
    if ini is not None:
        project.write("app.ini", ini)
    source = """
    import unspool
    try:
        import uwsgi
    except unspool.ConfigError as error:
        assert isinstance(error, ValueError)
        print(error)
    try:
        unspool.configure(config='app.ini')
    except unspool.ConfigError as error:
        print(error)
    """
    env = {**project.env, "UNSPOOL_CONFIG": "app.ini"}
    lines = project.python(source, env=env).stdout.splitlines()
    assert len(lines) == 2
    assert all(expected in line for line in lines)


@pytest.mark.parametrize(
    "arguments", ["", "spooler=[]", "'a', 'app.ini'", "'a', durability='sometimes'"]
)
def test_configure_refuses_what_it_cannot_do(project: Project, arguments: str) -> None:
    source = f"""
    import unspool
    try:
        unspool.configure({arguments})
    except unspool.ConfigError:
        pass
    else:
        raise AssertionError
    try:
        import uwsgi
    except ImportError:
        pass
    else:
        raise AssertionError
    """
    project.python(source, env=project.env)


def test_opt_is_uwsgis(project: Project) -> None:
    project.write(
        "app.ini",
        """
        [uwsgi]
        spooler = one
        spooler = two
        spooler-frequency = 10 # often
        my-own = value
        """,
    )
    source = """
    from uwsgi import opt
    import uwsgi
    assert opt['spooler'] == b'two'
    assert opt['my-own'] == b'value'
    assert opt['spooler-frequency'].startswith(b'10')
    assert opt[b'spooler'] == b'two' and b'spooler' in opt and opt.get(b'spooler') == b'two'
    assert 'mule' not in opt and b'mule' not in opt
    assert opt.get('mule') is None and opt.get(b'mule', 1) == 1
    for absent in ('mule', b'mule'):
        try:
            opt[absent]
        except KeyError as error:
            assert error.args == (absent,)
    assert opt.get('master') and opt.get('enable-threads')
    import unspool
    unspool.configure('elsewhere')
    assert opt is uwsgi.opt and opt['spooler'].endswith(b'/elsewhere') and 'my-own' not in opt
    """
    project.python(source, env={**project.env, "UNSPOOL_CONFIG": "app.ini"})


def test_what_a_producer_sees(project: Project) -> None:
    source = """
    import os, uwsgi
    assert (uwsgi.SPOOL_OK, uwsgi.SPOOL_RETRY, uwsgi.SPOOL_IGNORE) == (-2, -1, 0)
    assert uwsgi.version == b'2.0.31' and uwsgi.version_info == (2, 0, 31, 0, b'')
    assert uwsgi.hostname == os.uname().nodename.encode()
    assert uwsgi.worker_id() == 0 and uwsgi.mule_id() == 0 and uwsgi.numproc == 0
    assert uwsgi.i_am_the_spooler() is None
    assert uwsgi.has_threads
    assert not hasattr(uwsgi, 'spooler') and not hasattr(uwsgi, 'post_fork_hook')
    uwsgi.spooler = uwsgi.post_fork_hook = uwsgi.mule_msg_hook = uwsgi.atexit = print
    assert uwsgi.spool is uwsgi.send_to_spooler
    assert uwsgi.log('a line') is True
    assert uwsgi.alarm('name', b'what \\xff') is None
    """
    assert project.python(source).stderr == "a line\nalarm name: what \\xff\n"


def test_what_is_not_real_is_not_there(project: Project) -> None:
    source = """
    import uwsgi
    for name in ('queue_push', 'queue_size', 'send_multi_message'):
        assert not hasattr(uwsgi, name), name
    """
    project.python(source)


def test_looking_at_tasks(project: Project) -> None:
    source = """
    import os, uwsgi
    assert uwsgi.spooler_jobs() == []
    path = uwsgi.spool({b'a': b'1', b'body': b'BODY', b'at': b'2000000000'})
    uwsgi.spool(priority=5)
    assert uwsgi.spooler_jobs() == [path]
    pairs = {b'a': b'1', b'at': b'2000000000'}
    for given in (path, path.decode()):
        assert uwsgi.parsefile(given) == pairs
        task = uwsgi.spooler_get_task(given)
        assert task == {'spooler_task_name': path, **pairs, 'body': b'BODY'}, task
    assert uwsgi.spooler_get_task('/nowhere') is None and uwsgi.parsefile('/nowhere') is None
    with open('spool/uwsgi_spoolfile_on_x', 'wb') as file:
        file.write(b'\\x11\\xff')
    assert uwsgi.spooler_get_task('spool/uwsgi_spoolfile_on_x') is None
    assert uwsgi.parsefile('spool/uwsgi_spoolfile_on_x') is None
    """
    project.python(source)


def test_signals_and_schedules_are_recorded(project: Project) -> None:
    source = """
    import uwsgi
    from unspool import _signals
    assert uwsgi.signal_registered(17) is None
    assert uwsgi.register_signal(17, 'worker', print) is None
    assert uwsgi.signal_registered(17) is True
    assert uwsgi.add_timer(17, 30) is None
    assert uwsgi.add_rb_timer(17, 5, 3) is None
    assert uwsgi.add_ms_timer(17, 250) is None
    assert uwsgi.add_timer(17, 0) is None
    assert uwsgi.add_cron(17, -5, 0, -1, -1, 7) is True
    def timer(seconds, iterations):
        return {'signal': 17, 'seconds': seconds, 'iterations': iterations}
    cron = {'signal': 17, 'minute': -5, 'hour': 0, 'day': -1, 'month': -1, 'weekday': 7}
    assert _signals.snapshot() == {
        'signals': [{'signal': 17, 'target': 'worker', 'handler': 'builtins.print'}],
        'timers': [timer(30, 0), timer(5, 3), timer(0.25, 0)],
        'crons': [cron],
    }
    _signals.dispatch(17)
    """
    assert project.python(source).stdout == "17\n"


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        ("register_signal(256, '', print)", "ValueError", "256 is no uwsgi signal"),
        ("register_signal('1', '', print)", "TypeError", ""),
        ("register_signal(1, '', None)", "TypeError", "not callable"),
        ("register_signal(1, 'x' * 64, print)", "ValueError", "target is longer"),
        ("add_timer(1, '30')", "TypeError", ""),
        ("add_timer(1, -30)", "ValueError", "negative"),
        ("add_rb_timer(1, 30, -1)", "ValueError", "negative"),
        ("add_cron(1, 60, 0, -1, -1, -1)", "ValueError", "minute is 60; give 0 to 59"),
        ("add_cron(1, 0, 24, -1, -1, -1)", "ValueError", "hour is 24"),
        ("add_cron(1, 0, 0, 0, -1, -1)", "ValueError", "day is 0"),
        ("add_cron(1, 0, 0, -1, 13, -1)", "ValueError", "month is 13"),
        ("add_cron(1, 0, 0, -1, -1, 8)", "ValueError", "weekday is 8"),
        ("add_cron(1, 0.5, 0, -1, -1, -1)", "TypeError", ""),
        ("signal(1)", "RuntimeError", "no daemon runs the spool"),
        ("lock(1)", "ValueError", "Invalid lock number"),
    ],
)
def test_wrong_calls_say_what_is_wrong(project: Project, call: str, kind: str, text: str) -> None:
    source = f"""
    import uwsgi
    try:
        uwsgi.{call}
    except {kind} as error:
        print(error)
    else:
        raise AssertionError
    """
    assert text in project.python(source).stdout


SETUP = """
    from unspool import _process
    setup = {'spoolers': SPOOLERS, 'relays': [], 'external': [],
             'opt': [['master', None], ['x', 'y']],
             'daemon_pid': 4711, 'durability': 'none', 'frequency': 10.0,
             'is_a_reload': False, 'security': {'keys': None, 'unsigned_uids': [], 'mode': None,
                                                'group': None, 'strict': False,
                                                'network_pickle': False},
             'bounds': {'max_pending': 0, 'max_pending_bytes': '0', 'min_free': '0'},
             'network': {'keys': None, 'ca': None, 'certificate': None, 'certificate_key': None}}
    _process.configure_daemon_child(setup)
"""


@pytest.mark.parametrize(
    ("role", "worker_id", "spooler"), [("spool", 0, True), ("signal", 3, None)]
)
def test_what_a_worker_sees(
    project: Project, role: str, worker_id: int, spooler: bool | None
) -> None:
    source = (
        SETUP.replace("SPOOLERS", repr([os.fspath(project.spool)]))
        + f"""
    import uwsgi
    uwsgi.register_signal(1, '', print)
    try:
        uwsgi.register_signal(1, '', repr)
    except ValueError as error:
        assert 'print' in str(error), error
    else:
        raise AssertionError
    _process.become_worker({role!r}, 17, 3)
    assert uwsgi.masterpid() == 4711
    assert uwsgi.worker_id() == {worker_id} and uwsgi.i_am_the_spooler() is {spooler}
    assert uwsgi.opt['master'] is True and uwsgi.opt['x'] == b'y'
    import unspool
    unspool.configure('elsewhere')
    assert uwsgi.spool().startswith({os.fsencode(project.spool)!r})
    """
    )
    project.python(source, env={**project.env, "UNSPOOL_SPOOL": "ignored"})


def test_a_daemon_without_a_spool_has_no_spool_functions(project: Project) -> None:
    source = (
        SETUP.replace("SPOOLERS", "[]")
        + """
    import uwsgi
    for name in ('spool', 'send_to_spooler', 'spooler_jobs', 'spoolers', 'lock', 'cache_get'):
        assert not hasattr(uwsgi, name), name
    from uwsgidecorators import spool, timer
    timer(5)(print)
    try:
        spool(print)
    except Exception as error:
        assert str(error) == 'you have to enable the uWSGI spooler to use @_spool decorator'
    else:
        raise AssertionError
    """
    )
    project.python(source, env=project.env)


def test_importing_starts_no_thread_and_opens_no_file(project: Project) -> None:
    source = """
    import os
    before = os.listdir('/proc/self/fd')
    import unspool, uwsgi, uwsgidecorators
    assert os.listdir('/proc/self/task') == [str(os.getpid())]
    assert os.listdir('/proc/self/fd') == before
    """
    project.python(source)


HOLDER = """
import sys, uwsgi
uwsgi.lock()
assert uwsgi.is_locked() is True
print('held', flush=True)
sys.stdin.readline()
uwsgi.unlock()
print(uwsgi.is_locked(), flush=True)
uwsgi.lock(0)
print('held', flush=True)
sys.stdin.readline()
"""


def test_the_lock_is_one_for_all_processes_and_ends_with_its_holder(project: Project) -> None:
    asked = "import uwsgi; print(uwsgi.is_locked())"
    holder = subprocess.Popen(
        [PYTHON, "-c", HOLDER],
        env=project.producer_env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert project.python(asked).stdout == "True\n"
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "False\n"
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGKILL)
    assert project.python(asked).stdout == "False\n"


def test_inside_a_real_uwsgi_its_own_module_wins(project: Project, real_uwsgi: Path) -> None:
    project.write(
        "inside.py",
        """
        import os, sys
        import uwsgi, uwsgidecorators, unspool
        assert not hasattr(uwsgi, '__file__')
        assert hasattr(uwsgi, 'cache_get')
        assert os.path.dirname(uwsgidecorators.__file__) == SITE
        @uwsgidecorators.spool(pass_arguments=True)
        def f(*args, **kwargs):
            pass
        path = f(1, at=2000000000, x=2)
        with open('result', 'wb') as file:
            file.write(path)
        sys.stdout.flush()
        os._exit(0)
        """,
    )
    found = project.python("import uwsgidecorators as u; print(u.__file__)").stdout.strip()
    site = os.path.dirname(found)
    inside = project.root / "inside.py"
    inside.write_text(inside.read_text().replace("SITE", repr(site)))
    project.spool.mkdir()
    options = ["--master", "--spooler", "spool", "--import", "inside", "--pythonpath", site]
    done = project.run(real_uwsgi, *options, env=project.env, check=False)
    result = project.root / "result"
    assert result.exists(), done.stderr
    assert Path(result.read_text()).parent == project.spool


def test_atexit_is_called_where_signals_are_handled_and_not_where_tasks_run(
    project: Project, daemon: DaemonFactory
) -> None:
    project.write(
        "tasks.py",
        """
        import uwsgi
        from uwsgidecorators import spool
        from reporting import report

        uwsgi.atexit = lambda: report("exit", spooler=uwsgi.i_am_the_spooler())

        @spool
        def mark(args):
            report("mark")

        uwsgi.register_signal(50, "", lambda _: report("tick"))
        uwsgi.add_rb_timer(50, 0.1, 1)
        """,
    )
    running = daemon("--spooler", project.spool, "--spooler-import", "tasks")
    submit(project, "mark")
    project.events.wait("mark")
    tick = project.events.wait("tick")
    running.stop()
    ended = project.events.wait("exit")
    assert (ended.pid, ended["spooler"]) == (tick.pid, None)
    assert [event.name for event in project.events.history].count("exit") == 1
