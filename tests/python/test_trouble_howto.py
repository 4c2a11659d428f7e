"""docs/howto/when-something-goes-wrong.md: its situations, its commands, its answers.

Each test brings about what a section is about, types its commands as printed and looks for the
printed answers, but for what differs each time: ids, times, durations, processes, hosts.
"""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest
from factory import DaemonFactory
from harness import ROOT, UNSPOOL, Daemon, Project
from processes import WAIT_SECONDS_MAX
from spooling import foreign, publish

PAGE = (ROOT / "docs" / "howto" / "when-something-goes-wrong.md").read_text("utf-8")
# The short id that stands for the task that a section is about.
TASK = "5f95ea5a"
LEFT_OUT = "..."

MODULE = """
    import os

    from reporting import pause, report
    from uwsgidecorators import cron, spool, timer


    @timer(3600)
    def tidy(number):
        report("tidy")


    @cron(0, 4, -1, -1, -1)
    def report_sales(number):
        pass


    @spool
    def greet(arguments):
        report("greet")


    @spool
    def bill(arguments):
        print("billing", arguments["customer"], flush=True)
        raise ValueError(f"no customer {arguments['customer']}")


    @spool
    def convert(arguments):
        report("convert")
        pause("convert")


    @spool
    def crash(arguments):
        os.abort()
"""

MASKS = (
    (r"uwsgi_spoolfile_on_[\w.-]*", "NAME"),
    (r"\b[0-9a-f]{32}\b", "LONG"),
    (r"\b[0-9a-f]{8}\b", "SHORT"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?", "TIME"),
    (r"\b(ms|again_s)=[\d.]+", r"\1=N"),
    (r"\b\d[\d.]*( (ms|s|min|h|d)\b)( \d+ (s|min|h)\b)*", "AGE"),
    (r"(process|worker|pid=|Daemon|HUP) ?\d+", r"\1 N"),
    (r"\d+ has run", "N has run"),
    # A machine may have no name.
    (r"(process N) on [^\s,]+", r"\1"),
    (r"\b\d{6,}\b", "N"),
    (r"peak memory \d+", "peak memory N"),
    (r"line \d+", "line N"),
    (r"uid \d+", "uid N"),
    (r"Python 3[\d.]+", "Python 3"),
    (r"(paused by|was paused by) \S+", r"\1 WHO"),
    (r"[ \t]+", " "),
)


def masked(text: str) -> list[str]:
    """Lines without what differs each time, and without empty ones."""
    for pattern, name in MASKS:
        text = re.sub(pattern, name, text)
    return [line.strip() for line in text.splitlines() if line.strip()]


def section(title: str) -> list[tuple[str, list[str]]]:
    """The commands of a section, each with the lines that are printed beneath it."""
    found = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, title
    typed: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```$", found[1], re.DOTALL | re.MULTILINE):
        for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, answer = command.partition("\n")
            typed.append((line, masked(answer)))
    assert typed, title
    return typed


class Trouble:
    """The page's application, and its sections typed in it."""

    def __init__(self, project: Project, daemon: DaemonFactory) -> None:
        self.project = project
        self._daemon = daemon
        self.task: Path | None = None
        project.write("tasks.py", MODULE)
        project.unspool("init", "--only", "unspool.ini", project.root)
        self.environment = {
            **project.env,
            "PATH": f"{UNSPOOL.parent}:/usr/bin:/bin",
            "UNSPOOL_CONFIG": str(project.root / "unspool.ini"),
        }

    def start(self) -> Daemon:
        """The daemon, as the ini has it."""
        return self._daemon("unspool.ini")

    def submit(self, *words: str) -> Path:
        """Submits the task that the section is about."""
        self.task = Path(self.run("unspool spool " + " ".join(words)).strip())
        return self.task

    def run(self, line: str) -> str:
        """A line of shell; what it prints on both."""
        return subprocess.run(
            ["sh", "-c", line],
            cwd=self.project.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WAIT_SECONDS_MAX,
            check=False,
        ).stdout

    def short_id(self) -> str:
        assert self.task is not None
        found = re.search(
            r"^task +[0-9a-f]{24}([0-9a-f]{8})$", self.run(f"unspool show {self.task.name}"), re.M
        )
        assert found is not None
        return found[1]

    def type(self, title: str, first: int = 0, last: int | None = None) -> None:
        """Types commands of a section, and looks for each printed line in its order."""
        short = self.short_id() if self.task is not None else TASK
        for line, expected in section(title)[first:last]:
            printed = self.run(line.replace(TASK, short))
            got = masked(printed.replace(str(self.project.root), "/srv/app"))
            left = iter(got)
            for wanted in expected:
                assert wanted == LEFT_OUT or wanted in left, (
                    f"$ {line}\n{printed}\nhas not, or not there: {wanted!r}\n{got}"
                )


@pytest.fixture
def trouble(project: Project, daemon: DaemonFactory) -> Trouble:
    return Trouble(project, daemon)


def test_nothing_runs(trouble: Trouble) -> None:
    trouble.submit("greet", "name=Ada")
    trouble.type("Nothing runs", 0, 2)
    trouble.run('unspool pause --why "mail server moves"')
    trouble.start()
    trouble.type("Nothing runs", 2)
    trouble.project.events.wait("greet")


def test_one_task_does_not_run(trouble: Trouble) -> None:
    daemon = trouble.start()
    trouble.submit("great", "name=Ada")
    daemon.wait_log("great")
    trouble.type("One task does not run")
    trouble.project.events.wait("greet")


def test_it_runs_late(trouble: Trouble) -> None:
    gate = trouble.project.gate("convert")
    trouble.start()
    for number in range(2):
        trouble.run(f"unspool spool convert n={number}")
    trouble.project.events.collect(2, "convert")
    trouble.submit("greet", "name=Ada")
    trouble.type("It runs late")
    gate.release(2)
    trouble.project.events.wait("greet")


@pytest.mark.parametrize("title", ["It runs twice", "A worker dies"])
def test_a_worker_dies(trouble: Trouble, title: str) -> None:
    daemon = trouble.start()
    trouble.submit("crash", "n=1")
    daemon.wait_log("task failed: its worker was killed")
    trouble.type(title)


def test_it_fails(trouble: Trouble) -> None:
    daemon = trouble.start()
    trouble.submit("bill", "customer=7", "api_key=sesame")
    daemon.wait_log("task failed")
    trouble.type("It fails")
    daemon.wait_output("^billing 8$")


def test_it_hangs(trouble: Trouble) -> None:
    trouble.project.gate("convert")
    trouble.start()
    task = trouble.submit("convert", "n=1")
    trouble.project.events.wait("convert")
    trouble.type("It hangs")
    assert not task.exists()


def test_the_disk_is_full(trouble: Trouble) -> None:
    daemon = trouble.start()
    trouble.submit("--max-attempts", "1", "bill", "customer=7")
    daemon.wait_log("given up")
    assert daemon.stop() == 0
    with (trouble.project.root / "unspool.ini").open("a") as ini:
        ini.write("spooler-min-free = 100 percent\n")
    trouble.type("The disk is full")


def test_the_application_cannot_be_imported(trouble: Trouble) -> None:
    daemon = trouble.start()
    (trouble.project.root / "tasks.py").write_text("x = = 1\n")
    trouble.type("The application cannot be imported", 0, 1)
    daemon.send(signal.SIGHUP)
    daemon.wait_log("SyntaxError")
    trouble.type("The application cannot be imported", 1)
    # The old code goes on.
    trouble.submit("greet", "name=Ada")
    trouble.project.events.wait("greet")


def test_the_bounds_of_memory_are_in_effect(trouble: Trouble) -> None:
    (bounds,) = re.findall(r"^```ini\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    trouble.project.write("bounds.ini", bounds)
    shown = trouble.run("unspool config bounds.ini")
    for line in re.findall(r"^(\S+) = (\d+)$", bounds, re.MULTILINE):
        assert re.search(rf"^{line[0]} += {line[1]} +# \S+:\d+$", shown, re.MULTILINE), shown


def test_too_many_tasks_pile_up(trouble: Trouble) -> None:
    gate = trouble.project.gate("convert")
    trouble.start()
    for number in range(6):
        trouble.run(f"unspool spool convert n={number}")
    trouble.project.events.collect(2, "convert")
    trouble.type("Too many tasks pile up")
    gate.release(6)
    trouble.project.wait_empty()


def test_an_upgrade(trouble: Trouble) -> None:
    daemon = trouble.start()
    title = "I must stop everything for an upgrade"
    trouble.type(title, 0, 1)
    assert daemon.stop() == 0
    trouble.submit("greet", "name=Ada")
    trouble.start()
    trouble.type(title, 1)
    trouble.project.events.wait("greet")


def test_a_task_that_is_needed_back(trouble: Trouble) -> None:
    daemon = trouble.start()
    trouble.submit("--max-attempts", "1", "bill", "customer=7", "api_key=sesame")
    daemon.wait_log("given up")
    assert daemon.stop() == 0
    trouble.type("I need a task back")


def test_after_a_power_cut(trouble: Trouble) -> None:
    daemon = trouble.start()
    daemon.kill_all()
    trouble.submit("greet", "name=Ada")
    trouble.type("After a power cut")
    trouble.start()
    trouble.project.events.wait("greet")


def test_timers_do_not_fire(trouble: Trouble) -> None:
    trouble.start()
    trouble.run("unspool schedule pause tidy --why x")
    trouble.type("Timers do not fire")
    trouble.project.events.wait("tidy")


def test_a_spool_of_uwsgis(trouble: Trouble) -> None:
    folder = trouble.project.spool / "5"
    folder.mkdir(parents=True)
    trouble.project.spool.chmod(0o700)
    publish(folder, "web1_12_1_3_4_5", foreign({b"ud_spool_func": b"greet"}))
    trouble.start()
    trouble.type("A spool of uWSGI's")
    trouble.project.events.wait("greet")


def test_the_table_leads_to_each_section() -> None:
    titles = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    table = PAGE.partition("\n## ")[0]
    links = re.findall(r"^\| .* \| \[(.*)\]\(#(.*)\) \|$", table, re.MULTILINE)
    assert [title for title, _ in links] == titles
    for title, anchor in links:
        assert anchor == re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


def test_local_links_lead_somewhere() -> None:
    folder = ROOT / "docs" / "howto"
    targets = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert targets and [target for target in targets if not (folder / target).exists()] == []
