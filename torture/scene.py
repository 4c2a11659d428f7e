"""One daemon, one spool, and what a fault is shown with: submissions that are taken or refused."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from harness import Daemon, HarnessError, Project

from torture.oracle import Oracle, Verdict
from torture.systems import Plan, Unspool

WAIT_SECONDS_MAX = 40.0
# The start of the names of files that a test makes and that are no tasks.
NO_TASK = "uwsgi_spoolfile_on_torn_"
# What a submitter ends with that was refused.
REFUSED = 3


class Scene:
    """Ends all that it started; failures carry the daemon's log."""

    def __init__(
        self, spool: Path | None = None, workers: int = 2, system: type[Unspool] = Unspool,
        options: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.project = Project()
        if spool is not None:
            self.project.spool = spool
        self.oracle = Oracle(self.project.root)
        self.system = system(self.project, workers, *options)
        self.daemons: list[Daemon] = []
        self._submitters = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[Scene]:
        """With a daemon that is ready; whatever fails is told with its log."""
        try:
            self.start()
            yield self
        except HarnessError as error:
            log = self.daemon.describe() if self.daemons else ""
            raise HarnessError(f"{error}\n{log}") from error
        finally:
            for daemon in self.daemons:
                daemon.close()
            self.project.close()

    def start(self) -> Daemon:
        """Starts a daemon, the first or another one."""
        self.daemons.append(self.system.daemon().start())
        self.system.wait_ready(self.daemon)
        return self.daemon

    @property
    def daemon(self) -> Daemon:
        """The one that was started last."""
        return self.daemons[-1]

    def submitter(self, count: int, **options: Any) -> subprocess.Popen[bytes]:
        """A process that submits so many tasks; the options are those of a `Plan`."""
        self._submitters += 1
        name = f"s{self._submitters}"
        record = os.fspath(self.project.root / f"acknowledged-{name}")
        return self.system.submitter(
            Plan(name=name, seed=self._submitters, record=record, count=count, **options)
        )

    def submit(self, count: int, **options: Any) -> None:
        """Submits; all must be taken."""
        status, said = end(self.submitter(count, **options))
        if status != 0:
            raise HarnessError(f"a submission failed with status {status}: {said}")

    def refused(self, why: str, **options: Any) -> None:
        """Submits one task, which must be refused with a text that says why."""
        status, said = end(self.submitter(1, **options))
        if status != REFUSED:
            raise HarnessError(f"a submission got in: {options}")
        if type(self.system) is Unspool and ("SpoolError: " not in said or why not in said):
            raise HarnessError(f"a refusal does not say {why!r}: {said}")

    def wait(self, holds: Callable[[], bool], what: str) -> None:
        """Waits until that is so; the daemon must live."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not holds():
            if not self.daemon.running:
                raise HarnessError("the daemon ended")
            if time.monotonic() > deadline:
                raise HarnessError(f"not within {WAIT_SECONDS_MAX:g} s: {what}")
            time.sleep(0.02)

    def count(self, what: str) -> int:
        """Tasks of which the record has such a line."""
        return len({name for kind, name, *_ in self.oracle.lines() if kind == what})

    def wait_begun(self, count: int) -> None:
        """Waits until so many tasks have begun."""
        self.wait(lambda: self.count("b") >= count, f"{count} tasks have begun")

    def wait_ended(self, count: int) -> None:
        """Waits until so many tasks have run to their end."""
        self.wait(lambda: self.count("e") >= count, f"{count} tasks have ended")

    def wait_gone(self) -> None:
        """Waits until no task is left. What uWSGI leaves of refused ones has no byte."""

        def gone() -> bool:
            try:
                return not [path for path in self.project.tasks() if path.stat().st_size]
            except FileNotFoundError:
                return False

        self.wait(gone, "no task is left")

    def let_go(self) -> None:
        """Lets tasks of the kind `held` end, now and later."""
        (self.project.root / "go").touch()

    def first_run_since(self, when: float) -> float:
        """Seconds from then, on the monotonic clock, until a task began."""
        return min(at for what, _, _, at in self.oracle.lines() if what == "b" and at > when) - when

    def finish(
        self, kills_explain: bool = True, asides: bool = False, orphans: Collection[Path] = (),
        must_hold: bool = True,
    ) -> Verdict:  # fmt: skip
        """Stops the daemon, judges, and sees that nothing is left behind.

        `asides` may be, if submitters could not remove what they had begun: it has a hidden name,
        and is collected when it is a day old. So may those `orphans`. What need not hold is counted
        and no error.
        """
        if (status := self.daemon.stop()) != 0:
            raise HarnessError(f"status {status} at the stop")
        judge = self.oracle.check if must_hold else self.oracle.judge
        verdict = judge(kills_explain)
        left = [
            path
            for path in self.left()
            if not (asides and path.name.startswith(".")) and path not in orphans
        ]
        if type(self.system) is Unspool and left:
            raise HarnessError(f"left behind: {left[:5]}")
        return verdict

    def orphans(self) -> set[Path]:
        """Records of attempts without a task, which are collected when they are old: a disk that
        failed may have kept the deletion of a task without that of its record.
        """
        names = {path.name for path in self.project.tasks()}
        attempts = self.project.spool / ".unspool" / "attempts"
        return {path for path in attempts.glob("*") if path.name not in names}

    def left(self) -> list[Path]:
        """Files of tasks, and of submissions, in any folder, but for those that were none."""
        return [
            path
            for path in self.project.spool.rglob("*uwsgi_spoolfile_on_*")
            if path.is_file() and not path.name.startswith(NO_TASK)
        ]


def end(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """The status of a submitter, and its errors."""
    try:
        _, said = process.communicate(timeout=WAIT_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise HarnessError("a submission does not return") from None
    return process.returncode, (said or b"").decode()
