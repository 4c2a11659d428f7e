"""What a virtual machine runs: a daemon on its disk, with submitters until its power is cut, or
alone until all tasks have run. Its argument is a file of JSON that says what; at the end it writes
`result.json` beside it. Uses nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WAIT_SECONDS_MAX = 120.0
# After so long without a run, what is left does not run.
QUIET_SECONDS = 15.0
# In the status of a checker.
CORRECTED = 1


def read_job() -> dict[str, Any]:
    """What this boot is for."""
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    return job


def mount(job: dict[str, Any]) -> None:
    """Mounts the disk, and makes the folder of the spool, which a uWSGI does not.

    ext4 writes its superblock, which has two sectors, in place. One that is torn is put right by
    its checker, as at the boot of any machine.
    """
    disk = Path(job["disk"])
    disk.mkdir(parents=True)
    command = ["mount", "-t", job["kind"], "/dev/vda", os.fspath(disk)]
    is_ext4 = job["kind"] == "ext4"
    if subprocess.run(command, check=not is_ext4).returncode != 0:
        status = subprocess.run(["e2fsck", "-fy", "/dev/vda"], check=False).returncode
        if status & ~CORRECTED:
            sys.exit(f"the file system cannot be put right: status {status}")
        subprocess.run(command, check=True)
        with open("checked", "a") as record:
            record.write("ext4\n")
    spool = Path(job["spool"])
    if not spool.exists():
        # It is older than the load.
        spool.mkdir(mode=0o700)
        os.sync()


def start_daemon(job: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Returns when its workers can run tasks."""
    log = Path("daemon.log")
    with open(log, "wb") as file:
        daemon = subprocess.Popen(
            job["daemon"], env=job["env"], stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    ready = re.compile(job["ready"])
    while len(ready.findall(log.read_text("utf-8", "backslashreplace"))) < job["ready_count"]:
        if daemon.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"the daemon does not start: {daemon.poll()}")
        time.sleep(0.01)
    return daemon


def tasks(spool: Path) -> list[Path]:
    """Pending tasks, of all priorities."""
    return [
        path
        for folder in (spool, *spool.iterdir())
        if folder == spool or (folder.is_dir() and folder.name.isdigit())
        for path in folder.glob("uwsgi_spoolfile_on_*")
    ]


def drain(job: dict[str, Any]) -> int:
    """Waits until no task is left, or, where some may stay, none has run for a while. How many."""
    spool, runs = Path(job["spool"]), Path("runs.log")
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    before, since = None, time.monotonic()
    while left := tasks(spool):
        now = time.monotonic()
        if now > deadline:
            sys.exit(f"{len(left)} tasks are left: {left[:5]}")
        done = runs.stat().st_size if runs.exists() else 0
        if (state := (sorted(left), done)) != before:
            before, since = state, now
        if job["may_leave"] and now - since > QUIET_SECONDS:
            break
        time.sleep(0.02)
    return len(left)


def end(job: dict[str, Any], daemon: subprocess.Popen[bytes], left: int) -> None:
    """Stops the daemon, and says how that went."""
    daemon.send_signal(signal.SIGTERM)
    status = daemon.wait(WAIT_SECONDS_MAX)
    corrupt = len(list((Path(job["spool"]) / "corrupt").glob("*")))
    os.sync()
    result = {"status": status, "corrupt": corrupt, "left": left}
    Path("result.part").write_text(json.dumps(result))
    os.rename("result.part", "result.json")


def main() -> None:
    """One boot."""
    job = read_job()
    mount(job)
    Path("began").write_text(str(time.monotonic_ns()))
    daemon = start_daemon(job)
    for number, plan in enumerate(job["submitters"]):
        env = {**job["env"], "UNSPOOL_SPOOL": job["spool"], "TORTURE_SUBMITTER": json.dumps(plan)}
        with open(f"submitter-{number}.log", "wb") as log:
            subprocess.Popen(
                job["submitter"], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
    if job["submitters"]:
        signal.pause()
    end(job, daemon, drain(job))


if __name__ == "__main__":
    main()
