"""Submitting from a process that no daemon started: what ends up on disk, and what is refused."""

from __future__ import annotations

import ast
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import taskfile
from harness import PYTHON, Project

PREFIX = "uwsgi_spoolfile_on_"


def submitted(project: Project, call: str, **env: str) -> Path:
    """The file of one submission, an expression that has `uwsgi` and `unspool`."""
    source = f"""
    import os, unspool, uwsgi
    print(os.fsdecode({call}))
    """
    path = project.python(source, env={**project.producer_env, **env}).stdout.strip()
    return Path(path)


def refused(project: Project, call: str, **env: str) -> tuple[str, str, str]:
    """The type, the text and the type of the cause of what a submission raised."""
    source = f"""
    import unspool, uwsgi
    from pathlib import Path
    try:
        {call}
    except Exception as error:
        assert isinstance(error, ValueError), error
        print(repr((type(error).__name__, str(error), type(error.__cause__).__name__)))
    """
    printed = project.python(source, env={**project.producer_env, **env}).stdout
    kind, text, cause = ast.literal_eval(printed)
    return kind, text, cause


# The files that the real uWSGI 2.0.31 writes for these calls.
@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            "uwsgi.spool({b'ud_spool_func': b'f', b'a': b'1'})",
            "11180000 0d0075645f73706f6f6c5f66756e63 010066 010061 010031",
        ),
        (
            "uwsgi.spool({b'ud_spool_func': b'f', b'a': b'1', b'body': b'BODY\\0bytes',"
            " b'at': b'2000000000', b'priority': b'5'})",
            "11350000 0d0075645f73706f6f6c5f66756e63 010066 010061 010031"
            "02006174 0a0032303030303030303030 08007072696f72697479 010035"
            "424f4459006279746573",
        ),
        ("uwsgi.spool({})", "11000000"),
        ("uwsgi.spool()", "11000000"),
        ("uwsgi.send_to_spooler({b'a': b''})", "11050000 010061 0000"),
        ("uwsgi.spool({b'a': b'1'}, 'ignored')", "11060000 010061 010031"),
    ],
)
def test_the_file_is_uwsgis_but_for_one_pair(project: Project, call: str, expected: str) -> None:
    path = submitted(project, call)
    file = taskfile.read(path)
    assert file.as_uwsgi == bytes.fromhex(expected)
    assert file.mark is not None
    assert file.mark.isascii()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("call", "pairs", "body"),
    [
        ("uwsgi.spool({'a': 'é', b'b': 1})", [(b"a", "é".encode()), (b"b", b"1")], b""),
        ("uwsgi.spool(a=1.5, b=True, c=-7)", [(b"a", b"1.5"), (b"b", b"True"), (b"c", b"-7")], b""),
        ("uwsgi.spool(a=2**70)", [(b"a", str(2**70).encode())], b""),
        ("uwsgi.spool(a=bytearray(b'x'), b=memoryview(b'y'))", [(b"a", b"x"), (b"b", b"y")], b""),
        ("uwsgi.spool({b'a': b'\\xff\\0'})", [(b"a", b"\xff\0")], b""),
        (
            "uwsgi.spool({'a': 1, 'b': 2}, a=3, c=4)",
            [(b"a", b"3"), (b"b", b"2"), (b"c", b"4")],
            b"",
        ),
        ("uwsgi.spool(message_dict={'a': 1}, b=2)", [(b"a", b"1"), (b"b", b"2")], b""),
        ("uwsgi.spool(a=1, body='text')", [(b"a", b"1")], b"text"),
        ("uwsgi.spool({b'a': b'1', b'body': bytearray(b'x')})", [(b"a", b"1")], b"x"),
        ("uwsgi.spool(a=1, at=None, priority=None, spooler=None, body=None)", [(b"a", b"1")], b""),
        ("unspool.spool({'a': 1}, b=2, durability='none')", [(b"a", b"1"), (b"b", b"2")], b""),
        ("unspool.spool(a=1, durability='file')", [(b"a", b"1")], b""),
    ],
)
def test_values_of_other_types(
    project: Project, call: str, pairs: list[tuple[bytes, bytes]], body: bytes
) -> None:
    file = taskfile.read(submitted(project, call))
    assert (file.pairs, file.body) == (pairs, body)


def test_the_path_is_bytes_absolute_and_its_removal_cancels(project: Project) -> None:
    source = """
    import os, uwsgi
    path = uwsgi.spool(a=1)
    assert type(path) is bytes and os.path.isabs(path) and os.path.exists(path)
    assert uwsgi.spooler_jobs() == [path]
    os.unlink(path)
    assert uwsgi.spooler_jobs() == []
    print(os.fsdecode(path))
    """
    printed = Path(project.python(source).stdout.strip())
    assert printed.parent == project.spool
    assert printed.name.startswith(PREFIX)
    assert project.tasks() == []


def test_only_the_body_is_taken_out_of_the_callers_dictionary(project: Project) -> None:
    source = """
    import uwsgi
    message = {b'a': b'1', b'at': b'2000000000', b'body': b'x'}
    uwsgi.spool(message)
    assert message == {b'a': b'1', b'at': b'2000000000'}, message
    for kept in ({b'body': bytearray(b'x')}, {'body': b'x'}):
        before = dict(kept)
        uwsgi.spool(kept)
        assert kept == before, kept
    failing = {b'body': b'x', b'at': b'never'}
    try:
        uwsgi.spool(failing)
    except ValueError:
        assert failing == {b'body': b'x', b'at': b'never'}
    """
    project.python(source)


@pytest.mark.parametrize(
    ("given", "mtime_ns"),
    [
        ("2000000000", 2_000_000_000_000_000_000),
        ("'2000000000'", 2_000_000_000_000_000_000),
        ("b'2000000000.25'", 2_000_000_000_250_000_000),
        ("2000000000.5", 2_000_000_000_500_000_000),
    ],
)
def test_at_is_the_files_time(project: Project, given: str, mtime_ns: int) -> None:
    path = submitted(project, f"uwsgi.spool(at={given})")
    assert path.stat().st_mtime_ns == mtime_ns


@pytest.mark.parametrize("given", ["0", "-5", "''", "b''"])
def test_at_without_a_time_is_now(project: Project, given: str) -> None:
    before = os.stat(project.root).st_mtime
    path = submitted(project, f"uwsgi.spool(at={given})")
    assert before <= path.stat().st_mtime < before + 1000


@pytest.mark.parametrize("given", ["5", "'5'", "b'5'"])
def test_priority_is_a_folder_and_stays_in_the_task(project: Project, given: str) -> None:
    path = submitted(project, f"uwsgi.spool(priority={given})")
    assert path.parent == project.spool / "5"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert taskfile.read(path).pairs == [(b"priority", b"5")]


def test_arguments_over_64_kib_move_by_themselves(project: Project) -> None:
    source = """
    import uwsgi
    path = uwsgi.spool({b'a': b'x' * 70000, b'b': b'1', b'body': b'BODY'})
    task = uwsgi.spooler_get_task(path.decode())
    assert task == {'spooler_task_name': path, b'a': b'x' * 70000, b'b': b'1', 'body': b'BODY'}
    """
    project.python(source)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("uwsgi.spool(None)", "must be a dictionary"),
        ("uwsgi.spool('a')", "must be a dictionary"),
        ("uwsgi.spool({1: b'1'})", "a key of the task is a int: keys are str or bytes"),
        ("uwsgi.spool(a=None)", "the value of `a` is a NoneType"),
        ("uwsgi.spool(a=[1])", "the value of `a` is a list"),
        ("uwsgi.spool(a={})", "the value of `a` is a dict"),
        ("d = {}; d['message_dict'] = d; uwsgi.spool(d)", "`message_dict` is a dict"),
        ("uwsgi.spool(a='\\udc80')", "the value of `a` is no valid Unicode text"),
        ("uwsgi.spool({b'': b''})", "a key of the task is empty"),
        ("uwsgi.spool(unspool=1)", "the key `unspool` is kept"),
        ("uwsgi.spool(at='tomorrow')", "`at` is `tomorrow`, which is no time"),
        ("uwsgi.spool(at=True)", "`at` is `True`, which is no time"),
        ("uwsgi.spool(at=float('nan'))", "`at` is `nan`, which is no time"),
        ("uwsgi.spool(priority='../x')", "would leave the spool"),
        ("uwsgi.spool(priority='dead')", "which is a folder that the spool keeps"),
        ("uwsgi.spool(spooler='/elsewhere')", "`spooler` is `/elsewhere`, which is not configured"),
        ("uwsgi.spool(spooler='other')", "`spooler` is `other`, which is not configured"),
        ("unspool.spool(durability='much')", "unknown durability `much`"),
    ],
)
def test_bad_input_is_a_value_error_that_says_what(
    project: Project, call: str, expected: str
) -> None:
    kind, text, _ = refused(project, call)
    assert kind == "SpoolError"
    assert expected in text
    assert project.tasks() == []


def test_a_spool_that_cannot_be_made_is_an_error_with_its_cause(project: Project) -> None:
    (project.root / "file").touch()
    kind, text, _ = refused(
        project, "uwsgi.spool()", UNSPOOL_SPOOL=os.fspath(project.root / "file")
    )
    assert kind == "SpoolError"
    assert "is not a directory" in text
    kind, text, cause = refused(
        project, "uwsgi.spool()", UNSPOOL_SPOOL=os.fspath(project.root / "file" / "below")
    )
    assert kind == "SpoolError"
    assert "cannot be created" in text
    assert cause == "NotADirectoryError"


def test_a_missing_spool_is_created_for_its_owner_alone(project: Project) -> None:
    spool = project.root / "a" / "spool"
    path = submitted(project, "uwsgi.spool()", UNSPOOL_SPOOL=os.fspath(spool))
    assert path.parent == spool
    assert stat.S_IMODE(spool.stat().st_mode) == 0o700


def test_nothing_is_created_before_the_first_task(project: Project) -> None:
    project.python("import unspool, uwsgi, uwsgidecorators; uwsgi.spoolers")
    assert not project.spool.exists()


def test_a_relative_spool_is_where_the_process_was_configured(project: Project) -> None:
    source = """
    import os, unspool
    unspool.configure(spooler='here')
    os.chdir('/')
    print(os.fsdecode(unspool.spool()))
    """
    path = Path(project.python(source).stdout.strip())
    assert path.parent == project.root / "here"


def configured(project: Project, spools: list[Path | str], call: str) -> Any:
    source = f"""
    import os, unspool
    unspool.configure(spooler={[os.fspath(spool) for spool in spools]!r})
    import uwsgi
    print(repr({call}))
    """
    return ast.literal_eval(project.python(source).stdout)


def test_spooler_chooses_among_the_configured_ones(project: Project) -> None:
    one, two = project.root / "one", project.root / "two"
    link = project.root / "link"
    two.mkdir(mode=0o700)
    link.symlink_to(two)
    spools: list[Path | str] = [one, link]
    for given, folder in [
        (None, one),
        ("", one),
        (one, one),
        (f"{one}/", one),
        (link, two),
        (two, two),
        ("link", two),
        ("./link/", two),
        (f"{project.root.name}/one", one),
    ]:
        value = None if given is None else os.fsencode(given)
        path = configured(project, spools, f"uwsgi.spool({{b'spooler': {value!r}}})")
        assert Path(os.fsdecode(path)).parent == folder, given
    listed = configured(project, spools, "uwsgi.spoolers")
    assert listed == (os.fsencode(one), os.fsencode(two))


@pytest.mark.parametrize("given", ["jobs", "ne", ".", "./", "..", "/jobs", "one/jobs/.."])
def test_a_relative_spooler_that_fits_none_or_several_is_an_error(
    project: Project, given: str
) -> None:
    source = f"""
    import unspool
    unspool.configure(spooler=['one/jobs', 'two/jobs'])
    import uwsgi
    try:
        uwsgi.spool(spooler={given!r})
    except ValueError as error:
        assert 'use one of' in str(error), error
    else:
        raise AssertionError
    assert uwsgi.spool(spooler='two/jobs').startswith(uwsgi.spoolers[1])
    """
    project.python(source)


def test_a_folder_of_a_spool_is_a_priority_of_it(project: Project) -> None:
    spool = project.root / "spool"
    path = configured(project, [spool, spool / "5"], f"uwsgi.spool(spooler='{spool}/5')")
    assert Path(os.fsdecode(path)).parent == spool / "5"
    assert not (spool / "5" / ".unspool").exists()
    assert (b"priority", b"5") in taskfile.read(path).pairs


def test_threads_submit_side_by_side(project: Project) -> None:
    source = """
    import threading, uwsgi
    def submit():
        for _ in range(50):
            paths.append(uwsgi.spool(a=1))
    paths = []
    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert len(set(paths)) == 400
    assert sorted(paths) == sorted(uwsgi.spooler_jobs())
    """
    project.python(source)


def test_values_may_change_the_dictionary_while_they_are_read(project: Project) -> None:
    source = """
    import uwsgi
    class Hostile(int):
        def __str__(self):
            message.clear()
            message.update({str(n): 'x' for n in range(100)})
            return '1'
    message = {'a': Hostile(), 'b': '2'}
    print(uwsgi.spool(message).decode())
    """
    path = project.python(source).stdout.strip()
    assert taskfile.read(path).pairs == [(b"a", b"1"), (b"b", b"2")]


def test_without_a_spool_the_error_says_the_ways_to_name_one(project: Project) -> None:
    source = """
    import unspool
    try:
        unspool.spool(a=1)
    except unspool.SpoolError as error:
        print(error)
    """
    text = project.python(source, env=project.env).stdout
    for way in ("unspool.configure(", "UNSPOOL_SPOOL", "UNSPOOL_CONFIG", "unspool run"):
        assert way in text


def test_the_key_spooler_is_enough_where_nothing_is_configured(project: Project) -> None:
    spool = project.root / "named"
    source = f"""
    import unspool
    print(unspool.spool({{b'spooler': b'{spool}', b'a': b'1'}}).decode())
    print(unspool.spool(a=2, spooler='{spool}').decode())
    for named in ({{}}, {{'spooler': 'relative'}}, {{'spooler': ''}}):
        try:
            unspool.spool(a=3, **named)
        except unspool.SpoolError as error:
            print(error)
    """
    *paths, none, relative, empty = project.python(source, env=project.env).stdout.splitlines()
    assert [Path(path).parent for path in paths] == [spool, spool]
    assert sorted(map(str, spool.glob("uwsgi_spoolfile_on_*"))) == sorted(paths)
    assert none == empty and "UNSPOOL_SPOOL" in none
    assert "`spooler` is `relative`" in relative and "absolute path" in relative


def test_a_missing_file_in_the_environment_is_an_error_that_names_the_variable(
    project: Project,
) -> None:
    source = """
    import unspool
    try:
        import uwsgi
    except unspool.ConfigError as error:
        print(error)
    """
    env = {**project.env, "UNSPOOL_CONFIG": "/missing/app.ini"}
    text = project.python(source, env=env).stdout
    assert text.startswith("UNSPOOL_CONFIG: ") and "`/missing/app.ini`" in text


def test_the_package_is_the_command(project: Project) -> None:
    printed = project.run(PYTHON, "-m", "unspool", "--version").stdout
    version = project.python("import unspool; print(unspool.__version__)").stdout.strip()
    assert printed.strip().endswith(version)
