"""`unspool doctor`: what is wrong with a set-up, and how to mend it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
from everybody import USER, python_for, root_only
from factory import DaemonFactory
from harness import UNSPOOL, Project
from processes import WAIT_SECONDS_MAX
from spooling import submit

WELL, WRONG = 0, 1

MODULE = """
    from uwsgidecorators import spool

    @spool
    def mark(args):
        pass
"""


@pytest.fixture
def config(project: Project) -> str:
    project.write("tasks.py", MODULE)
    project.write("app.ini", f"[uwsgi]\nspooler = {project.spool}\nspooler-import = tasks\n")
    return "app.ini"


def examine(project: Project, *arguments: str, status: int) -> dict[str, list[dict[str, Any]]]:
    """The findings of each subject."""
    done = project.unspool("doctor", "--json", *arguments, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    report = json.loads(done.stdout)
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in report["findings"]:
        found.setdefault(finding["subject"], []).append(finding)
    problems = [finding for finding in report["findings"] if finding["level"] == "problem"]
    assert len(problems) == report["problems"]
    # The text of an error says itself what to do.
    errors = found.get("configuration", [])
    assert all(finding["cure"] for finding in problems if finding not in errors), problems
    return found


def whole(findings: list[dict[str, Any]]) -> str:
    return json.dumps(findings)


def test_a_set_up_that_works(project: Project, config: str) -> None:
    running = project.daemon(config)
    try:
        running.start().wait_ready()
        found = examine(project, config, status=WELL)
        assert f"process {running.pid} runs" in whole(found["daemon"])
    finally:
        running.close()
    assert "imported by Python" in whole(found["application"])
    assert found["application"][0]["what"].endswith(": mark")
    assert "application" not in examine(project, config, "--no-import", status=WELL)


def problems(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [finding for finding in findings if finding["level"] == "problem"]


def type_it(project: Project, command: str, status: int = WELL) -> str:
    """A command of a cure, in a shell that knows no spool."""
    names = ("UNSPOOL_SPOOL", "UNSPOOL_CONFIG")
    env = {name: value for name, value in project.env.items() if name not in names}
    done = subprocess.run(
        ["bash", "-c", command], cwd=project.root, text=True, timeout=WAIT_SECONDS_MAX, check=False,
        env={**env, "PATH": f"{UNSPOOL.parent}:/usr/bin:/bin"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == status, f"{command}\n{done.stdout}"
    return done.stdout


def typed(finding: dict[str, Any]) -> list[str]:
    """The commands of a cure."""
    return re.findall(r"`([^`]*)`", finding["cure"] or finding["what"])


def test_an_import_that_failed_in_the_daemon(
    project: Project, config: str, daemon: DaemonFactory
) -> None:
    project.write("tasks.py", "import nothing_of_this_name\n")
    running = daemon(config, ready=False)
    running.wait_log("nothing_of_this_name")
    project.write("tasks.py", MODULE)
    [problem] = examine(project, config, status=WRONG)["daemon"]
    assert f"process {running.pid} could not import `tasks` at 2" in problem["what"]
    assert problem["what"].endswith("ModuleNotFoundError: No module named 'nothing_of_this_name'")
    assert "Traceback" in problem["detail"]
    mark = running.mark()
    [command] = typed(problem)
    type_it(project, command)
    running.wait_log("reload done", since=mark)
    assert "and answers" in whole(examine(project, config, status=WELL)["daemon"])
    project.write("tasks.py", "x = = 1\n")
    running.send(signal.SIGHUP)
    running.wait_log("SyntaxError")
    found = examine(project, config, "--no-import", status=WRONG)
    assert "goes on with what it imported before: SyntaxError" in whole(found["daemon"])


def test_all_daemons_are_asked(project: Project, config: str, daemon: DaemonFactory) -> None:
    all_daemons = [daemon(config) for _ in range(3)]
    found = examine(project, config, "--no-import", status=WELL)["daemon"]
    assert all(f"process {one.pid} runs" in whole(found) for one in all_daemons)
    stopped, broken, well = all_daemons
    project.write("tasks.py", "x = = 1\n")
    broken.send(signal.SIGHUP)
    broken.wait_log("SyntaxError")
    stopped.send(signal.SIGSTOP)
    try:
        found = examine(project, config, "--no-import", status=WRONG)["daemon"]
    finally:
        silent = next(one for one in problems(found) if "not answer" in one["what"])
        look, go_on = typed(silent)
        assert "State" in type_it(project, look)
        type_it(project, go_on)
    assert len(problems(found)) == 2
    assert f"process {stopped.pid} runs" in silent["what"] and "within 5 s" in silent["what"]
    assert f"process {broken.pid} could not import" in whole(problems(found))
    assert f"process {well.pid} runs" in whole(found)


def test_a_daemon_that_stops(project: Project, config: str, daemon: DaemonFactory) -> None:
    hold = """
        from uwsgidecorators import spool
        from reporting import pause, report

        @spool
        def hold(args):
            report("hold")
            pause("hold")
    """
    project.write("tasks.py", hold)
    gate = project.gate("hold")
    running = daemon(config)
    task = submit(project, "hold")
    project.events.wait("hold")
    running.send(signal.SIGTERM)
    running.wait_log("stopping")
    [problem] = problems(examine(project, config, status=WRONG)["daemon"])
    assert f"process {running.pid} stops" in problem["what"]
    shown, start = typed(problem)
    assert "hold" in type_it(project, shown) and start == f"unspool run {config}"
    gate.release()
    assert running.wait_exit() == WELL and not task.exists()


@pytest.mark.parametrize("with_config", [True, False])
def test_what_is_told_to_be_typed_works(project: Project, with_config: bool) -> None:
    folder = project.root / "it's a $place"
    folder.mkdir()
    place = folder / "-spool"
    place.mkdir(mode=0o700)
    config = folder / "the app.ini"
    config.write_text(f"[uwsgi]\nspooler = {place}\nspoolr = x\n")
    source = ["--no-import", str(config)] if with_config else ["--spooler", str(place)]
    on_place = ["--spooler", str(place)]
    made = [Path(project.unspool("spool", *on_place, "mark").stdout.strip()) for _ in range(3)]
    for name in ("dead", "corrupt"):
        (place / name).mkdir()
    made[0].rename(place / "dead" / made[0].name)
    (place / "corrupt" / made[1].name).write_bytes(made[1].read_bytes()[:50])
    made[1].unlink()
    (place / f"{made[2].name}_copy").write_bytes(made[2].read_bytes())
    project.unspool("pause", *on_place, '--func=-it\'s "odd"')
    project.unspool("pause", *on_place, "--priority", ".")
    project.unspool("pause", *on_place)
    place.chmod(0o777)
    found = examine(project, *source, status=WRONG)
    commands = [
        command
        for subject in ("configuration", "spool", "daemon")
        for one in found.get(subject, [])
        if one["cure"]
        for command in typed(one)
    ]
    assert len(commands) >= 11, commands
    for command in commands:
        if " replay " in command or " run " in command:
            continue
        name = made[1 if " show " in command else 0].name
        # What lies in two places is left to hands.
        type_it(project, command.replace("TASK", name), WRONG if " fsck " in command else WELL)
    assert place.stat().st_mode & 0o7777 == 0o700
    assert project.unspool("pause", *on_place, "--list", check=False).stdout == ""


def test_nothing_is_made(project: Project, config: str) -> None:
    before = sorted(os.listdir(project.root))
    found = examine(project, config, "--no-import", status=WELL)
    assert "is not there yet" in whole(found["spool"])
    assert sorted(os.listdir(project.root)) == before


def test_a_task_that_should_have_run(project: Project, config: str) -> None:
    path = submit(project, "mark", id=1)
    assert "no daemon of this machine" in whole(examine(project, config, status=WELL)["daemon"])
    (project.spool / "dead").mkdir()
    path.rename(project.spool / "dead" / path.name)
    found = examine(project, config, status=WELL)
    assert "1 task was given up in" in whole(found["spool"])


def test_what_is_paused_and_what_was_given_up(project: Project, config: str) -> None:
    task = submit(project, "mark", "--delay", "3600", "--priority", "5")
    os.utime(task, (1, 1))
    dead = project.spool / "dead"
    dead.mkdir()
    (dead / task.name).write_bytes(task.read_bytes())
    project.unspool("pause", "--priority", "5", "--why", "the printer")
    found = whole(examine(project, config, status=WELL)["spool"])
    assert f"priority 5 of {project.spool} is paused by" in found and "the printer" in found
    assert f"`unspool resume --spooler {project.spool} --priority=5`" in found
    assert f"1 task was given up in {project.spool}" in found
    assert "`unspool retry --config app.ini TASK`" in found


def test_submissions_are_refused_for_want_of_room(project: Project, config: str) -> None:
    submit(project, "mark")
    ini = project.root / config
    ini.write_text(f"{ini.read_text()}spooler-min-free = 1000000000000000\n")
    (problem,) = (
        finding
        for finding in examine(project, config, status=WRONG)["spool"]
        if finding["level"] == "problem"
    )
    assert "are refused" in problem["what"] and "`spooler-min-free` asks for" in problem["what"]


def test_hooks_around_the_import_change_nothing_but_the_process(
    project: Project, config: str
) -> None:
    needs = "import os\nassert os.environ['NEEDED'] == 'yes'\n"
    project.write("tasks.py", needs + textwrap.dedent(MODULE))
    made = project.root / "made"
    hooks = f"hook-pre-app = putenv:NEEDED=yes\nhook-post-app = exec:touch {made}\n"
    project.write(config, (project.root / config).read_text() + hooks)
    found = examine(project, config, status=WELL)
    assert found["application"][0]["what"].endswith(": mark")
    assert not made.exists()


def test_an_application_that_cannot_be_imported(project: Project, config: str) -> None:
    project.write("tasks.py", "import nothing_of_this_name\n")
    [problem] = examine(project, config, status=WRONG)["application"]
    assert "`tasks` cannot be imported" in problem["what"]
    assert "ModuleNotFoundError" in problem["detail"] and "virtualenv" in problem["cure"]
    project.write("tasks.py", "import os\nos._exit(7)\n")
    [problem] = examine(project, config, status=WRONG)["application"]
    assert "exit status: 7" in problem["what"]
    project.write("tasks.py", "x = 1\n")
    [problem] = examine(project, config, status=WRONG)["application"]
    assert "registers no function" in problem["what"]


def test_a_spool_that_anybody_can_write(project: Project, config: str) -> None:
    submit(project, "mark", id=1)
    project.spool.chmod(0o777)
    found = examine(project, config, status=WRONG)
    assert f"chmod 700 {project.spool}" in whole(found["spool"])


def test_options_without_effect_and_a_configuration_that_is_none(
    project: Project, config: str
) -> None:
    project.write("odd.ini", f"[uwsgi]\nspooler = {project.spool}\nspoolr = x\n")
    found = examine(project, "odd.ini", "--no-import", status=WELL)
    assert "did you mean `spooler`" in whole(found["configuration"])
    project.write("odd.ini", "[uwsgi]\nspooler-processes = many\n")
    assert "many" in whole(examine(project, "odd.ini", status=WRONG)["configuration"])
    missing = project.unspool("doctor", env={**project.env, "UNSPOOL_SPOOL": ""}, check=False)
    assert missing.returncode == WRONG and "no spool: give the configuration" in missing.stdout


@root_only
def test_root_looks_as_the_user_of_the_daemon(project: Project, config: str) -> None:
    home = python_for(project)
    submit(project, "mark", id=1)
    lines = f"{(project.root / config).read_text()}uid = {USER}\nvirtualenv = {home}\n"
    project.write(config, lines)
    found = examine(project, config, status=WRONG)
    assert f"the daemon is `{USER}`" in whole(found["configuration"])
    assert "cannot be opened" in whole(found["spool"])
    assert "chown -R 65534" in whole(found["spool"])
    project.write(config, f"{lines}uid = nobody-of-this-name\n")
    found = examine(project, config, status=WRONG)
    assert "there is no user `nobody-of-this-name`" in whole(found["configuration"])


def test_listeners(project: Project, config: str) -> None:
    lines = "network-uids = daemon\nsocket = s.sock\nsocket = 127.0.0.1:0\n"
    project.write(config, (project.root / config).read_text() + lines)
    found = examine(project, config, "--no-import", status=WELL)["network"]
    at = project.root / "s.sock"
    assert [(finding["level"], finding["what"]) for finding in found] == [
        ("ok", "`socket = s.sock`: for root, the daemon's own user and daemon"),
        (
            "note",
            f"{at}: nobody listens, since no daemon runs: No such file or directory (os error 2)",
        ),
        ("ok", "`socket = 127.0.0.1:0`: only this machine reaches it, any user of it"),
    ]
    running = project.daemon(config)
    try:
        running.start().wait_ready()
        found = examine(project, config, "--no-import", status=WELL)["network"]
        assert found[1]["what"] == f"{at}: somebody listens"
        # One that the daemon does not know of.
        project.write(config, (project.root / config).read_text() + "socket = other.sock\n")
        found = examine(project, config, "--no-import", status=WELL)["network"]
        assert found[-1]["level"] == "warning"
        assert "other.sock: nobody listens, though process" in found[-1]["what"]
    finally:
        running.close()


def test_a_listener_that_strangers_reach(project: Project, config: str) -> None:
    told = (project.root / config).read_text()
    project.write(config, told + "socket = :0\n")
    assert "other machines reach" in whole(examine(project, config, status=WRONG)["configuration"])
    project.write(config, told + "socket = :0\nnetwork-open = true\n")
    (finding,) = examine(project, config, status=WELL)["network"]
    assert finding["level"] == "warning" and "as `network-open` says" in finding["what"]


def test_relays_alone(project: Project) -> None:
    receiver, sock = project.root / "receiver.sock", project.root / "s.sock"
    lines = f"spooler = relay:{receiver}\nnetwork-outbox = out\nsocket = {sock}\n"
    project.write("relay.ini", f"[uwsgi]\n{lines}")
    found = examine(project, "relay.ini", status=WELL)
    assert "is not there yet" in whole(found["spool"]) and "relay" not in found
    assert "no task runs here" in whole(found["application"])
    assert found["network"][0]["level"] == "warning"
    assert "there is no spool for tasks that come" in found["network"][0]["what"]
    assert "since no daemon runs" in found["network"][-1]["what"]
    running = project.daemon("relay.ini")
    try:
        running.start().wait_log("relaying tasks")
        running.wait_log("unspool is ready")
        found = examine(project, "relay.ini", status=WELL)
        says = f"process {running.pid} sends tasks on to {receiver}: 0 tasks since it started"
        assert [(one["level"], one["what"]) for one in found["relay"]] == [("ok", says)]
        assert found["network"][-1]["what"] == f"{sock}: somebody listens"
        (outbox,) = (project.root / "out").iterdir()
        task = Path(project.unspool("spool", "--spooler", outbox, "mark").stdout.strip())
        running.wait_log("tasks wait in their outbox")
        (waits,) = examine(project, "relay.ini", status=WELL)["relay"]
        assert waits["level"] == "warning" and "there is no such socket" in waits["what"]
        assert f"process {running.pid} sends nothing on to {receiver} since" in waits["what"]
    finally:
        running.close()
    (none,) = examine(project, "relay.ini", status=WELL)["relay"]
    says = f"no daemon sends tasks on to {receiver}; `unspool run relay.ini` starts one"
    assert none["what"] == says
    assert task.exists()
    # Another program has the address of a daemon that does not run.
    with socket.socket(socket.AF_UNIX) as other:
        sock.unlink(missing_ok=True)
        other.bind(str(sock))
        other.listen()
        taken = examine(project, "relay.ini", status=WELL)["network"][-1]
    assert "another program has the address" in taken["cure"]


def test_a_daemon_for_external_spools_alone(project: Project) -> None:
    """Nothing that it has here says whether it runs."""
    sockets = "socket = 127.0.0.1:0\nsocket = s.sock\n"
    project.write("app.ini", f"[uwsgi]\nspooler-external = {project.spool}\n{sockets}")
    submit(project, "mark")
    running = project.daemon("app.ini")
    try:
        running.start().wait_log("taking tasks from the network .*s.sock")
        found = examine(project, "app.ini", "--no-import", status=WRONG)
        assert found["network"][-1]["what"].endswith("s.sock: somebody listens")
    finally:
        running.close()
