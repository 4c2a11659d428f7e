"""`unspool edit` and `unspool mv`: a task that waits is changed, put off, or moved."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from everybody import USER, root_only
from factory import DaemonFactory
from harness import UNSPOOL, Project, wait_gone
from signing import make_key, write_keys
from spooling import submit
from steering import (
    DONE,
    FAILED,
    HELD,
    MODULE,
    NOTHING,
    USAGE,
    bury,
    complaint,
    rows,
    start,
    words,
)  # fmt: skip


def delayed(project: Project, *options: str, **pairs: object) -> Path:
    return submit(project, "mark", "--delay", "1000", *options, **pairs)


def id_of(path: Path) -> bytes:
    return path.read_bytes().split(b"unspool1[id=", 1)[1][:32]


def test_a_daemon_runs_what_was_edited(project: Project, daemon: DaemonFactory) -> None:
    start(project, daemon)
    path = delayed(project, "--priority", "5", id="before")
    known = id_of(path)
    inode = path.stat().st_ino
    assert words(project, "edit", path, "id=after", "more=1", "body=text") == ["edited"]
    assert id_of(path) == known and path.stat().st_ino != inode
    assert path.stat().st_mtime > time.time() + 900
    # It notices the new time at once, and reads the new content.
    assert words(project, "edit", known.decode()[:20], "--unset", "more", "--at", "now") == [
        "edited"
    ]
    assert project.events.wait("mark").fields == {"id": "after", "body": "text"}
    wait_gone(path)


def test_the_time_alone_leaves_the_file(project: Project, daemon: DaemonFactory) -> None:
    start(project, daemon)
    path = delayed(project, id="1")
    content, inode = path.read_bytes(), path.stat().st_ino
    assert words(project, "edit", path, "--at", "2099-01-01 00:00") == ["moved"]
    assert (path.read_bytes(), path.stat().st_ino) == (content, inode)
    assert path.stat().st_mtime > 4_000_000_000
    assert words(project, "mv", path, "--at", "now") == ["moved"]
    assert project.events.wait("mark")["id"] == "1"


def test_a_move_to_another_priority_is_seen_at_once(
    project: Project, daemon: DaemonFactory
) -> None:
    start(project, daemon)
    path = delayed(project, id="1")
    assert words(project, "mv", path, "--priority", "new", "--delay", "2h") == ["moved"]
    moved = project.spool / "new" / path.name
    assert project.tasks() == [moved]
    assert words(project, "mv", path.name, "--none") == ["moved"]
    assert project.tasks() == [path]
    assert words(project, "mv", path.name, "--priority", "new", "--at", "now") == ["moved"]
    assert project.events.wait("mark")["id"] == "1"
    wait_gone(moved)


def test_what_runs_is_refused(project: Project, daemon: DaemonFactory) -> None:
    project.gate("waits")
    start(project, daemon)
    path = submit(project, "waits", a="1")
    project.events.wait("waits")
    content = path.read_bytes()
    assert "runs" in complaint(project, "edit", path, "a=2", status=HELD)
    assert "runs" in complaint(project, "mv", path, "--priority", "3", status=HELD)
    assert path.read_bytes() == content
    project.gate("waits").release()
    wait_gone(path)
    assert "no task" in complaint(project, "edit", path, "a=2", status=NOTHING)
    assert rows(project, "mv", path, "--none")[0]["error"].startswith("there is no task")


def test_values_are_checked_as_those_of_a_submission(project: Project) -> None:
    path = delayed(project, id="1")
    content = path.read_bytes()
    for arguments, says in [
        ([], "nothing to change"),
        (["id"], "key=value"),
        (["id=1", "--unset", "id"], "twice"),
        (["unspool=1"], "kept for unspool"),
        (["at=soon"], "no time"),
        (["at=5", "--at", "now"], "twice"),
        (["priority=5"], "unspool mv"),
        (["spooler=/x"], "elsewhere"),
        (["--unset", "nothing"], "no argument"),
        (["--at", "soon"], "such as"),
    ]:
        assert says in complaint(project, "edit", path, *arguments, status=USAGE), arguments
    assert "`../x`" in complaint(project, "mv", path, "--priority", "../x", status=USAGE)
    assert path.read_bytes() == content and project.tasks() == [path]


def test_pickled_arguments_are_no_text(project: Project) -> None:
    project.write("tasks.py", MODULE)
    code = "import os, tasks\nprint(os.fsdecode(tasks.pickled.spool(1, b=2, at=4000000000)))"
    path = Path(project.python(code).stdout.strip())
    said = complaint(project, "edit", path, "a=3", status=USAGE)
    assert "pickled" in said and "submit it anew" in said
    assert words(project, "edit", path, "at=5") == ["edited"]
    assert path.stat().st_mtime == 5


def test_a_signed_task_is_signed_anew(project: Project, daemon: DaemonFactory) -> None:
    keys = write_keys(project.root / "keys", make_key("mine"))
    path = delayed(project, "--keys", str(keys), id="before")
    said = complaint(project, "edit", path, "id=after", status=USAGE)
    assert "signed with the key `mine`" in said and "--keys" in said
    others = write_keys(project.root / "others", make_key("mine"))
    said = complaint(project, "edit", path, "id=after", "--keys", others, status=FAILED)
    assert "not signed anew" in said
    ini = project.write("app.ini", f"[uwsgi]\nspooler = {project.spool}\nspooler-keys = {keys}\n")
    assert words(project, "edit", path, "--config", ini, "id=after", "--at", "now") == ["edited"]
    start(project, daemon, "--spooler-keys", str(keys))
    assert project.events.wait("mark")["id"] == "after"


def test_one_that_was_given_up_is_edited_and_tried_again(
    project: Project, daemon: DaemonFactory
) -> None:
    path = bury(project, submit(project, "mark", id="before"))
    assert words(project, "edit", path, "id=after") == ["edited"]
    assert "no due time" in complaint(project, "edit", path, "--at", "now", status=USAGE)
    assert "unspool retry" in complaint(project, "mv", path, "--at", "now", status=NOTHING)
    start(project, daemon)
    assert words(project, "retry", path) == ["pending"]
    assert project.events.wait("mark")["id"] == "after"


def test_the_editor_shows_arguments_and_takes_what_is_saved(project: Project) -> None:
    path = delayed(project, id="before", gone="1")
    script = project.write(
        "editor.py",
        """
        import json, sys
        with open(sys.argv[1]) as file:
            task = json.load(file)
        assert task["arguments"]["id"] == "before", task
        task["arguments"]["id"] = "after"
        del task["arguments"]["gone"]
        task["body"] = "text"
        with open(sys.argv[1], "w") as file:
            json.dump(task, file)
        """,
    )
    env = {**project.producer_env, "EDITOR": f"python3 {script}", "VISUAL": ""}
    done = project.unspool("edit", "--editor", path, env=env)
    assert done.stdout.startswith("edited")
    content = path.read_bytes()
    assert b"\x02\x00id\x05\x00after" in content and content.endswith(b"text")
    assert b"gone" not in content
    for editor, status, says in [
        ("false", FAILED, "nothing is changed"), ("true", DONE, ""),
        ("echo x >", FAILED, "no JSON"), ("rm", FAILED, "the editor removed"),
        (f"touch -d 2099-01-01 {path}; true", FAILED, "somebody"),
    ]:  # fmt: skip
        editor = editor if "touch" not in editor else f"sed -i s/after/other/ $1; {editor}"
        done = project.unspool("edit", "--editor", path, check=False, env={**env, "EDITOR": editor})
        assert (done.returncode, says in done.stderr) == (status, True), (editor, done.stderr)
        assert path.read_bytes() == content
        if "`/tmp/unspool-edit-" in done.stderr:
            kept_text(done.stderr).unlink(missing_ok=True)


def kept_text(said: str) -> Path:
    found = re.search(r"`(/tmp/unspool-edit-[^`]*)`", said)
    assert found is not None, said
    return Path(found[1])


def test_what_was_typed_is_kept_if_the_task_is_taken_meanwhile(project: Project) -> None:
    path = delayed(project, id="before")
    editor = f"rm {path}; sed -i s/before/typed/"
    env = {**project.producer_env, "EDITOR": editor, "VISUAL": ""}
    done = project.unspool("edit", "--json", "--editor", path, check=False, env=env)
    assert done.returncode == NOTHING and "there is no task" in done.stderr, done
    kept = kept_text(done.stderr)
    assert "typed" in kept.read_text()
    assert str(kept) in json.loads(done.stdout)["error"]
    kept.unlink()
    path = delayed(project, id="before")
    env["EDITOR"] = "f() { sed -i s/before/typed/ $1; exit 3; }; f"
    done = project.unspool("edit", "--editor", path, check=False, env=env)
    assert done.returncode == FAILED and "what was saved" in done.stderr, done
    kept_text(done.stderr).unlink()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_ctrl_c_is_the_editors(project: Project, number: signal.Signals) -> None:
    """It takes the editor with it that does not mind it, and leaves nothing behind."""
    path = delayed(project, id="before")
    said = project.root / "editing"
    os.mkfifo(said)
    editor = "f() { echo $1 > editing; exec sleep 60; }; f"
    env = {**project.producer_env, "EDITOR": editor, "VISUAL": ""}
    running = subprocess.Popen(
        [UNSPOOL, "edit", "--editor", path], cwd=project.root, env=env, start_new_session=True,
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    text = Path(said.read_text().rstrip())
    assert text.exists()
    # As a terminal does, to both.
    os.killpg(running.pid, number)
    _, complained = running.communicate(timeout=20)
    assert running.returncode == FAILED and "nothing is changed" in complained, complained
    assert not text.exists()


@root_only
def test_a_task_stays_its_owners(project: Project) -> None:
    path = delayed(project, id="before")
    user = pwd.getpwnam(USER)
    os.chown(path, user.pw_uid, user.pw_gid)
    path.chmod(0o640)
    assert words(project, "edit", path, "id=after") == ["edited"]
    stat = path.stat()
    assert (stat.st_uid, stat.st_gid, stat.st_mode & 0o777) == (user.pw_uid, user.pw_gid, 0o640)


@pytest.mark.parametrize(
    "arguments", [[], ["--none", "--priority", "5"], ["--at", "1", "--delay", "1"]]
)
def test_a_move_says_what_it_is_about(project: Project, arguments: list[str]) -> None:
    path = delayed(project, id="1")
    assert "Usage" in complaint(project, "mv", path, *arguments, status=USAGE)
