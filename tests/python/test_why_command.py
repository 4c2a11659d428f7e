"""`unspool why`: each answer, with the real daemon in the situation that it is about."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import ROOT, Project, wait_gone
from reasons import MODULE, codes, reason, start, wait_why, why
from spooling import Producer, call, foreign, publish, submit

OK, FAILED, USAGE, NOTHING = 0, 1, 2, 3


def text(project: Project, task: str | Path, *options: str) -> str:
    return project.unspool("why", *options, task, check=False).stdout


def test_its_time_has_not_come(project: Project, daemon: DaemonFactory) -> None:
    start(project, daemon)
    task = submit(project, "mark", "--delay", str(3 * 3600 + 12 * 60 + 20))
    answer = why(project, task)
    delayed = reason(answer, "delayed")
    assert re.match(
        r"It is due in 3 h 12 min, at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.", delayed["text"]
    )
    assert 11_500 < delayed["due_in_s"] <= 11_540 and codes(answer) == ["delayed"]
    assert (answer["state"], answer["function"], answer["attempts"]) == ("delayed", "mark", 0)
    first, second = text(project, task).splitlines()
    assert first == f"{task}: a task of `mark`, id {answer['id']}"
    assert second.startswith("It is due in 3 h 12 min")
    for part in (task.name, answer["id"], answer["id"][-8:]):
        assert why(project, part)["path"] == str(task)


def test_somebody_has_paused_it(project: Project, daemon: DaemonFactory) -> None:
    start(project, daemon)
    project.unspool("pause", "--why", "the database moves")
    project.unspool("pause", "--priority", "5")
    project.unspool("pause", "--func", "mark", "--why", "wrong mails")
    task = submit(project, "mark", "--priority", "5")
    answer = why(project, task)
    assert codes(answer) == ["paused"] * 3
    said = [entry["text"] for entry in answer["reasons"]]
    who = f"paused by {answer['reasons'][0]['by']} since"
    assert re.fullmatch(rf"The spool is {who} [-\d]+ [:\d]+: the database moves\.", said[0])
    assert re.fullmatch(rf"Priority 5 is {who} [-\d]+ [:\d]+\.", said[1])
    assert re.fullmatch(rf"Function mark is {who} [-\d]+ [:\d]+: wrong mails\.", said[2])
    assert who.split()[2].endswith(socket.gethostname())
    project.unspool("resume", "--all")
    project.events.wait("mark")


def test_others_are_before_it(project: Project, daemon: DaemonFactory) -> None:
    with Producer(project) as producer:
        for _ in range(400):
            producer.one("slow")
        task = producer.one("mark").path
    start(project, daemon)
    project.events.collect(60, "slow")
    answer = wait_why(
        project, task, lambda answer: reason(answer, "waits_its_turn")["rate_per_s"] is not None
    )
    turn = reason(answer, "waits_its_turn")
    assert 10 < turn["position"] < 345 and turn["before"] == turn["position"] - 1
    assert 5 < turn["rate_per_s"] < 60
    assert turn["eta_s"] == pytest.approx(turn["before"] / turn["rate_per_s"])
    says = (
        r"It has position \d+ among the due tasks\. At [\d.]+ per second, as lately, that is about"
    )
    assert re.match(says, turn["text"]), turn["text"]
    assert reason(answer, "workers_busy")["workers"][0]["function"] == "slow"


def test_no_daemon_runs(project: Project) -> None:
    task = submit(project, "mark")
    answer = why(project, task)
    assert codes(answer) == ["no_daemon"]
    assert "start one" in answer["reasons"][0]["text"]
    later = submit(project, "mark", "--delay", "100")
    assert codes(why(project, later)) == ["delayed", "no_daemon"]


def test_the_application_cannot_be_imported(project: Project, daemon: DaemonFactory) -> None:
    project.write("tasks.py", "import numpie_that_is_not_there\n")
    start(project, daemon)
    task = submit(project, "mark")
    answer = why(project, task)
    failed = reason(answer, "import_failed")
    assert codes(answer)[0] == "import_failed" and failed["module"] == "tasks"
    assert "cannot import `tasks`" in failed["text"]
    assert "No module named 'numpie_that_is_not_there'" in failed["text"]
    assert "Traceback" in failed["traceback"] and 'tasks.py", line 1' in failed["traceback"]
    assert '      File "' in text(project, task)


def test_a_reload_was_given_up(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    project.write("tasks.py", MODULE + "\n    1 / 0\n")
    mark = running.mark()
    running.send(signal.SIGHUP)
    running.wait_log("reload given up", since=mark)
    task = submit(project, "new_one")
    answer = wait_why(project, task, lambda answer: "import_failed" in codes(answer))
    assert codes(answer) == ["import_failed", "function_unknown"]
    assert "go on with what was imported before" in answer["reasons"][0]["text"]
    assert "ZeroDivisionError" in answer["reasons"][0]["traceback"]


def test_nobody_knows_its_function(project: Project, daemon: DaemonFactory) -> None:
    start(project, daemon)
    task = submit(project, "makr")
    answer = wait_why(project, task, lambda answer: "function_unknown" in codes(answer))
    unknown = reason(answer, "function_unknown")
    assert codes(answer) == ["function_unknown"]
    assert unknown["function"] == "makr" and unknown["nearest"] == "mark"
    assert sorted(unknown["registered"]) == [
        "die",
        "fail",
        "hold",
        "leave",
        "mark",
        "slow",
        "stubborn",
    ]
    assert "is not registered by the application" in unknown["text"]
    assert unknown["text"].endswith("Is `mark` meant?")


def test_no_worker_is_ready(project: Project, daemon: DaemonFactory) -> None:
    gate = project.gate("import")
    project.write("tasks.py", MODULE + '\n    report("importing")\n    pause("import")\n')
    running = start(project, daemon, ready=False)
    project.events.wait("importing")
    task = submit(project, "mark")
    answer = wait_why(project, task, lambda answer: "no_worker" in codes(answer))
    assert reason(answer, "no_worker")["importing"]
    assert "the application is being imported" in reason(answer, "no_worker")["text"]
    gate.release()
    running.wait_ready()


def test_all_workers_are_busy(project: Project, daemon: DaemonFactory) -> None:
    start(project, daemon, "--spooler-processes", "2")
    gate = project.gate("hold")
    for _ in range(2):
        submit(project, "hold")
    pids = {event["pid"] for event in project.events.collect(2, "hold")}
    task = submit(project, "mark")
    answer = wait_why(project, task, lambda answer: "workers_busy" in codes(answer))
    busy = reason(answer, "workers_busy")
    assert codes(answer) == ["workers_busy"] and busy["busy"] == 2
    assert {worker["pid"] for worker in busy["workers"]} == pids
    assert re.match(r"Both workers .* are busy: \d+ has run `hold` for ", busy["text"])
    gate.release(2)
    project.events.wait("mark")


def test_a_sentence_of_others_is_no_line_of_its_own(project: Project) -> None:
    task = submit(project, "mark\nIt runs: worker 1 has run it.")
    os.utime(task, (-9_000_000_000, -9_000_000_000))
    project.unspool("pause", "--why", "moved\nIt runs")
    said = text(project, task)
    assert not [line for line in said.splitlines() if line.startswith("It runs")], said
    assert codes(why(project, task))[0] == "paused"


def test_the_workers_of_all_daemons_are_busy(project: Project, daemon: DaemonFactory) -> None:
    daemons = [start(project, daemon) for _ in range(2)]
    gate = project.gate("hold")
    for _ in range(2):
        submit(project, "hold")
    pids = {event["pid"] for event in project.events.collect(2, "hold")}
    tasks = [submit(project, "mark") for _ in range(2)]
    answer = wait_why(project, tasks[0], lambda answer: "workers_busy" in codes(answer))
    busy = reason(answer, "workers_busy")
    assert codes(answer) == ["workers_busy"]
    assert busy["busy"] == 2 and {worker["pid"] for worker in busy["workers"]} == pids
    # For one that has not met the other's lock, what that runs is before it, too.
    turn = reason(why(project, tasks[1]), "waits_its_turn")
    assert turn["position"] in (2, 3) and not turn["exact"]
    # One that stops takes nothing from the other.
    os.kill(daemons[0].pid, signal.SIGTERM)
    daemons[0].wait_log("stopping")
    answer = wait_why(project, tasks[0], lambda answer: "workers_busy" in codes(answer))
    assert "daemon_stopping" not in codes(answer)
    gate.release(2)
    project.events.collect(2, "mark")


def test_it_waits_after_a_failed_attempt(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon, "--spooler-max-attempts", "7")
    task = submit(project, "fail")
    running.wait_log("task failed")
    answer = why(project, task)
    again = reason(answer, "retrying")
    assert codes(answer) == ["retrying"]
    assert (again["attempt"], again["attempts_max"]) == (1, 7)
    assert again["error"] == "ValueError: no such order"
    says = r"It waits to run again after attempt 1 of 7, which raised ValueError: no such order\. "
    assert re.match(says + r"The next one is due in (59 min|1 h)", again["text"]), again["text"]
    assert "raise ValueError" in text(project, task)
    # A task's own limit goes before, and is known without a daemon.
    running.stop()
    answer = why(project, task)
    assert reason(answer, "retrying")["attempts_max"] == 20 and codes(answer)[1] == "no_daemon"


def test_a_foreign_process_has_it(project: Project, daemon: DaemonFactory) -> None:
    start(project, daemon)
    task = submit(project, "mark", "--delay", "100")
    with task.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        answer = why(project, task)
        held = reason(answer, "held")
        assert codes(answer) == ["held"] and held["pid"] == os.getpid()
        assert held["host"] == socket.gethostname() and held["held_s_max"] > 0
        # A machine may have no name.
        on = rf" on {re.escape(held['host'])}" if held["host"] else ""
        says = rf"It is held by process {os.getpid()} \(`python[\d.]*`\){on}, for "
        assert re.match(says, held["text"]), held["text"]


def test_a_worker_whose_daemon_is_gone_has_it(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    gate = project.gate("hold")
    task = submit(project, "hold")
    pid = project.events.wait("hold")["pid"]
    running.kill()
    runs = reason(why(project, task), "running")
    assert runs["pid"] == pid and runs["daemon"] is None and runs["running_s"] > 0
    assert "its daemon is gone" in runs["text"]
    gate.release()
    wait_gone(task)


def test_it_runs(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    gate = project.gate("hold")
    task = submit(project, "stubborn")
    worker = project.events.wait("stubborn")["pid"]
    answer = why(project, task)
    runs = reason(answer, "running")
    assert codes(answer) == ["running"] and answer["state"] == "running"
    assert (runs["pid"], runs["daemon"], runs["host"]) == (
        worker,
        running.pid,
        socket.gethostname(),
    )
    assert 0 <= runs["running_s"] < 60
    assert runs["text"].startswith(f"It runs: worker {worker} has run it for ")
    # Somebody cancels it.
    project.unspool("cancel", "--no-wait", "--grace", "60", task)
    project.events.wait("told")
    answer = why(project, task)
    assert codes(answer) == ["cancelled"]
    assert "Somebody has cancelled it" in answer["reasons"][0]["text"]
    gate.release()
    wait_gone(task)


def test_it_has_expired(project: Project, daemon: DaemonFactory) -> None:
    task = submit(project, "mark", "--expires", "0.001")
    answer = wait_why(project, task, lambda answer: "expired" in codes(answer))
    assert codes(answer) == ["expired", "no_daemon"]
    assert "it is not run but given up" in answer["reasons"][0]["text"]
    running = start(project, daemon)
    running.wait_log("task given up")
    answer = why(project, task.name)
    assert answer["state"] == "dead" and codes(answer) == ["expired"]
    assert "it had not been started by then" in answer["reasons"][0]["text"]


def test_it_was_given_up(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    task = submit(project, "fail", "--max-attempts", "1")
    running.wait_log("task given up")
    answer = why(project, task)
    buried = reason(answer, "buried")
    assert codes(answer) == ["buried"] and answer["path"] == str(project.spool / "dead" / task.name)
    assert (buried["attempts"], buried["error"]) == (1, "ValueError: no such order")
    assert "after 1 failed attempt: the last one raised ValueError" in buried["text"]
    assert "unspool retry" in buried["text"] and "raise ValueError" in text(project, task)


def test_it_is_torn_and_then_corrupt(project: Project, daemon: DaemonFactory) -> None:
    whole = submit(project, "mark", "--delay", "500")
    content = whole.read_bytes()
    whole.unlink()
    task = project.spool / whole.name
    task.write_bytes(content[:-3])
    torn = reason(why(project, task), "torn")
    assert "It is no whole task: it has" in torn["text"] and torn["unchanged_s"] >= 0
    running = start(project, daemon, "--spooler-settle", "1")
    running.wait_log("moved_to=.*corrupt/")
    answer = why(project, task)
    corrupt = reason(answer, "corrupt")
    assert codes(answer) == ["corrupt"] and answer["state"] == "corrupt"
    assert corrupt["problem"].startswith("it has") and corrupt["problem"] in corrupt["text"]


def test_it_is_torn_while_a_daemon_waits(project: Project, daemon: DaemonFactory) -> None:
    start(project, daemon, "--spooler-settle", "500")
    whole = submit(project, "mark", "--delay", "500")
    content = whole.read_bytes()
    whole.unlink()
    task = project.spool / whole.name
    task.write_bytes(content[:-3])
    torn = reason(why(project, task), "torn")
    assert re.search(r"if it does not change within \d+ (min|s).*corrupt/", torn["text"])


def test_it_is_an_old_one_of_uwsgis(project: Project, daemon: DaemonFactory) -> None:
    folder = project.spool / "mail"
    folder.mkdir(parents=True, mode=0o700)
    task = publish(folder, "old_1_1_1_1_1", foreign({b"ud_spool_func": b"mark"}), due=1)
    running = start(project, daemon)
    running.wait_log("tasks are held")
    answer = why(project, task)
    held = reason(answer, "held_by_adoption")
    assert codes(answer) == ["held_by_adoption"] and not held["decided"]
    assert "unspool adopt" in held["text"]
    project.unspool("adopt", "--spooler", str(project.spool), "--hold")
    running.stop()
    assert reason(why(project, task), "held_by_adoption")["decided"]


def test_its_signature_is_refused(project: Project, daemon: DaemonFactory) -> None:
    keys = project.write("keys", "one " + "ab" * 32 + "\n")
    keys.chmod(0o600)
    project.write("tasks.py", MODULE)
    ini = project.write(
        "app.ini",
        f"""
        [uwsgi]
        spooler = {project.spool}
        spooler-import = tasks
        spooler-keys = {keys}
        spooler-settle = 500
        """,
    )
    task = submit(project, "mark")
    refused = reason(why(project, task, "--config", str(ini)), "refused")
    assert "it is not signed" in refused["problem"] and refused["owner"] == os.getuid()
    running = daemon(ini)
    running.wait_log("task refused")
    # The daemon has told why, and here nobody knows its keys.
    answer = wait_why(project, task, lambda answer: codes(answer) == ["refused"])
    assert re.search(r"It goes to corrupt/ in \d+ min", answer["reasons"][0]["text"])
    running.stop()
    ini.write_text(ini.read_text().replace("settle = 500", "settle = 0"))
    running = daemon(ini)
    running.wait_log("moved_to=.*corrupt/")
    assert "its signature or its owner" in reason(why(project, task), "refused")["text"]
    answer = why(project, task, "--config", str(ini))
    assert "it is not signed" in reason(answer, "refused")["text"]


def test_its_handler_left_it_alone(project: Project, daemon: DaemonFactory) -> None:
    start(project, daemon)
    task = submit(project, "leave")
    answer = wait_why(project, task, lambda answer: codes(answer) == ["ignored"])
    assert re.search(r"SPOOL_IGNORE.*in (59 min|1 h)", answer["reasons"][0]["text"])


def test_it_ran_late_and_twice(project: Project, daemon: DaemonFactory) -> None:
    task = submit(project, "die")
    # It was submitted an hour ago, by its name.
    parts = task.name.rsplit("_", 2)
    old = task.with_name(f"{parts[0]}_{int(parts[1]) - 3600}_{parts[2]}")
    task.rename(old)
    running = start(project, daemon)
    worker = project.events.wait("die")["pid"]
    running.wait_log("task failed")
    answer = wait_why(project, old, lambda answer: "retrying" in codes(answer))
    assert codes(answer) == ["retrying", "ran_late", "ran_twice"]
    late = reason(answer, "ran_late")
    assert 3590 < late["late_s"] < 3700 and "1 h after it was submitted" in late["text"]
    (cut,) = reason(answer, "ran_twice")["cut_short"]
    assert (cut["pid"], cut["outcome"], cut["host"]) == (worker, "died", socket.gethostname())
    says = rf"since an attempt was cut short: at .* in process {worker} .*"
    assert re.search(says + r".*its worker .*9", reason(answer, "ran_twice")["text"])


def test_the_daemon_stops(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    gate = project.gate("hold")
    submit(project, "hold")
    project.events.wait("hold")
    running.send(signal.SIGTERM)
    running.wait_log("stopping")
    task = submit(project, "mark")
    answer = why(project, task)
    assert codes(answer) == ["daemon_stopping"] and answer["reasons"][0]["daemon"] == running.pid
    gate.release()
    assert running.wait_exit() == 0


def test_the_daemon_does_not_answer(project: Project, daemon: DaemonFactory) -> None:
    running = start(project, daemon)
    task = submit(project, "mark", "--delay", "500")
    running.send(signal.SIGSTOP)
    try:
        answer = why(project, task)
    finally:
        running.send(signal.SIGCONT)
    assert codes(answer) == ["delayed", "daemon_silent"]


def test_there_are_more_tasks_than_are_kept_in_memory(
    project: Project, daemon: DaemonFactory
) -> None:
    gate = project.gate("hold")
    with Producer(project) as producer:
        producer.one("hold")
        producer.many([call("mark", number="0") for _ in range(300)])
        last = producer.one("mark").path
    start(project, daemon, "--spooler-max-known", "100")
    project.events.wait("hold")
    answer = wait_why(project, last, lambda answer: "left_out" in codes(answer))
    assert "spooler-max-known" in reason(answer, "left_out")["text"]
    gate.release()
    project.events.collect(301, "mark")


def test_a_task_that_is_not_there(project: Project, daemon: DaemonFactory) -> None:
    start(project, daemon)
    task = submit(project, "mark")
    project.events.wait("mark")
    wait_gone(task)
    for given in (str(task), task.name, "0123456789abcdef0123456789abcdef", "0123abcd"):
        done = project.unspool("why", given, check=False)
        assert done.returncode == NOTHING
        assert f"There is no task `{given}` in {project.spool}" in done.stdout
        assert "leaves no trace" in done.stdout and "dead/" in done.stdout
        answer = why(project, given)
        assert codes(answer) == ["not_found"]
        assert answer["reasons"][0]["spools"] == [str(project.spool)]


def test_what_makes_no_sense_is_said(project: Project) -> None:
    with Producer(project) as producer:
        first, _ = producer.one("mark").path, producer.one("mark").path
    part = f"_{first.name.split('_')[4]}_"
    for given, status, says in [
        ("ab", USAGE, "names no task"),
        (part, USAGE, "names 2 tasks"),
    ]:
        done: subprocess.CompletedProcess[str] = project.unspool("why", given, check=False)
        assert (done.returncode, says in done.stderr) == (status, True), done.stderr


def test_it_changes_nothing(project: Project) -> None:
    project.spool.mkdir(mode=0o700)
    task = publish(project.spool, "old_1_1_1_1_1", foreign({b"ud_spool_func": b"mark"}))
    before = task.stat()
    assert codes(why(project, task.name)) == ["no_daemon"]
    assert os.listdir(project.spool) == [task.name]
    after = task.stat()
    assert (before.st_ctime_ns, before.st_mtime_ns) == (after.st_ctime_ns, after.st_mtime_ns)


def test_the_reference_has_every_reason_and_what_it_tells() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    table = page.partition("| code | it means | fields |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| .* \|(.*)\|$", table, re.MULTILINE)
    folder = ROOT / "crates" / "unspool" / "src"
    code = "".join(path.read_text() for path in sorted((folder / "why").glob("*.rs")))
    code += (folder / "commands" / "why.rs").read_text()
    # A reason is made of its code, or of one of two.
    made = set(re.findall(r'Reason::new\(\s*"(\w+)"', code))
    made |= set(re.findall(r'"reason": "(\w+)"', code))
    made |= set(re.findall(r'\("(\w+)", (?:text|format!)', code))
    for pair in re.findall(r'let code = if .* \{ "(\w+)" \} else \{ "(\w+)" \}', code):
        made |= set(pair)
    assert "Reason::new(code" in code and len(re.findall(r"Reason::new\(code", code)) == 2
    assert {row[0] for row in rows} == made
    fields = set(re.findall(r'\.with\(\s*"(\w+)"', code))
    told = set(re.findall(r"`(\w+)`", " ".join(row[1] for row in rows)))
    assert len(fields) > 30 and fields <= told, fields - told
