"""`unspool fsck`: defects made by real means, found, repaired; what is left runs."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from factory import DaemonFactory
from faults import or_not_run
from harness import ROOT, TASK_PREFIX, UNSPOOL, Daemon, Project
from processes import ProcessHandle, wait_ended
from signing import make_key, write_keys
from spooling import ATTEMPTS_OFFSET, Producer, attempts, call, foreign, publish, submit

from torture.inject import need_strace

CLEAN_STATUS = 0
PROBLEMS_STATUS = 1
USAGE_STATUS = 2
TWO_WEEKS_SECONDS = 14 * 86400

TASKS = """
    from uwsgidecorators import spool
    from reporting import pause, report

    @spool
    def mark(args):
        report("mark", id=args.get("id"))

    @spool
    def hold(args):
        report("hold")
        pause("hold")
        report("held to the end")

    @spool
    def fails(args):
        raise ValueError("always")
"""


class Fsck:
    """What one check said."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        assert done.stderr == ""
        self.status = done.returncode
        *lines, last = [json.loads(line) for line in done.stdout.splitlines()]
        self.findings: list[dict[str, Any]] = lines
        self.summary: dict[str, int] = last["summary"]

    @property
    def problems(self) -> list[dict[str, Any]]:
        return [found for found in self.findings if found["level"] == "problem"]

    def only(self, check: str) -> dict[str, Any]:
        """The one finding of a check."""
        (found,) = [found for found in self.findings if found["check"] == check]
        return found


def fsck(project: Project, *options: str, config: Path | None = None) -> Fsck:
    """Checks the project's spool; without a configuration, every file counts as settled."""
    ini = config or configure(project)
    return Fsck(project.unspool("fsck", ini, "--json", *options, check=False))


def configure(project: Project, *lines: str) -> Path:
    """A configuration of the project's spool, in which damaged files are settled at once."""
    text = ["[uwsgi]", f"spooler = {project.spool}", "spooler-import = tasks", *lines]
    if not any(line.startswith("spooler-settle") for line in lines):
        text.append("spooler-settle = 0")
    return project.write("app.ini", "\n".join(text) + "\n")


def repaired(project: Project) -> None:
    """A repair leaves no problem, and a check after it finds none."""
    done = fsck(project, "--repair")
    assert done.status == CLEAN_STATUS, done.findings
    assert done.summary["left"] == 0
    again = fsck(project)
    assert (again.status, again.problems) == (CLEAN_STATUS, [])


def start(project: Project, daemon: DaemonFactory, *options: str) -> Daemon:
    project.write("tasks.py", TASKS)
    return daemon(configure(project), *options)


@pytest.fixture
def doomed(project: Project) -> Iterator[Daemon]:
    """A daemon that the test kills."""
    project.write("tasks.py", TASKS)
    made = project.daemon(configure(project))
    try:
        yield made.start().wait_ready()
    finally:
        made.close()


def test_a_spool_that_is_used_is_clean(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    project.gate("hold")
    submit(project, "hold")
    project.events.wait("hold")
    submit(project, "mark", "--delay", "60", id="later")
    found = fsck(project)
    assert found.status == CLEAN_STATUS
    assert found.only("daemons")["what"] == f"process {running.pid} runs this spool"
    assert (found.summary["tasks"], found.summary["held"]) == (2, 1)
    assert fsck(project, "--repair").problems == []
    project.gate("hold").release()
    project.events.wait("held to the end")
    assert running.stop() == 0
    assert fsck(project).findings == []


def test_text_has_a_line_for_each_finding_and_one_at_the_end(project: Project) -> None:
    whole = submit(project, "mark")
    cut = publish(project.spool, "cut", whole.read_bytes()[:50])
    ini = configure(project)
    done = project.unspool("fsck", ini, check=False)
    assert done.returncode == PROBLEMS_STATUS
    assert done.stdout.splitlines() == [
        f"problem: {cut}: it has 50 bytes and its header announces at least "
        f"{4 + int.from_bytes(cut.read_bytes()[1:3], 'little')}; "
        "--repair moves it to corrupt/ [whole]",
        f"{project.spool}: 1 problem; 2 tasks (0 held, 0 with a record), 0 in dead/ "
        "(0 without a record), 0 in corrupt/",
    ]
    done = project.unspool("fsck", ini, "--repair")
    first, last = done.stdout.splitlines()
    assert first.startswith(f"repaired: {cut}: ") and "moved to" in first
    assert last.startswith(f"{project.spool}: 1 problem, repaired; ")
    assert project.unspool("fsck", ini).stdout.startswith(f"{project.spool}: clean; 1 task ")


def test_text_is_as_it_is_meant_and_commands_no_terminal(project: Project) -> None:
    submit(project, "mark", "--priority", "5")
    (project.spool / "5" / "it's\x1b[31m").mkdir()
    done = project.unspool("fsck", "--spooler", project.spool)
    note = f"note: {project.spool}/5/it's\\u{{1b}}[31m: a folder within a priority's folder"
    assert done.stdout.startswith(note), done.stdout


def test_statuses(project: Project) -> None:
    def status(*arguments: str, **env: str) -> int:
        environment = {**project.env, **env}
        return project.unspool("fsck", *arguments, env=environment, check=False).returncode

    assert status() == USAGE_STATUS, "no spool is named"
    assert status("--repare", "--spooler", "x") == USAGE_STATUS
    assert status("missing.ini") == USAGE_STATUS
    assert status("--spooler", str(project.spool)) == PROBLEMS_STATUS, "it is missing"
    assert not project.spool.exists(), "nothing is made"
    project.spool.mkdir(mode=0o700)
    assert status("--spooler", str(project.spool)) == CLEAN_STATUS
    assert list(project.spool.iterdir()) == []
    assert status(UNSPOOL_SPOOL=str(project.spool)) == CLEAN_STATUS


def test_a_file_cut_at_any_length_is_set_aside_and_the_whole_ones_run(
    project: Project, daemon: DaemonFactory
) -> None:
    whole = submit(project, "mark", id="whole").read_bytes()
    old = foreign({b"ud_spool_func": b"mark", b"id": b"foreign"})
    publish(project.spool, "foreign", old)
    cuts: dict[str, bytes] = {}
    for kind, content in (("ours", whole), ("old", old)):
        for length in range(0, len(content), 5):
            path = publish(project.spool, f"{kind}-{length}", content[:length])
            cuts[path.name] = content[:length]
    found = fsck(project)
    assert found.status == PROBLEMS_STATUS
    assert {Path(problem["path"]).name for problem in found.problems} == cuts.keys()
    assert {problem["check"] for problem in found.problems} == {"whole"}
    assert len(project.tasks()) == len(cuts) + 2, "a check alone moves nothing"
    repaired(project)
    corrupt = project.spool / "corrupt"
    assert {path.name: path.read_bytes() for path in corrupt.iterdir()} == cuts
    start(project, daemon)
    ran = project.events.collect(2, "mark")
    assert {event["id"] for event in ran} == {"whole", "foreign"}
    project.wait_empty()


def test_what_changed_a_moment_ago_is_left_alone(project: Project) -> None:
    submit(project, "mark")
    path = project.spool / f"{TASK_PREFIX}in_the_making"
    path.write_bytes(b"\x11\x30\x00\x00half")
    found = fsck(project, "--repair", config=configure(project, "spooler-settle = 60"))
    assert found.status == CLEAN_STATUS
    assert "may be in the making" in found.only("whole")["action"]
    assert path.exists()


def test_tasks_that_no_key_signed(project: Project) -> None:
    keys = write_keys(project.root / "keys", make_key("one"))
    signed = submit(project, "mark", "--keys", str(keys))
    unsigned = submit(project, "mark")
    assert fsck(project).problems == [], "without keys nobody asks"
    config = configure(project, f"spooler-keys = {keys}")
    found = fsck(project, config=config)
    assert found.only("signature")["path"] == str(unsigned)
    assert fsck(project, "--repair", config=config).status == CLEAN_STATUS
    assert project.tasks() == [signed]
    assert (project.spool / "corrupt" / unsigned.name).exists()


def test_runs_that_were_lost_are_named_and_left_to_the_next_start(
    project: Project, doomed: Daemon, daemon: DaemonFactory
) -> None:
    project.gate("hold")
    path = submit(project, "hold")
    worker = project.events.wait("hold").pid
    doomed.kill_all()
    for options in ((), ("--repair",)):
        found = fsck(project, *options)
        assert found.status == CLEAN_STATUS, "it is as a crash may leave it"
        about = {finding["path"]: finding["what"] for finding in found.findings}
        assert about[str(path)] == f"it ran in process {worker} when its daemon died"
        del about[str(path)]
        assert list(about.values()) == ["left by a daemon that died while 1 task ran"]
    assert len(list((project.spool / ".unspool" / "daemons").iterdir())) == 1
    running = start(project, daemon, "--spooler-retry-delay", "0.1")
    project.events.wait("hold")
    assert attempts(path) == 1, "the run that was lost counts"
    project.gate("hold").release()
    project.events.wait("held to the end")
    assert running.stop() == 0
    assert fsck(project).findings == []


def test_a_run_of_what_cannot_be_read_is_not_forgotten(project: Project, doomed: Daemon) -> None:
    with or_not_run():
        need_strace()
    project.gate("hold")
    path = submit(project, "hold")
    project.events.wait("hold")
    doomed.kill_all()
    failing: list[str | os.PathLike[str]] = [
        "-o",
        "/dev/null",
        "-P",
        path,
        "-e",
        "inject=pread64:error=EIO",
    ]
    config = configure(project)
    project.run("strace", "-f", "-qq", *failing, UNSPOOL, "fsck", config, "--repair", check=False)
    assert len(list((project.spool / ".unspool" / "daemons").iterdir())) == 1
    about = [finding["what"] for finding in fsck(project).findings]
    assert "left by a daemon that died while 1 task ran" in about


def test_what_an_idle_daemon_left_is_removed(project: Project, doomed: Daemon) -> None:
    doomed.kill_all()
    (found,) = fsck(project).findings
    assert found["what"] == "left by a daemon that died; no task ran that is still here"
    repaired(project)
    assert list((project.spool / ".unspool" / "daemons").iterdir()) == []


def bury(project: Project, daemon: DaemonFactory) -> tuple[Path, Path]:
    """Buries a task and puts back its count and its record, as a crash after the move leaves them.

    Where it is, and where its record is.
    """
    running = start(project, daemon, "--spooler-max-attempts", "1")
    path = submit(project, "fails")
    running.wait_log("task given up")
    assert running.stop() == 0
    buried = project.spool / "dead" / path.name
    with open(buried, "r+b") as file:
        file.seek(ATTEMPTS_OFFSET)
        file.write(b"\x01")
    pending = project.spool / ".unspool" / "attempts" / path.name
    (project.spool / "dead" / f"attempts.{path.name}").rename(pending)
    return buried, pending


def test_a_burial_that_was_cut_is_ended_by_a_repair(
    project: Project, daemon: DaemonFactory
) -> None:
    buried, pending = bury(project, daemon)
    assert [problem["check"] for problem in fsck(project).problems] == ["dead", "records"]
    repaired(project)
    assert attempts(buried) == 0
    assert not pending.exists()
    assert (buried.parent / f"attempts.{buried.name}").exists()


def test_a_burial_that_was_cut_is_ended_by_the_next_start(
    project: Project, daemon: DaemonFactory
) -> None:
    buried, pending = bury(project, daemon)
    running = start(project, daemon)
    running.wait_log(f"ended the burial of a task that a crash cut task={buried.name}")
    assert attempts(buried) == 0
    assert not pending.exists()
    assert fsck(project).problems == []


def test_a_record_without_a_task_goes_after_a_week(project: Project, daemon: DaemonFactory) -> None:
    path = submit(project, "fails")
    running = start(project, daemon, "--spooler-frequency", "60")
    running.wait_log("task failed")
    record = project.spool / ".unspool" / "attempts" / path.name
    assert running.stop() == 0
    assert fsck(project).findings == []
    os.utime(record, (0, record.stat().st_mtime - TWO_WEEKS_SECONDS))
    assert fsck(project, "--repair").findings == [], "its task is there, however old it is"
    path.unlink()
    assert "removes it" in fsck(project).only("records")["action"]
    kept = record.with_name(f"{TASK_PREFIX}young")
    kept.write_bytes(record.read_bytes())
    running = start(project, daemon)
    running.wait_log(f"removed the old record of a task that is gone task={path.name}")
    assert not record.exists() and kept.exists()
    assert "until it is a week old" in fsck(project, "--repair").only("records")["action"]


def test_one_task_in_two_places_is_left_to_hands(project: Project) -> None:
    path = submit(project, "mark")
    copy = path.with_name(f"{path.name}_copy")
    copy.write_bytes(path.read_bytes())
    found = fsck(project, "--repair")
    assert found.status == PROBLEMS_STATUS
    assert found.only("one-place")["remedy"] == "by-hand"
    assert len(project.tasks()) == 2


def test_a_task_past_its_time_is_left_to_a_daemon(project: Project, daemon: DaemonFactory) -> None:
    path = submit(project, "mark", "--expires", "0")
    found = fsck(project, "--repair")
    assert found.status == CLEAN_STATUS
    assert found.only("limits")["what"] == "it was not started before it expired"
    running = start(project, daemon)
    running.wait_log("task given up")
    assert fsck(project).summary["dead"] == 1
    assert (project.spool / "dead" / path.name).exists()


def test_the_version_after_a_power_cut(project: Project, daemon: DaemonFactory) -> None:
    submit(project, "mark")
    version = project.spool / ".unspool" / "version"
    version.write_bytes(b"\0\0")
    assert fsck(project).only("version")["remedy"] == "possible"
    repaired(project)
    assert version.read_bytes() == b"1\n"
    start(project, daemon)
    project.events.wait("mark")


def test_repairs_beside_submitters_and_daemons_that_are_killed_lose_nothing(
    project: Project, daemon: DaemonFactory
) -> None:
    """Whatever a seed does: each whole task runs, each damaged one is kept, nothing is invented."""
    seed = int(os.environ.get("UNSPOOL_FSCK_SEED", random.randrange(1 << 32)))
    print(f"UNSPOOL_FSCK_SEED={seed}")
    dice = random.Random(seed)
    project.write("tasks.py", TASKS)
    # Longer than a submission takes that writes in place.
    config = configure(project, "spooler-processes = 2", "spooler-settle = 2")
    over = threading.Event()
    failures: list[str] = []

    def check() -> None:
        while not over.is_set():
            found = fsck(project, "--repair", config=config)
            if any(finding["remedy"] == "by-hand" for finding in found.findings):
                failures.append(str(found.findings))

    checker = threading.Thread(target=check)
    damaged: dict[str, bytes] = {}
    whole = 0
    with Producer(project) as producer:
        producer.one("mark", id="0")
        checker.start()
        for number in range(6):
            running = project.daemon(config).start().wait_ready()
            try:
                tasks = producer.many([call("mark", id=str(whole + n + 1)) for n in range(60)])
                whole += len(tasks)
                content = foreign({b"ud_spool_func": b"mark", b"id": b"damaged"})
                for cut in dice.sample(range(1, len(content)), 5):
                    name = f"{number}-{cut}"
                    publish(project.spool, name, content[:cut])
                    damaged[f"{TASK_PREFIX}{name}"] = content[:cut]
                seen = dice.randrange(40)
                project.events.collect(seen, "mark")
                workers = running.workers
                running.kill()
                for pid in dice.sample(workers, dice.randrange(len(workers) + 1)):
                    handle = ProcessHandle(pid)
                    handle.send(signal.SIGKILL)
                    handle.close()
                wait_ended(*workers)
            finally:
                running.close()
        last = daemon(config, "--spooler-retry-delay", "0")
        project.wait_empty()
        over.set()
        checker.join()
    assert failures == []
    assert last.stop() == 0
    runs = Counter(event["id"] for event in project.events.history if event.name == "mark")
    assert runs.keys() == {str(number) for number in range(whole + 1)}
    corrupt = project.spool / "corrupt"
    assert {path.name: path.read_bytes() for path in corrupt.iterdir()} == damaged
    repaired(project)


def test_every_test_that_the_crash_model_names_is_there() -> None:
    page = (ROOT / "docs" / "design" / "crash-model.md").read_text("utf-8")
    named = {name for name in re.findall(r"`(\w+)`", page) if name.count("_") >= 4}
    assert len(named) > 25
    globs = ["crates/*/tests/**/*.rs", "crates/*/src/**/tests.rs", "tests/*/test_*.py"]
    sources = [path for each in globs for path in ROOT.glob(each)]
    text = "\n".join(path.read_text("utf-8") for path in sources)
    assert {name for name in named if not re.search(rf"\b(fn|def) {name}\b", text)} == set()
    scenarios = set(re.findall(r"scenario `([^`]+)`", page))
    assert {name for name in scenarios if f'once("{name}"' not in text} == set()


def test_every_check_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text("utf-8")
    source = (ROOT / "crates" / "unspool-spool" / "src" / "fsck" / "report.rs").read_text("utf-8")
    checks = re.findall(r'Self::\w+ => "([a-z-]+)"', source)
    assert len(checks) == 16
    assert [check for check in checks if f"\n| `{check}` |" not in page] == []


def test_what_bounds_leave_in_a_spool_is_known(project: Project) -> None:
    config = configure(project, "spooler-max-pending = 5")
    project.unspool("spool", "--config", config, "mark", "id=1")
    assert (project.spool / ".unspool" / "pending").is_file()
    found = fsck(project, config=config)
    assert (found.findings, found.status) == ([], CLEAN_STATUS)
