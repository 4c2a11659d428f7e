"""The application in the foreground, for one command: `unspool replay` and `unspool doctor`.

It is set up and imported as a worker has it, in a process without a daemon: what a task asks of
one goes to the daemon that runs the spool, if there is one. The command passes the daemon's
settings and its own job as one JSON document in a file that it inherits.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pdb
import pickle
import platform
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, TextIO

from unspool import _errors, _functions, _imports, _native, _process, _steps, _surroundings

# Exit statuses, as the command has them.
OK, FAILED, USAGE = 0, 1, 2
# Characters of one argument that are shown.
SHOWN_MAX = 2000


def main() -> None:
    """Does what the document says that its file has; its number is the last argument."""
    with open(int(sys.argv[-1]), encoding="utf-8") as file:
        document = json.load(file)
    setup, job = document["setup"], document["job"]
    setup["daemon_pid"] = os.getpid()
    setup["own_import"] = False
    _surroundings.enter(setup)
    deeds: dict[str, Callable[[dict[str, Any], dict[str, Any]], int]] = {
        "look": _look,
        "replay": _replay,
    }
    status = deeds[job["deed"]](setup, job)
    sys.stdout.flush()
    sys.exit(status)


def _import(setup: dict[str, Any], looks: bool) -> list[dict[str, Any]]:
    """Imports the application. Whoever only looks takes no step that reaches beyond the process."""
    only = _steps.OWN if looks else None
    _steps.take(setup, "pre-app", only)
    failures = _imports.load_all(enumerate(setup["imports"]))
    _steps.take(setup, "post-app", only)
    if setup["chdir2"] is not None:
        os.chdir(setup["chdir2"])
    return failures


def _look(setup: dict[str, Any], job: dict[str, Any]) -> int:
    """Imports the application, and says what came of it, as a line of JSON behind all it prints."""
    failures = _import(setup, looks=True)
    uwsgi = sys.modules.get("uwsgi")
    decorators = sys.modules.get("uwsgidecorators")
    found = {
        "python": platform.python_version(),
        "unspool": _native.__version__,
        "functions": sorted(getattr(decorators, "spooler_functions", {})),
        "handler": getattr(uwsgi, "spooler", None) is not None,
        "failures": failures,
    }
    print(f"\n{json.dumps(found)}", flush=True)
    return OK


def _replay(setup: dict[str, Any], job: dict[str, Any]) -> int:
    with contextlib.ExitStack() as stack:
        answer = None
        if job["json"]:
            answer = stack.enter_context(os.fdopen(os.dup(1), "w"))
            os.dup2(2, 1)
        told: dict[str, Any] = {"task": job["name"]}
        with _watched_exit(told, answer):
            status = _replay_task(setup, job, told)
        sys.stdout.flush()
        return status if answer is None else _write(_as_json(told), answer, status)


@contextlib.contextmanager
def _watched_exit(told: dict[str, Any], answer: TextIO | None) -> Iterator[None]:
    """A task that ends its process has not come to its end, whatever status it gives.

    In a worker it has failed. Processes that it forks may end so.
    """
    leave, pid = os._exit, os.getpid()

    def told_exit(status: int) -> NoReturn:
        if os.getpid() == pid:
            told.update(outcome="exited", status=status)
            text = f"unspool: it ended its process by os._exit({status}): a failed attempt"
            print(text, file=sys.stderr, flush=True)
            if answer is not None:
                _write(_as_json(told), answer, FAILED)
            status = status or FAILED
        leave(status)

    os._exit = told_exit
    try:
        yield
    finally:
        os._exit = leave


def _as_json(told: dict[str, Any]) -> str:
    """As the other commands print it: `dumps` leaves DEL as it is."""
    return json.dumps(told).replace("\x7f", "\\u007f")


def _write(text: str, output: TextIO, status: int) -> int:
    """Prints the answer. The status of a command that ends with `status` if it can be printed."""
    try:
        print(text, file=output, flush=True)
    except BrokenPipeError:
        pass
    except OSError as error:
        print(f"unspool: cannot write to standard output: {error.strerror}", file=sys.stderr)
        status = FAILED
    else:
        return status
    # What is still in the buffer would be an error once more when the interpreter ends.
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), output.fileno())
    return status


def _replay_task(setup: dict[str, Any], job: dict[str, Any], told: dict[str, Any]) -> int:
    failures = _import(setup, looks=job["dry_run"])
    for failure in failures:
        print(_printable(failure["traceback"].rstrip()), file=sys.stderr)
        print(f"unspool: `{failure['target']}` cannot be imported", file=sys.stderr)
    if failures:
        told.update(outcome="not imported", failures=failures)
        return FAILED
    _process.become_foreground()
    name = job["name"].encode("utf-8", "surrogateescape")
    task = _native.begin_task(name, base64.b64decode(job["task"]))
    if job["dry_run"]:
        return _show(task, told, printed=not job["json"])
    folder = setup["spooler_chdir"] or job["folder"]
    if folder is not None:
        os.chdir(folder)
    return _run(task, job["pdb"], told)


def _run(task: dict[Any, Any], debug: bool, told: dict[str, Any]) -> int:
    import uwsgi

    handler = getattr(uwsgi, "spooler", None)
    if handler is None:
        told.update(outcome="no handler")
        print(
            "unspool: the application has set no handler: name what it imports with a "
            "configuration, or with --import",
            file=sys.stderr,
        )
        return FAILED
    began = time.monotonic()
    try:
        result = handler(task)
    except BaseException as error:
        shown = _errors.of_application(error.__traceback__)
        lines = traceback.format_exception(type(error), error, shown)
        told.update(
            outcome="raised",
            duration_s=time.monotonic() - began,
            error=lines[-1].strip(),
            traceback="".join(lines),
        )
        print(_printable("".join(lines)), end="", file=sys.stderr)
        if debug and not isinstance(error, KeyboardInterrupt):
            sys.stderr.flush()
            pdb.post_mortem(shown)
        return FAILED
    names = {-2: "SPOOL_OK: done", -1: "SPOOL_RETRY: it asks to run again", 0: "SPOOL_IGNORE"}
    words = {-2: "done", -1: "retry", 0: "ignored"}
    told.update(
        outcome=words.get(result, "failed"),
        duration_s=time.monotonic() - began,
        returned=_shown(result),
    )
    returned = names.get(result) or _printable(repr(result))
    print(f"unspool: it returned {returned}", file=sys.stderr)
    return OK if result == -2 else FAILED


def _show(task: dict[Any, Any], told: dict[str, Any], printed: bool) -> int:
    """Shows the call, and where its function is."""
    try:
        place, call = _call(task)
    except Exception as error:
        # No such function, or pickles that cannot be loaded.
        why = str(error) or type(error).__name__
        told.update(outcome="not shown", error=why)
        print(f"unspool: the call cannot be shown: {_printable(why)}", file=sys.stderr)
        return FAILED
    told.update(outcome="not run", place=place, call=call)
    return _write(_printable(f"# {place}\n{call}"), sys.stdout, OK) if printed else OK


def _call(task: dict[Any, Any]) -> tuple[str, str]:
    """Where the function of a task is, and how it is called."""
    import uwsgi

    handler = getattr(uwsgi, "spooler", None)
    # It sets one of its own where there is none.
    import uwsgidecorators

    message, module = _native.decoded(task)
    function: Callable[..., Any]
    if handler is None or handler is uwsgidecorators.manage_spool_request:
        function, decorated = uwsgidecorators._meant(message.get("ud_spool_func", ""), module)
    else:
        function, decorated = handler, None
    name = f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', '?')}"
    raw = decorated is not None and decorated.pass_arguments
    if raw and "args" in message and "kwargs" in message:
        _native.check_pickles()
        arguments, keywords = pickle.loads(task[b"args"]), pickle.loads(task[b"kwargs"])
    elif raw:
        ours = uwsgidecorators._OURS
        arguments, keywords = (), {k: v for k, v in message.items() if k not in ours}
    else:
        arguments, keywords = (_hidden(message),), {}
    parts = [_shown(value) for value in arguments]
    # A name and its value, as in a pair anywhere else.
    if len(arguments) == 2 and _is_secret(arguments[0]):
        parts[1] = "***"
    parts += [f"{key}={_shown(value)}" for key, value in _hidden(keywords).items()]
    return _functions.place(function), f"{name}({', '.join(parts)})"


def _hidden(values: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: "***" if _is_secret(key) else value for key, value in values.items()}


def _is_secret(key: object) -> bool:
    return isinstance(key, str) and _native.is_secret_name(key)


def _shown(value: object) -> str:
    """Like `repr`, without secrets and what is too long."""
    text = _native.without_secrets(repr(value))
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}... ({len(text)} characters)"


def _printable(text: str) -> str:
    """The text with what a terminal would obey spelled out, as the command itself does it."""
    obeyed = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
    spelled = obeyed.sub(lambda found: f"\\u{{{ord(found[0]):x}}}", text)
    return _errors.encodable(spelled)


if __name__ == "__main__":
    main()
