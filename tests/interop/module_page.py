"""Writes docs/reference/uwsgi-module.md from what real processes answer.

`.venv/bin/python tests/interop/module_page.py` writes it anew; `test_module_page` compares.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "python")]

from both import APPS, Both
from harness import PYTHON, ROOT, SUPPORT, Event, Project
from module_kinds import ABSENT, QUESTIONS
from spooling import foreign, publish

PAGE = ROOT / "docs/reference/uwsgi-module.md"
OPTIONS = (
    "--cache2=name=default,items=10",
    "--queue=4",
    "--metric=mine",
    "--mode=fast",
    "--pidfile=the.pid",
    "--mule=interop_kinds:mule",
    "--farm=pair:1",
)
HERE = str(Path(__file__).resolve().parent)

INTRODUCTION = """\
# The module `uwsgi`

Written by `tests/interop/module_page.py` from what real processes answer, unspool's and those of
uWSGI 2.0.31; `make test` compares. Do not edit it.

`import uwsgi` works in every process that has a spool configured. In all others it raises
`ModuleNotFoundError`. The types of all arguments and results are in the stub `uwsgi.pyi`, which the
wheel installs; what is meant to differ is in [the list of differences](../uwsgi-differences.md).

## What it means in each kind of process

The configuration has a spool, a mule, a cache, a queue and a metric. A *producer* is any process
that is configured and not started by the daemon: a web application, a console. *Importing* is the
process that imports the application, before its workers are forked: unspool's zygote. A *signal
worker* runs the handlers of timers, crons and signals. Signals, timers and crons that a producer
registers are recorded and nothing more. Its messages to mules go through the daemon.
"""

SHARED = """
## Caches, queue, metrics, locks

They are shared by all processes whose first spool is the same directory: the daemon's workers, and
producers such as a web application under another server. They lie in an SQLite file in the spool's
internals, which is written without flushes: they survive the death of any process, not a power cut.

They are emptied when the machine starts, and when a daemon starts while no living process uses
them, neither another daemon nor a producer. So they end with an application that is stopped as a
whole, as uWSGI's memory does, and a web application that runs on does not lose them because the
daemon beside it is started anew. A reload keeps them. A cache or queue with `store` is kept in a
second file until it is cleared.

A call waits 5 seconds at most for other processes, then raises `RuntimeError` with the file's path.
A process opens the file at its first call, and a forked child its own. On two cores under load one
process did 80,000 gets, 30,000 updates and 40,000 increments a second (100 bytes).

Without a spool there is no place for them, so in a daemon of timers alone `cache_*`, `metric_*` and
`lock` are absent. `queue_*` are there where the configuration has a `queue`: the process's own or,
in a producer that is configured by nothing but its spool, that of the daemon that used them last.

Options: `cache2` (`name`, `items`, `blocksize`, `blocks`, `bitmap`, `keysize`, `purge_lru`,
`clear_on_full`, `no_expire`, `math_initial`, `store`), `cache`, `cache-blocksize`,
`cache-no-expire`, `cache-store`, `queue`, `queue-blocksize`, `queue-store`, `metric` (`name`,
`initial_value`, `type=alias`, `alias`), `enable-metrics`, `locks`. Other keys of `cache2` and
`metric` are accepted without effect.
"""

ELSEWHERE = """## Other machines

`spool` and `send_to_spooler` take the address of a spooler that listens as the value of `spooler`,
also with `b"..."` keys and values, and in calls of decorated functions. They return `ADDRESS/ID` as
bytes, of a real uWSGI the address alone. `spooler` itself is not sent: the task goes to the
receiver's first spool.

`send_message`, which uWSGI had up to 1.4, sends any uwsgi packet:
`send_message(destination, modifier1, modifier2, message, timeout, fd, content_length, **pairs)`.

[Tasks over the network](../howto/network.md) has addresses, keys and errors of both.
"""


class Kinds:
    """The kinds of processes, by the heading of their column, and what they answered."""

    def __init__(self) -> None:
        self.answers: dict[str, list[str]] = {}
        self.names: dict[str, set[str]] = {}

    def add(self, column: str, event: Event, daemon: int) -> None:
        """Notes the answers of a process; `daemon` is the one that it has, or 0."""
        self.names[column] = set(event["names"])
        self.answers[column] = [
            _shown(question.show, outcome, event.pid, daemon)
            for question, outcome in zip(QUESTIONS, event["answers"], strict=True)
        ]


def _shown(show: str, outcome: tuple[str, Any], own: int, daemon: int) -> str:
    kind, value = outcome
    if kind.startswith("!"):
        return kind[1:]
    if show == "type":
        return kind
    if show == "process" and value:
        if value not in (own, daemon):
            return "a worker's"
        return "its own" if value == own else "the daemon's"
    return f"`{value!r}`"


def ask() -> Kinds:
    """Asks every kind of process."""
    kinds = Kinds()
    _ask_unspool(kinds)
    _ask_uwsgi(kinds)
    return kinds


def _project() -> tuple[Project, Both]:
    project = Project()
    project.env["PYTHONPATH"] = os.pathsep.join((str(SUPPORT), str(APPS), HERE))
    project.write("app.ini", "[uwsgi]\nspooler = spool\n" + "\n".join(o[2:] for o in OPTIONS))
    return project, Both(project)


def _ask_unspool(kinds: Kinds) -> None:
    project, both = _project()
    try:
        env = {**project.env, "UNSPOOL_CONFIG": "app.ini", "INTEROP_KIND": "producer"}
        project.run(PYTHON, "-c", "import interop_kinds", env=env)
        kinds.add("producer, no daemon", project.events.wait("producer"), 0)
        publish(project.spool, "ask", foreign({b"key": b"value"}))
        daemon = both.run("unspool", "interop_kinds", *OPTIONS, f"--pythonpath={HERE}")
        kinds.add("importing", project.events.wait("import"), daemon.pid)
        kinds.add("spooler worker", project.events.wait("spooler"), daemon.pid)
        kinds.add("signal worker", project.events.wait("signal"), daemon.pid)
        kinds.add("mule", project.events.wait("mule"), daemon.pid)
        project.run(PYTHON, "-c", "import interop_kinds", env=env)
        kinds.add("producer beside a daemon", project.events.wait("producer"), daemon.pid)
        both.stop()
    finally:
        both.close()
        project.close()


def _ask_uwsgi(kinds: Kinds) -> None:
    project, both = _project()
    try:
        publish(project.spool, "ask", foreign({b"key": b"value"}))
        daemon = both.run("uwsgi", "interop_kinds", *OPTIONS, f"--pythonpath={HERE}")
        kinds.add("uWSGI's spooler", project.events.wait("spooler"), daemon.pid)
        kinds.add("uWSGI's mule", project.events.wait("mule"), daemon.pid)
        both.stop()
    finally:
        both.close()
        project.close()


COLUMNS = (
    "producer, no daemon",
    "producer beside a daemon",
    "importing",
    "spooler worker",
    "signal worker",
    "mule",
    "uWSGI's spooler",
    "uWSGI's mule",
)
OURS = COLUMNS[:-2]


def page(kinds: Kinds) -> str:
    """The whole page."""
    lines = [INTRODUCTION, "| | " + " | ".join(COLUMNS) + " |", "|---" * (1 + len(COLUMNS)) + "|"]
    for number, question in enumerate(QUESTIONS):
        cells = " | ".join(kinds.answers[column][number] for column in COLUMNS)
        lines.append(f"| `{question.expression.removeprefix('uwsgi.')}` | {cells} |")
    lines.append(SHARED)
    lines.append(ELSEWHERE)
    lines.append("## Every name\n")
    lines.append("`dir(uwsgi)` in a spooler of uWSGI with these options, and what becomes of each.")
    lines.append("The module of uWSGI has the same names in its web workers and mules.\n")
    lines += ["| | unspool |", "|---|---|"]
    ours, theirs = kinds.names["spooler worker"], kinds.names["uWSGI's spooler"]
    for name in sorted(theirs, key=str.lower):
        lines.append(f"| `{name}` | {'the same' if name in ours else ABSENT[name]} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(ask()), "utf-8")
