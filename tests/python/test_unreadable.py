"""The commands that look at tasks, where something may not be read or is damaged: it is said, the
status says it too, and everything else is shown."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from everybody import USER, root_only
from factory import DaemonFactory
from harness import UNSPOOL, Project
from reasons import codes, start, wait_why
from spooling import foreign, publish, submit

OK, FAILED, USAGE, NOTHING = 0, 1, 2, 3


class Nobody:
    """A user who may look into the spool, and read of its files what is opened to all."""

    def __init__(self, project: Project) -> None:
        self.project = project
        project.root.chmod(0o755)
        self.command = Path(shutil.copy(UNSPOOL, project.root / "unspool"))
        self.command.chmod(0o755)

    def look(self, *spools: Path) -> None:
        """Opens all folders of spools, and no file."""
        for spool in spools or (self.project.spool,):
            for folder in [spool, *spool.rglob("*")]:
                if folder.is_dir():
                    folder.chmod(0o755)
            for record in ("version", "adopted", "paused"):
                if (spool / ".unspool" / record).exists():
                    (spool / ".unspool" / record).chmod(0o644)

    def __call__(self, *arguments: str | Path, status: int) -> subprocess.CompletedProcess[str]:
        return checked(
            subprocess.run(
                [self.command, *arguments], env=self.project.env, cwd="/", user=USER,
                group="nogroup", extra_groups=[], capture_output=True, text=True, check=False,
                timeout=30,
            ),
            status,
        )  # fmt: skip


def checked(
    done: subprocess.CompletedProcess[str], status: int
) -> subprocess.CompletedProcess[str]:
    assert done.returncode == status, (done.stdout, done.stderr)
    return done


def run(project: Project, *arguments: str | Path, status: int) -> subprocess.CompletedProcess[str]:
    return checked(project.unspool(*arguments, check=False), status)


def objects(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def nobody(project: Project) -> Nobody:
    return Nobody(project)


@pytest.fixture
def two(project: Project) -> tuple[Path, Path]:
    """Two spools with a task each, and a configuration of both: the project's, and another one."""
    other = project.root / "other"
    project.write("two.ini", f"[uwsgi]\nspooler = {other}\nspooler = {project.spool}\n")
    project.unspool("spool", "--spooler", str(other), "elsewhere")
    submit(project, "here")
    project.env.pop("UNSPOOL_SPOOL", None)
    return project.root / "two.ini", other


def task_in(spool: Path) -> Path:
    (task,) = (path for path in spool.iterdir() if path.name.startswith("uwsgi_"))
    return task


@root_only
def test_why_tells_what_may_not_be_read_from_what_is_gone(project: Project, nobody: Nobody) -> None:
    task = submit(project, "mark")
    nobody.look()
    told = nobody("why", "--json", task, status=FAILED)
    answer = json.loads(told.stdout)
    codes = [reason["reason"] for reason in answer["reasons"]]
    assert codes == ["unreadable", "no_daemon"] and answer["id"] is None
    assert answer["reasons"][0]["owner"] == 0
    assert "may not be read by you" in answer["reasons"][0]["text"]
    assert "Ask as its user, `root`" in nobody("why", task, status=FAILED).stdout
    said = nobody("show", task, status=FAILED)
    assert f"cannot read `{task}`: Permission denied" in said.stderr and not said.stdout
    said = nobody("show", "--capsule", task, status=FAILED)
    assert "Permission denied" in said.stderr
    task.unlink()
    nobody("show", task, status=NOTHING)


@root_only
def test_why_of_kept_tasks_that_may_not_be_read(project: Project, nobody: Nobody) -> None:
    whole = foreign({b"ud_spool_func": b"mark"})
    (project.spool / ".unspool").mkdir(parents=True)
    for folder in ("dead", "corrupt"):
        (project.spool / folder).mkdir(parents=True, exist_ok=True)
        publish(project.spool / folder, f"{folder}_1_1_7_1795000000_0", whole)
    dead, corrupt = (task_in(project.spool / folder) for folder in ("dead", "corrupt"))
    record = dead.with_name(f"attempts.{dead.name}")
    record.write_text("")
    for path in (dead, corrupt, record):
        path.chmod(0o600)
    nobody.look()
    answer = json.loads(nobody("why", "--json", corrupt, status=FAILED).stdout)
    assert [reason["reason"] for reason in answer["reasons"]] == ["unreadable"]
    told = nobody("why", "--json", dead, status=FAILED)
    answer = json.loads(told.stdout)
    assert [reason["reason"] for reason in answer["reasons"]] == ["buried", "unreadable"]
    assert "the record of why cannot be read" in answer["reasons"][0]["text"]
    assert f"cannot read `{record}`" in told.stderr


@root_only
def test_ls_says_what_may_not_be_read(project: Project, nobody: Nobody) -> None:
    secret, plain = submit(project, "mark", text="find me"), submit(project, "other", text="no")
    nobody.look()
    plain.chmod(0o644)
    row = objects(nobody("ls", "--spooler", project.spool, "--json", status=OK))
    assert {Path(one["path"]): one["readable"] for one in row} == {secret: False, plain: True}
    assert "may not be read" in nobody("ls", "--spooler", project.spool, status=OK).stdout
    for search in (("--func", "mark"), ("--grep", "find me"), ("--state", "retrying")):
        for order in ((), ("--sort", "due")):
            told = nobody("ls", "--spooler", project.spool, *search, *order, status=FAILED)
            assert "1 task may not be read: whether they match is not known" in told.stderr
            assert len(told.stdout.splitlines()) < 2
    # What decides is not in the file.
    nobody("ls", "--spooler", project.spool, "--newer", "1h", "--state", "due", status=OK)
    # Who runs it the kernel tells.
    with secret.open("rb+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        row = objects(nobody("ls", "--spooler", project.spool, "--json", status=OK))
        states = {Path(one["path"]): one["state"] for one in row}
        assert states == {secret: "running", plain: "due"}
        told = nobody("stats", "--spooler", project.spool, "--json", status=OK)
        pending = json.loads(told.stdout)["spools"][0]["pending"]
        assert (pending["running"], pending["due"]) == (1, 1)


@root_only
def test_a_task_is_not_said_to_be_gone_whose_id_may_not_be_read(
    project: Project, nobody: Nobody
) -> None:
    task = submit(project, "mark")
    whole = str(json.loads(run(project, "why", "--json", task, status=OK).stdout)["id"])
    nobody.look()
    spool = ("--spooler", project.spool)
    told = nobody("why", *spool, whole[12:22], status=FAILED)
    assert "1 of their files may not be read, and it may be one of those" in told.stderr
    # The name tells a whole id, and parts of the name.
    for given in (whole, task.name[20:]):
        answer = json.loads(nobody("why", *spool, "--json", given, status=FAILED).stdout)
        assert answer["path"] == str(task)


@root_only
def test_what_changes_many_says_how_many_may_not_be_read(project: Project, nobody: Nobody) -> None:
    """Whether those are of the function that was named, nobody can tell."""
    uid = pwd.getpwnam(USER).pw_uid
    (project.spool / "dead").mkdir(parents=True)
    submit(project, "other", "--delay", "4000")

    def lay(folder: str) -> tuple[Path, Path]:
        secret, plain = submit(project, "mark"), submit(project, "mark")
        for path in (secret, plain):
            path.rename(project.spool / folder / path.name)
        for path in project.root.rglob("*"):
            os.chown(path, uid, -1)
        os.chown(project.root, uid, -1)
        os.chown(project.spool / folder / secret.name, 0, -1)
        return secret, plain

    said = f"of the spool `{project.spool}` 1 task may not be read: whether they match is not known"
    of_mark = ("--spooler", project.spool, "--func", "mark")
    secret, plain = lay("dead")
    told = nobody("purge", "--dead", *of_mark, "--dry-run", status=FAILED)
    assert told.stdout == "1 task (1 given up) would be deleted, 1 not judged\n"
    assert told.stderr.count(said) == 1
    told = nobody("retry", "--all", *of_mark, "--dry-run", status=FAILED)
    assert told.stdout == "1 task would be pending again, 0 would be due now, 1 not judged\n"
    assert said in told.stderr
    told = nobody("retry", "--all", *of_mark, "--json", status=FAILED)
    summary = objects(told)[-1]["summary"]
    assert (summary["pending"], summary["unread"]) == (1, 1) and said in told.stderr
    assert plain.exists() and (project.spool / "dead" / secret.name).exists()
    plain.unlink()
    # What is left is not nothing.
    told = nobody("purge", "--dead", *of_mark, "--yes", "--json", status=FAILED)
    assert objects(told)[0]["unread"] == 1 and told.stderr.count(said) == 1
    (project.spool / "dead" / secret.name).unlink()
    # The state, too, of those that wait.
    secret, plain = lay(".")
    told = nobody("rm", "--all", "--yes", *of_mark, status=FAILED)
    assert said in told.stderr and secret.exists() and not plain.exists()
    os.utime(secret, (4_000_000_000, 4_000_000_000))
    for words in (("retry", "--all"), ("purge", "--pending", "--state", "retrying", "--yes")):
        told = nobody(*words, "--spooler", project.spool, status=FAILED)
        assert said in told.stderr and secret.exists()
    # Nothing has to be asked of them.
    told = nobody("purge", "--pending", *of_mark[:2], "--state", "due", "--dry-run", status=NOTHING)
    assert not told.stderr


def test_one_damaged_spool_hides_no_other(project: Project, two: tuple[Path, Path]) -> None:
    config, other = two
    (other / ".unspool" / "adopted").write_text("rubbish")
    here = task_in(project.spool)
    listed = run(project, "ls", "--config", config, "--json", status=FAILED)
    assert sorted(row["function"] for row in objects(listed)) == ["elsewhere", "here"]
    assert "adopted` is damaged" in listed.stderr
    counted = run(project, "stats", "--config", config, "--json", status=FAILED)
    spools = json.loads(counted.stdout)["spools"]
    assert [spool["pending"]["tasks"] for spool in spools] == [1, 1]
    assert json.loads(
        run(project, "show", "--config", config, "--json", here.name, status=OK).stdout
    )
    run(project, "show", "--config", config, task_in(other).name, status=FAILED)
    # Of its own tasks everything else is told.
    answer = json.loads(run(project, "why", "--json", task_in(other), status=OK).stdout)
    codes = [reason["reason"] for reason in answer["reasons"]]
    assert codes == ["adoption_unreadable", "no_daemon"]
    assert "adopted` is damaged" in answer["reasons"][0]["problem"]


@root_only
def test_a_folder_that_may_not_be_read_hides_nothing_else(
    project: Project, two: tuple[Path, Path], nobody: Nobody
) -> None:
    config, other = two
    project.unspool("spool", "--spooler", str(other), "--priority", "5", "secret")
    secret = task_in(other / "5")
    here = task_in(project.spool)
    nobody.look(project.spool, other)
    here.chmod(0o644)
    (other / "5").chmod(0o700)
    config.chmod(0o644)
    rows = objects(nobody("ls", "--config", config, "--json", status=FAILED))
    assert {row["path"] for row in rows} == {str(here), str(task_in(other))}
    told = nobody("stats", "--config", config, "--json", status=FAILED)
    spools = json.loads(told.stdout)["spools"]
    counts = {spool["spool"]: spool["pending"]["tasks"] for spool in spools}
    assert counts == {str(project.spool): 1, str(other): 1}
    assert f"cannot count the tasks in `{other / '5'}`: Permission denied" in told.stderr
    told = nobody("top", "--once", "--config", config, status=FAILED)
    assert told.stdout.count("1 due") == 2 and f"`{other / '5'}`: Perm" in told.stdout
    for given in (here.name, here.name[20:]):
        assert nobody("why", "--config", config, given, status=OK).stdout.startswith(str(here))
        nobody("show", "--config", config, given, status=OK)
        nobody("logs", "--config", config, given, status=OK)
    told = nobody("why", "--config", config, secret.name, status=FAILED)
    assert f"cannot look through the spool `{other}` for tasks: Permission denied" in told.stderr


def test_a_daemon_goes_on_with_what_it_knew_of_held_tasks(
    project: Project, daemon: DaemonFactory
) -> None:
    start(project, daemon)
    task = submit(project, "mark", "--delay", "4000")
    (project.spool / ".unspool" / "adopted").write_text("rubbish")
    answer = wait_why(project, task, lambda answer: len(codes(answer)) == 2)
    assert codes(answer) == ["delayed", "adoption_unreadable"]
    assert "the daemon goes on with what it knew" in answer["reasons"][1]["text"]


def test_what_is_paused_is_listed_of_all_others(project: Project, two: tuple[Path, Path]) -> None:
    config, other = two
    project.unspool("pause", "--config", str(config))
    (other / ".unspool" / "paused").write_text("rubbish")
    told = run(project, "pause", "--config", config, "--list", "--json", status=FAILED)
    assert [row["spool"] for row in objects(told)] == [str(project.spool)]
    assert "paused`, which says what is paused, is damaged" in told.stderr


def test_not_found_is_not_said_before_all_spools_were_looked_at(
    project: Project, two: tuple[Path, Path]
) -> None:
    config, other = two
    shutil.rmtree(other)
    told = run(project, "why", "--config", config, "--json", "uwsgi_spoolfile_on_x", status=FAILED)
    assert "may be in another spool" in json.loads(told.stdout)["reasons"][0]["text"]
    assert f"`{other}` is missing" in told.stderr
    for command in ("show", "stack"):
        told = run(project, command, "--config", config, "uwsgi_spoolfile_on_x", status=FAILED)
        assert "it may be in a spool that cannot be looked at" in told.stderr
    project.unspool("spool", "--spooler", str(other), "elsewhere")
    for command in ("show", "stack", "why"):
        run(project, command, "--config", config, "uwsgi_spoolfile_on_x", status=NOTHING)


def test_a_path_is_that_of_one_task(project: Project) -> None:
    pending = submit(project, "mark")
    for folder in ("dead", "corrupt"):
        (project.spool / folder).mkdir()
        kept = Path(shutil.copy(pending, project.spool / folder))
        for command in ("show", "why"):
            told = run(project, command, "--json", kept, status=OK)
            assert json.loads(told.stdout)["path"] == str(kept)
    told = run(project, "show", pending.name, status=USAGE)
    assert "names 3 tasks" in told.stderr


def test_a_record_that_cannot_be_read_ends_nothing(project: Project) -> None:
    task = submit(project, "mark", text="shown")
    record = project.spool / ".unspool" / "attempts" / task.name
    record.mkdir(parents=True)
    for command in ("show", "why", "logs"):
        told = run(project, command, task, status=FAILED)
        assert f"cannot read `{record}`, the record of a task's attempts: Is a" in told.stderr
        assert command == "logs" or "mark" in told.stdout
    told = run(project, "show", "--capsule", task, status=FAILED)
    assert f"the record `{record}`" in told.stderr
    # Of all records, too.
    other = submit(project, "mark")
    line = {"attempt": 1, "outcome": "exception", "at": 1, "host": "", "pid": 0, "error": "told"}
    record.with_name(other.name).write_text(json.dumps(line) + "\n")
    told = run(project, "logs", status=FAILED)
    assert str(record) in told.stderr and "told" in told.stdout


def test_what_a_record_says_of_tasks_that_were_given_up(project: Project) -> None:
    (project.spool / "dead").mkdir(parents=True)
    whole = foreign({b"ud_spool_func": b"mark"})
    for number, (attempts, priority) in enumerate([(20, "7"), (3, "5"), (11, "")]):
        name = f"web_1_1_{number}_1795000000_0"
        publish(project.spool / "dead", name, whole)
        line = {"attempt": attempts, "outcome": "exception", "at": 1795000000, "host": "",
                "pid": 0, "error": "no", "priority": priority}  # fmt: skip
        record = project.spool / "dead" / f"attempts.uwsgi_spoolfile_on_{name}"
        record.write_text(json.dumps(line) + "\n")
    rows = objects(run(project, "ls", "--json", "--sort", "attempts", status=OK))
    assert [row["attempts"] for row in rows] == [3, 11, 20]
    for more in ((), ("--state", "dead")):
        rows = objects(run(project, "ls", "--json", "--sort", "priority", *more, status=OK))
        assert [row["priority"] for row in rows] == ["5", "7", None]
    for row in rows:
        shown = json.loads(run(project, "show", "--json", row["path"], status=OK).stdout)
        why = json.loads(run(project, "why", "--json", row["path"], status=OK).stdout)
        assert shown["priority"] == row["priority"]
        assert shown["attempts"] == why["attempts"] == row["attempts"]
        text = run(project, "show", row["path"], status=OK).stdout
        assert ("priority   " in text) == (row["priority"] is not None)


def test_why_says_the_state_of_paused_and_held_tasks(project: Project) -> None:
    task = submit(project, "mark")
    project.unspool("pause")
    assert json.loads(run(project, "why", "--json", task, status=OK).stdout)["state"] == "paused"
    assert json.loads(run(project, "show", "--json", task, status=OK).stdout)["state"] == "paused"


@pytest.mark.parametrize("ours", [True, False])
def test_a_file_that_is_longer_than_any_task(project: Project, ours: bool) -> None:
    if ours:
        task = submit(project, "mark")
    else:
        project.spool.mkdir()
        publish(project.spool, "web_1_1_7_1795000000_0", foreign({b"ud_spool_func": b"mark"}))
        task = task_in(project.spool)
    os.truncate(task, 1 << 40)
    answer = json.loads(run(project, "why", "--json", task, status=OK).stdout)
    assert answer["state"] == "torn" and answer["reasons"][0]["reason"] == "torn"
    says = "it has 1099511627776 bytes, and no task has more than"
    assert says in answer["reasons"][0]["text"]
    shown = json.loads(run(project, "show", "--json", task, status=OK).stdout)
    assert says in shown["damage"] and shown["state"] == "torn"
    assert says in run(project, "show", task, status=OK).stdout
    assert says in run(project, "show", "--body", task, status=FAILED).stderr
    project.write("settled.ini", f"[uwsgi]\nspooler = {project.spool}\nspooler-settle = 0.001\n")
    for words in ([], ["--repair"]):
        found = run(project, "fsck", *words, "settled.ini", status=OK if words else FAILED)
        assert f"{task}: {says}" in found.stdout and "[whole]" in found.stdout
    answer = json.loads(run(project, "why", "--json", task.name, status=OK).stdout)
    assert [reason["reason"] for reason in answer["reasons"]] == ["corrupt"]
    assert says in answer["reasons"][0]["text"]


def test_what_is_no_file_holds_nobody_up(project: Project) -> None:
    submit(project, "mark")
    pipe = project.spool / "uwsgi_spoolfile_on_web_1_1_7_1795000000_0"
    os.mkfifo(pipe)
    device = project.spool / "uwsgi_spoolfile_on_web_1_1_8_1795000000_0"
    if os.geteuid() == 0:
        os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    for path in filter(Path.exists, (pipe, device)):
        for command in (
            ("show",), ("show", "--capsule"), ("why",), ("stack",), ("replay", "--trust"),
        ):  # fmt: skip
            told = run(project, *command, path, status=FAILED)
            assert f"`{path}` is no task: it is no regular file" in told.stderr
        run(project, "logs", path, status=OK)
        for words in (["cancel"], ["retry"], ["mv", "--priority", "5"]):
            done = project.unspool(*words, path, check=False)
            assert done.returncode in (FAILED, NOTHING), (words, done.stdout, done.stderr)
        assert path.exists()
    assert len(objects(run(project, "ls", "--json", status=OK))) == 1
    run(project, "ls", "--grep", "x", status=OK)
    run(project, "stats", "--functions", "--json", status=OK)


def test_a_damaged_record_of_pauses_is_told(project: Project) -> None:
    task = submit(project, "mark")
    (project.spool / ".unspool" / "paused").write_text("rubbish")
    says = "which says what is paused, is damaged"
    told = run(project, "stats", "--json", status=FAILED)
    assert json.loads(told.stdout)["spools"][0]["paused"] is None and says in told.stderr
    told = run(project, "show", "--json", task, status=FAILED)
    assert json.loads(told.stdout)["paused"] is None and says in told.stderr
    for command in (("stats",), ("show", task)):
        told = run(project, *command, status=FAILED)
        assert "what is paused cannot be read: nothing of the spool runs" in told.stdout


def test_top_counts_what_it_can(project: Project) -> None:
    submit(project, "mark")
    paused = project.spool / ".unspool" / "paused"
    paused.write_text("rubbish")
    (project.spool / ".unspool" / "adopted").write_text("rubbish")
    told = run(project, "top", "--once", "--json", status=FAILED)
    (spool,) = json.loads(told.stdout)["spools"]
    assert spool["paused"] is None and spool["tasks"]["paused"] == 1
    assert "paused`, which says" in spool["problem"] and "adopted` is damaged" in spool["problem"]
    paused.unlink()
    told = run(project, "top", "--once", status=FAILED)
    assert "1 due" in told.stdout and "adopted` is damaged" in told.stdout
    project.write("plain", "")
    told = run(project, "top", "--once", "--spooler", "plain", status=FAILED)
    first, second, third = told.stdout.splitlines()
    assert first.endswith("  cannot be looked at") and second == "its tasks cannot be counted"
    assert "is not a directory" in third
    told = run(project, "top", "--once", "--json", "--spooler", "plain", status=FAILED)
    assert json.loads(told.stdout)["spools"][0]["tasks"] is None


def test_what_is_no_directory_is_not_said_to_be_missing(project: Project) -> None:
    project.write("plain", "")
    for command in (["ls"], ["stats"], ["pause", "--list"], ["why", "abcdef"], ["fsck"]):
        told = run(project, *command, "--spooler", "plain", status=FAILED)
        assert "is not a directory" in told.stderr and "missing" not in told.stderr


@root_only
def test_a_version_that_cannot_be_read_is_named(project: Project, nobody: Nobody) -> None:
    submit(project, "mark")
    version = project.spool / ".unspool" / "version"
    nobody.look()
    version.chmod(0o600)
    spool = ("--spooler", project.spool)
    says = f"cannot read `{version}`, which says of what format the spool directory is: Perm"
    assert says in nobody("ls", *spool, status=FAILED).stderr
    assert says in nobody("top", "--once", *spool, status=FAILED).stdout
    # What can be checked is.
    found = nobody("fsck", *spool, status=FAILED)
    assert f"problem: {version}: it cannot be read: Permission denied" in found.stdout
    assert "1 task" in found.stdout
    version.write_text("x1")
    told = run(project, "ls", status=FAILED)
    assert f"`{version}` says `x1`, which is no version" in told.stderr
    run(project, "fsck", "--repair", status=OK)
    run(project, "ls", status=OK)
    version.parent.chmod(0o700)
    told = nobody("ls", *spool, status=FAILED)
    assert f"`{version.parent}` cannot be opened: Permission denied" in told.stderr


@pytest.mark.parametrize(
    ("content", "status"), [(None, FAILED), ("rubbish", USAGE)], ids=["missing", "damaged"]
)
def test_fsck_without_its_keys_checks_the_rest(
    project: Project, content: str | None, status: int
) -> None:
    submit(project, "mark")
    publish(project.spool, "web_1_1_7_1795000000_0", b"no task")
    keys = project.root / "keys"
    if content is not None:
        keys.write_text(content)
        keys.chmod(0o600)
    project.write("signed.ini", f"[uwsgi]\nspooler = {project.spool}\nspooler-keys = {keys}\n")
    told = run(project, "fsck", "signed.ini", status=status)
    assert f"`{keys}`" in told.stderr and "signatures are not checked" in told.stderr
    assert "web_1_1_7_1795000000_0: " in told.stdout and "2 tasks" in told.stdout


@root_only
def test_stats_says_what_it_does_not_count(project: Project, nobody: Nobody) -> None:
    secret, plain = submit(project, "mark"), submit(project, "other")
    (project.spool / "dead").mkdir()
    nobody.look()
    plain.chmod(0o644)
    (project.spool / "dead").chmod(0o700)
    stats = ("stats", "--spooler", project.spool)
    told = nobody(*stats, "--functions", "--json", status=FAILED)
    (spool,) = json.loads(told.stdout)["spools"]
    assert spool["pending"]["tasks"] == 2 and spool["dead"] is None and spool["corrupt"] == 0
    assert [(row["function"], row["tasks"]) for row in spool["functions"]] == [("other", 1)]
    assert "1 task may not be read: their functions and states are not known" in told.stderr
    assert f"cannot count the tasks in `{project.spool / 'dead'}`" in told.stderr
    assert "2 pending, ? dead, 0 corrupt" in nobody(*stats, status=FAILED).stdout
    assert secret.exists()
