"""`unspool replay`: the call of a task once more, in the foreground, while the task stays."""

from __future__ import annotations

import base64
import json
import os
import pty
import select
import subprocess
from pathlib import Path

import pytest
from everybody import USER, python_for, root_only
from harness import PYTHON, UNSPOOL, Project, wait_gone
from signing import make_key, write_keys
from spooling import submit

DONE, FAILED, USAGE, NOTHING = 0, 1, 2, 3

MODULE = """
    import os
    import sys
    from uwsgidecorators import spool, spoolraw
    from reporting import report

    @spool(pass_arguments=True)
    def divide(a, b, api_token=None):
        marker = "the divisor is here"
        report("divide", cwd=os.getcwd(), uid=os.getuid(), python=sys.prefix)
        return a / b

    @spool
    def mark(args):
        print("marked", args["id"])

    @spoolraw
    def again(args):
        return -1
"""


@pytest.fixture
def spooled(project: Project) -> Project:
    project.write("tasks.py", MODULE)
    return project


def call(project: Project, code: str) -> Path:
    """Submits by Python code; the path of the task."""
    done = project.python(f"import os, tasks\nprint(os.fsdecode({code}))")
    return Path(done.stdout.strip())


def replay(project: Project, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return project.unspool("replay", *arguments, check=False)


def test_it_runs_as_a_worker_would_and_stays(spooled: Project) -> None:
    path = call(spooled, "tasks.divide.spool(1, 0)")
    before = path.read_bytes()
    done = replay(spooled, path)
    assert done.returncode == FAILED
    assert "return a / b" in done.stderr and "ZeroDivisionError" in done.stderr
    assert spooled.events.wait("divide")["cwd"] == str(spooled.spool)
    assert path.read_bytes() == before
    assert [entry.name for entry in spooled.tasks()] == [path.name]


def test_what_it_returns_is_said(spooled: Project) -> None:
    for code, status, said in [
        ("tasks.mark.spool(id='7')", DONE, "SPOOL_OK"),
        ("tasks.again.spool(id='7')", FAILED, "SPOOL_RETRY"),
    ]:
        done = replay(spooled, call(spooled, code))
        assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    assert "marked 7" in replay(spooled, call(spooled, "tasks.mark.spool(id='7')")).stdout


def test_what_came_of_it_as_json(spooled: Project) -> None:
    for code, outcome, status in [
        ("tasks.mark.spool(id='7')", "done", DONE),
        ("tasks.again.spool(id='7')", "retry", FAILED),
        ("tasks.divide.spool(1, 0)", "raised", FAILED),
    ]:
        path = call(spooled, code)
        done = replay(spooled, "--json", path)
        told = json.loads(done.stdout)
        assert (told["task"], told["outcome"], done.returncode) == (path.name, outcome, status)
        assert told["duration_s"] >= 0
    assert told["error"] == "ZeroDivisionError: division by zero"
    assert "return a / b" in told["traceback"]
    path = call(spooled, "tasks.divide.spool(1, b=0, api_token='hush')")
    told = json.loads(replay(spooled, "--json", "--dry-run", path).stdout)
    assert told["call"] == "tasks.divide(1, b=0, api_token='***')"
    spooled.write("tasks.py", "1 / 0")
    done = replay(spooled, "--json", "--import", "tasks", path)
    assert json.loads(done.stdout)["outcome"] == "not imported" and done.returncode == FAILED


def test_the_call_is_shown_without_secrets(spooled: Project) -> None:
    path = call(spooled, "tasks.divide.spool(1, b=0, api_token='hush')")
    done = replay(spooled, "--dry-run", path)
    assert done.returncode == DONE
    place, shown = done.stdout.splitlines()
    assert place == f"# {spooled.root / 'tasks.py'}:divide"
    assert shown == "tasks.divide(1, b=0, api_token='***')"
    path = call(spooled, "tasks.divide.spool([{'api_token': 'hush', 'n': 1}], '{\"key\": 5')")
    shown = replay(spooled, "--dry-run", path).stdout.splitlines()[1]
    assert shown == "tasks.divide([{'api_token': '***', 'n': 1}], '{\"key\": ***)"
    path = call(spooled, "tasks.divide.spool('api_token', 'hush')")
    shown = replay(spooled, "--dry-run", path).stdout.splitlines()[1]
    assert shown == "tasks.divide('api_token', ***)"
    path = call(
        spooled, "tasks.divide.spool(('Cookie', b'\\xffhush'), ['A=1', 'DB_PASSWORD=hush'])"
    )
    shown = replay(spooled, "--dry-run", path).stdout.splitlines()[1]
    assert shown == "tasks.divide(('Cookie', b'***'), ['A=1', 'DB_PASSWORD=***'])"


def test_a_buried_task_is_replayed_by_a_part_of_its_id(spooled: Project) -> None:
    path = call(spooled, "tasks.divide.using(max_attempts=1).spool(6, 0)")
    running = spooled.daemon("--spooler", spooled.spool, "--spooler-import", "tasks")
    try:
        running.start().wait_ready()
        wait_gone(path)
        running.wait_log("task given up")
    finally:
        running.close()
    assert (spooled.spool / "dead" / path.name).exists()
    done = replay(spooled, "--spooler", spooled.spool, path.name[-13:])
    assert done.returncode == FAILED and "ZeroDivisionError" in done.stderr


def test_the_debugger_stops_where_it_raises(spooled: Project) -> None:
    path = call(spooled, "tasks.divide.spool(1, 0)")
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        [UNSPOOL, "replay", "--pdb", path],
        cwd=spooled.root, env=spooled.env, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    try:
        assert "return a / b" in read_until(terminal, "(Pdb) ")
        os.write(terminal, b"p marker\n")
        assert "'the divisor is here'" in read_until(terminal, "(Pdb) ")
        os.write(terminal, b"q\n")
        assert process.wait(20) == FAILED
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def read_until(terminal: int, end: str) -> str:
    text = ""
    while not text.endswith(end):
        assert select.select([terminal], [], [], 20)[0], text
        text += os.read(terminal, 4096).decode()
    return text


def capsule(path: Path) -> dict[str, object]:
    """A task as one file, as docs/reference/cli.md describes it."""
    return {
        "unspool_capsule": 1,
        "unspool": "0.1.0",
        "host": "elsewhere",
        "name": path.name,
        "submitted_at": 1.5,
        "due_at": 1.5,
        "owner": os.geteuid(),
        "task": base64.b64encode(path.read_bytes()).decode(),
        "attempts": [],
    }


def test_a_capsule_runs_in_another_folder_and_interpreter(spooled: Project, tmp_path: Path) -> None:
    path = call(spooled, "tasks.divide.spool(1, 0)")
    record = tmp_path / "task.json"
    whole = capsule(path)
    record.write_text(json.dumps(whole))
    path.unlink()
    # An environment of its own that finds the package and the application where they are.
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (library,) = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
    package = spooled.python("import unspool; print(unspool.__path__[0])").stdout.strip()
    (library / "here.pth").write_text(f"{Path(package).parent}\n{spooled.root}\n")
    config = tmp_path / "app.ini"
    config.write_text("[uwsgi]\nvirtualenv = venv\nspooler = other\nspooler-import = tasks\n")
    env = {**spooled.env, "UNSPOOL_SPOOL": ""}
    command: list[Path | str] = [UNSPOOL, "replay", "--config", config, "--capsule", record]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, "ZeroDivisionError" in done.stderr) == (FAILED, True), done.stderr
    assert spooled.events.wait("divide")["python"] == str(tmp_path / "venv")
    assert not (tmp_path / "other").exists()

    # Pickles can run any code: those of others are not loaded, nor of nobody knows whom.
    record.write_text(json.dumps(whole | {"owner": 1234}))
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == FAILED and "belongs to uid 1234" in done.stderr, done.stderr
    record.write_text(json.dumps(whole))
    record.chmod(0o666)
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, "--trust" in done.stderr) == (FAILED, True), done.stderr
    piped = [*command[:-1], "-"]
    with open(record) as text:
        done = subprocess.run(
            piped, cwd=tmp_path, env=env, stdin=text, capture_output=True, text=True
        )
    assert (done.returncode, "--trust" in done.stderr) == (FAILED, True), done.stderr
    with open(record) as text:
        done = subprocess.run(
            [*piped, "--trust"], cwd=tmp_path, env=env, stdin=text, capture_output=True, text=True
        )
    assert "ZeroDivisionError" in done.stderr
    # Where keys sign, a task from standard input has to be signed, too.
    write_keys(tmp_path / "keys", make_key("other"))
    with open(config, "a") as more:
        more.write(f"spooler-keys = {tmp_path}/keys\n")
    with open(record) as text:
        done = subprocess.run(
            piped, cwd=tmp_path, env=env, stdin=text, capture_output=True, text=True
        )
    assert done.returncode == FAILED and "is refused" in done.stderr, done.stderr


@root_only
def test_root_replays_as_the_user_of_the_daemon(spooled: Project) -> None:
    home = python_for(spooled)
    (spooled.root / "tasks.py").chmod(0o644)
    path = call(spooled, "tasks.divide.spool(1, 0)")
    for owned in (spooled.spool, *spooled.spool.rglob("*")):
        os.chown(owned, 65534, 65534)
    spooled.write(
        "app.ini",
        f"[uwsgi]\nspooler = {spooled.spool}\nspooler-import = tasks\nuid = {USER}\n"
        f"virtualenv = {home}\n",
    )
    # To root the pickles are somebody else's; to that user its own.
    done = replay(spooled, "--config", "app.ini", path.name)
    assert "ZeroDivisionError" in done.stderr, done.stderr
    assert spooled.events.wait("divide")["uid"] == 65534


def test_what_cannot_be_replayed_is_said(spooled: Project) -> None:
    foreign = submit(spooled, "mark", id=1)
    spooled.write("empty.ini", f"[uwsgi]\nspooler = {spooled.spool}\n")
    spooled.write("broken.py", "1 / 0\n")
    for arguments, status, said in [
        ((foreign,), USAGE, "--import MODULE"),
        (("--spooler", spooled.spool, "ffffffff"), NOTHING, "a task that is done leaves nothing"),
        (("--spooler", spooled.spool, "x"), USAGE, "names no task"),
        (("--import", "broken", foreign), FAILED, "`broken` cannot be imported"),
        (("--capsule", spooled.root / "tasks.py"), FAILED, "it is no capsule"),
        (("--config", "empty.ini", foreign), USAGE, "--import MODULE"),
    ]:
        done = replay(spooled, *arguments)
        assert (done.returncode, said in done.stderr) == (status, True), (arguments, done.stderr)
    assert replay(spooled, "--import", "tasks", foreign).returncode == DONE


ENDINGS = """
    import multiprocessing
    import os
    import uwsgi
    from uwsgidecorators import spool

    @spool
    def quits(args):
        print("before", flush=True)
        os._exit(0)

    def child():
        os._exit(0)

    @spool
    def forks(args):
        forked = multiprocessing.get_context("fork").Process(target=child)
        forked.start()
        forked.join()
        assert forked.exitcode == 0

    @spool
    def colours(args):
        raise ValueError("\\x1b[31mred\\u202e")

    @spool
    def registers(args):
        uwsgi.register_signal(41, "", lambda number: None)
        uwsgi.add_timer(41, 5)
        uwsgi.add_cron(41, 1, 1, 1, 1, 1)
        uwsgi.add_file_monitor(41, "/tmp")
"""


def test_a_task_that_ends_its_process_has_not_succeeded(project: Project) -> None:
    project.write("tasks.py", ENDINGS)
    path = call(project, "tasks.quits.spool()")
    done = replay(project, path)
    assert done.returncode == FAILED and done.stdout == "before\n"
    assert "it ended its process by os._exit(0)" in done.stderr
    done = replay(project, "--json", path)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["outcome"], answer["status"]) == (FAILED, "exited", 0)
    assert replay(project, call(project, "tasks.forks.spool()")).returncode == DONE


def test_what_a_task_registers_is_recorded_and_nothing_more(project: Project) -> None:
    project.write("tasks.py", ENDINGS)
    done = replay(project, call(project, "tasks.registers.spool()"))
    assert done.returncode == DONE, done.stderr


def test_what_a_task_says_commands_no_terminal(project: Project) -> None:
    project.write("tasks.py", ENDINGS)
    done = replay(project, call(project, "tasks.colours.spool()"))
    assert "ValueError: \\u{1b}[31mred\\u{202e}\n" in done.stderr
    assert "\x1b" not in done.stderr


def test_a_call_that_cannot_be_shown_is_said(spooled: Project) -> None:
    path = submit(spooled, "missing", id="1")
    arguments = ("--dry-run", "--import", "tasks", path)
    done = replay(spooled, *arguments)
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert "'missing' is not registered" in done.stderr and "Traceback" not in done.stderr
    done = replay(spooled, "--json", *arguments)
    answer = json.loads(done.stdout)
    assert done.returncode == FAILED and answer["outcome"] == "not shown"
    assert "'missing' is not registered" in answer["error"]
    spooled.write(
        "plain.py", "import uwsgi\ndef by_hand(task): return -2\nuwsgi.spooler = by_hand\n"
    )
    done = replay(spooled, "--dry-run", "--import", "plain", path)
    assert done.returncode == DONE and "plain.by_hand({" in done.stdout, done


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_call_that_cannot_be_written_is_an_error(spooled: Project, option: list[str]) -> None:
    path = call(spooled, "tasks.mark.spool(id='7')")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [UNSPOOL, "replay", "--dry-run", *option, path], cwd=spooled.root, env=spooled.env,
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == FAILED
    assert done.stderr == "unspool: cannot write to standard output: No space left on device\n"


def test_the_debugger_does_not_read_the_capsule(spooled: Project, tmp_path: Path) -> None:
    path = call(spooled, "tasks.divide.spool(1, 0)")
    file = tmp_path / "capsule"
    file.write_text(json.dumps(capsule(path)))
    command = [str(UNSPOOL), "replay", "--pdb", "--trust", "--capsule", "-"]
    with file.open() as source:
        done = subprocess.run(
            command, cwd=spooled.root, env=spooled.env, stdin=source, start_new_session=True,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == USAGE and "--pdb reads its commands from a terminal" in done.stderr
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(spooled.root)
        os.dup2(os.open(file, os.O_RDONLY), 0)
        os.execve(UNSPOOL, command, spooled.env)
    shown = b""
    while b"(Pdb)" not in shown:
        assert select.select([terminal], [], [], 20)[0], shown
        shown += os.read(terminal, 65536)
    os.write(terminal, b"p marker\nquit\n")
    while b"the divisor is here" not in shown.replace(b'marker = "the divisor is here"', b""):
        assert select.select([terminal], [], [], 20)[0], shown
        shown += os.read(terminal, 65536)
    os.waitpid(process, 0)
    os.close(terminal)
