"""The cases of the configuration corpus: which file, with which arguments and variables.

Every file directly in ``config_corpus`` is a case, loaded as its ending says; this module adds what
a file alone does not say, and where the two are meant to differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "config_corpus"
VARIABLES = {
    "CORPUS_HOME": "/srv/home",
    "CORPUS_EMPTY": "",
    "CORPUS_MODE": "production",
    "CORPUS_MODULE": "site.wsgi",
    "CORPUS_PROCESSES": "4",
    "CORPUS_SPOOL": "spool-docker",
    "CORPUS_SIGNS": "a;b#c %(d) $(e)",
}
FAILS = "refused"
Values = list[str]


@dataclass(frozen=True)
class Difference:
    """What uWSGI and unspool make of one case, by option, and where the documentation says so."""

    documented: str
    uwsgi: Mapping[str, Values] | str = FAILS
    unspool: Mapping[str, Values] | str = FAILS


@dataclass(frozen=True)
class Case:
    """One configuration; ``{}`` stands for nothing but the usual variables."""

    name: str
    arguments: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    differs: Difference | None = None


LOADERS = {".ini": "--ini", ".yaml": "--yaml", ".yml": "--yml", ".xml": "--xml", ".json": "--json"}

FILLED_IN = "Placeholders are filled in in values of `set-placeholder`"
REAL_YAML = "YAML is YAML"
NUMBER = "A number must be one"
APPLICATION = "`FILE.py` and `MODULE:CALLABLE` work as arguments"

DIFFERENCES: dict[str, Difference] = {
    "bom.ini": Difference(
        "A byte order mark at the start of a file is passed over",
        uwsgi={},
        unspool={"name": ["x"]},
    ),
    "include-placeholder.ini": Difference(
        "The name of a file to load may hold placeholders", unspool={}
    ),
    "include-section.ini": Difference("`FILE:SECTION` works everywhere", unspool={}),
    "section of a positional ini": Difference("`FILE:SECTION` works everywhere", unspool={}),
    "inherit-placeholder.ini": Difference(
        "Placeholders are filled in in inherited options",
        uwsgi={"path": ["/srv/%(name)"]},
        unspool={"path": ["/srv/x"]},
    ),
    "latin1-value.ini": Difference(
        "Files are UTF-8", uwsgi={"ini": ["latin1-value.ini"], "a": ["caf\udce9"]}
    ),
    "lists.yaml": Difference(REAL_YAML, uwsgi={}, unspool={"env": ["A=1", "B=2"], "b": ["2"]}),
    "quoted.yaml": Difference(
        REAL_YAML,
        uwsgi={"quoted": ['"a b"'], "hash": ["a"]},
        unspool={"quoted": ["a b"], "hash": ["a#b"]},
    ),
    "number-letters.ini": Difference(
        NUMBER, uwsgi={"ini": ["number-letters.ini"], "spooler-processes": ["four"]}
    ),
    "for-missing-file.ini": Difference(
        "A file of `for-readline` that is missing is an error", uwsgi={}
    ),
    "route.ini": Difference("Options of uWSGI built with PCRE or libcap", unspool={}),
    "simple.json": Difference("JSON files are read", unspool={}),
    "timers.ini": Difference(
        "`uwsgi.opt` has the values of `cron2` whole",
        uwsgi={"cron2": ["minute=0,hour=5,unique=1"]},
        unspool={"cron2": ["minute=0,hour=5,unique=1 /bin/true"]},
    ),
    "set.ini": Difference(
        FILLED_IN,
        uwsgi={"c": ["%(a)%(b)"], "d": ["%(a)2"], "e": ["%(a)2"]},
        unspool={"c": ["12"], "d": ["12"], "e": ["12"]},
    ),
    "placeholder of the command line": Difference(
        FILLED_IN,
        uwsgi={"c": ["%(a)%(b)"], "d": ["%(a)2"], "e": ["%(a)2"]},
        unspool={"c": ["12"], "d": ["12"], "e": ["12"]},
    ),
    "placeholder in an argument": Difference(
        FILLED_IN, uwsgi={"b": ["%(a)$(CORPUS_HOME)"]}, unspool={"b": ["1/srv/home"]}
    ),
    "several files": Difference(
        FILLED_IN,
        uwsgi={"d": ["4", "%(a)2"], "c": ["%(a)%(b)"]},
        unspool={"d": ["4", "12"], "c": ["12"]},
    ),
    "application by module": Difference(APPLICATION, unspool={}),
    "application by file": Difference(APPLICATION, unspool={}),
}

COMMAND_LINES: dict[str, tuple[str, ...]] = {
    "positional ini": ("bare-keys.ini",),
    "section of a positional ini": ("sections.ini:other",),
    "positional yaml": ("simple.yaml",),
    "positional yml": ("four.yml",),
    "positional xml": ("simple.xml",),
    "section of an ini": ("--ini", "sections.ini:other"),
    "section without a name": ("--ini", "sections.ini:"),
    "section of a yaml": ("--yaml", "simple.yaml:other"),
    "section that loads": ("--ini", "development.ini:production"),
    "long options": ("--master", "--processes", "4", "--spooler-frequency=2", "--vacuum"),
    "short options": ("-M", "-p", "2", "-Hvenv", "-w", "site.wsgi"),
    "short options in a row": ("-Mp4",),
    "beginning of a name": ("--spooler-proc", "2", "--enable-thr"),
    "ambiguous beginning": ("--spooler-p", "2"),
    "unknown option": ("--spooler-proceses", "2"),
    "missing value": ("--spooler",),
    "value for a switch": ("--master=true",),
    "options around a file": ("--set-ph", "base=/x", "--ini", "repeated.ini", "--master"),
    "file, then options": ("repeated.ini", "--set-ph", "late=1"),
    "placeholder of the command line": ("--set-placeholder", "k=v", "--ini", "set.ini"),
    "magic on the command line": ("--set-ph", "a=%d %n", "--set-ph", "b=100%"),
    "placeholder in an argument": ("--set-ph", "a=1", "--set-ph", "b=%(a)$(CORPUS_HOME)"),
    "application by module": ("site.wsgi:application",),
    "application by file": ("app.py",),
    "neither file nor option": ("nothing",),
    "bracket": ("[x]", "--master"),
    "logic on the command line": (
        "--if-env",
        "CORPUS_MODE",
        "--set",
        "m=%(_)",
        "--endif",
        "--master",
    ),
    "missing file": ("--ini", "no-such.ini"),
    "several files": ("--ini", "bare-keys.ini", "--ini", "sections.ini", "set.ini"),
    "last ini again": ("--ini", "development.ini", "--ini", ":production"),
    "optional value": ("--chmod-socket", "--chmod-socket=660", "-C"),
    "dashes": ("--", "bare-keys.ini"),
}

VARIABLE_CASES: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "variable": ((), {"UWSGI_SPOOLER_PROCESSES": "2", "UWSGI_MASTER": "true"}),
    "variable before a file": (("--ini", "if-opt.ini"), {"UWSGI_MODE": "slow"}),
    "variable with a file": ((), {"UWSGI_INI": "repeated.ini"}),
    "variable unknown": ((), {"UWSGI_MY_OWN": "1"}),
    "variable under strict": (("--ini", "strict.ini"), {"UWSGI_MY_OWN": "1"}),
    "variables of uWSGI itself": ((), {"UWSGI_RELOADS": "1", "UWSGI_ORIGINAL_PROC_NAME": "x"}),
    "variable in lower case": ((), {"UWSGI_master": "true", "uwsgi_processes": "3"}),
    "variable without a value": ((), {"UWSGI_MASTER": ""}),
    "variable with a placeholder": ((), {"UWSGI_CHDIR2": "$(CORPUS_HOME)/%(x)", "UWSGI_X": "1"}),
}


def _loading(path: Path) -> tuple[str, ...]:
    return (LOADERS[path.suffix], path.name)


def all_cases() -> list[Case]:
    """Every case, files first."""
    files = sorted(path for path in CORPUS.iterdir() if path.is_file())
    found: list[tuple[str, tuple[str, ...], dict[str, str]]]
    found = [(path.name, _loading(path), {}) for path in files]
    found += [(name, arguments, {}) for name, arguments in COMMAND_LINES.items()]
    found += [(name, arguments, env) for name, (arguments, env) in VARIABLE_CASES.items()]
    return [Case(name, args, env, DIFFERENCES.get(name)) for name, args, env in found]
