"""Starts the real uWSGI and unspool on one spool, as writer and as runner of tasks.

Owns what differs between the two command lines; the tests only say which of the two does what.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from harness import PYTHON, REAL_UWSGI, SUPPORT, UNSPOOL, Daemon, HarnessError, Project

APPS = Path(__file__).resolve().parent / "apps"
WRITER = APPS / "writer.py"

System: TypeAlias = Literal["uwsgi", "unspool"]
# A function of `uwsgi` or a task of `interop_tasks`, its arguments and its keyword arguments.
Call: TypeAlias = tuple[str, tuple[Any, ...], dict[str, Any]]


class Both:
    """One project on which either system writes and runs; ends all that it started."""

    def __init__(self, project: Project) -> None:
        self.project = project
        project.spool.mkdir(mode=0o700, exist_ok=True)
        project.env["PYTHONDONTWRITEBYTECODE"] = "1"
        self._started: list[Daemon] = []
        self._lists = 0

    def _start(self, command: Path, *arguments: str, env: Mapping[str, str]) -> Daemon:
        daemon = Daemon(
            *arguments,
            cwd=self.project.root,
            env={**self.project.env, **env},
            command=(command,),
        ).start()
        self._started.append(daemon)
        return daemon

    def _uwsgi(self, *arguments: str, env: Mapping[str, str]) -> Daemon:
        return self._start(
            REAL_UWSGI,
            "--master",
            "--die-on-term",
            f"--virtualenv={REAL_UWSGI.parent.parent}",
            f"--pythonpath={SUPPORT}",
            f"--pythonpath={APPS}",
            *arguments,
            env=env,
        )

    def _writer_env(
        self, writer: System, calls: Sequence[Call], gate: str | None = None
    ) -> dict[str, str]:
        self._lists += 1
        path = self.project.root / f"calls-{self._lists}"
        path.write_bytes(pickle.dumps(list(calls)))
        env = {"INTEROP_CALLS": str(path), "INTEROP_WRITER": writer}
        return env if gate is None else {**env, "INTEROP_GATE": gate}

    def write(self, writer: System, *calls: Call) -> list[Path]:
        """Makes the calls in a process of this system while it runs nothing."""
        env = self._writer_env(writer, calls)
        if writer == "uwsgi":
            child = self._uwsgi(
                # The import ends the process before it would start the spooler.
                f"--spooler={self.project.spool}",
                f"--import={WRITER}",
                env={**env, "INTEROP_EXIT": "1"},
            )
        else:
            child = self._unspool_writer(env)
        wrote = self.project.events.wait(
            lambda event: event.name == "wrote" and event["by"] == writer
        )
        status = child.wait_exit()
        if wrote["error"] or status != 0:
            raise HarnessError(f"{writer}: {wrote['error']} (status {status})\n{child.describe()}")
        return [Path(path.decode()) for path in wrote["paths"]]

    def _unspool_writer(self, env: Mapping[str, str]) -> Daemon:
        spool = {"UNSPOOL_SPOOL": str(self.project.spool)}
        paths = {"PYTHONPATH": f"{SUPPORT}:{APPS}"}
        return self._start(PYTHON, str(WRITER), env={**env, **spool, **paths})

    def run(
        self,
        runner: System,
        module: str,
        *options: str,
        processes: int = 1,
        submits: tuple[str, Sequence[Call]] | None = None,
        adopt: str = "run",
    ) -> Daemon:
        """Starts a daemon of this system with a module of `apps`, and waits until it is up.

        unspool adopts what is there at its first start, unless `adopt` is empty: then it asks.
        `submits` names a gate and what a process of this system submits once it is released.
        """
        common = [
            f"--spooler={self.project.spool}",
            f"--spooler-processes={processes}",
            f"--spooler-import={module}",
            "--spooler-frequency=1",
            *options,
        ]
        env: dict[str, str] = {"INTEROP_DAEMON": runner}
        writer_env = {} if submits is None else self._writer_env(runner, submits[1], submits[0])
        if runner == "uwsgi":
            # Only a process of its own instance can wake its spooler.
            mule = [] if submits is None else [f"--mule={WRITER}"]
            daemon = self._uwsgi(*common, *mule, env={**env, **writer_env})
            daemon.wait_log("spawned the uWSGI spooler")
            return daemon
        if submits is not None:
            self._unspool_writer(writer_env)
        paths = [f"--pythonpath={SUPPORT}", f"--pythonpath={APPS}"]
        if adopt:
            common.append(f"--spooler-adopt={adopt}")
        return self._start(UNSPOOL, "run", *paths, *common, env=env).wait_ready()

    def stop(self) -> None:
        """Stops every daemon that still runs; each must end as asked."""
        for daemon in self._started:
            if daemon.running:
                status = daemon.stop()
                if status != 0:
                    raise HarnessError(f"status {status} at SIGTERM\n{daemon.describe()}")

    def close(self) -> None:
        """Kills what is left."""
        for daemon in self._started:
            daemon.close()
