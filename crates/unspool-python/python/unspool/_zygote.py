"""The zygote: imports the application once and forks workers when the daemon asks.

Owns the process that the daemon starts with a control socket as its standard input, and nothing
else: what a worker does is in ``_worker``, what the application registers in ``_signals``. The
protocol is one JSON object per packet; ``docs/design/worker-protocol.md`` specifies it.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
import threading
from typing import Any, NoReturn

from unspool import (
    _errors,
    _imports,
    _limits,
    _lines,
    _mule,
    _mules,
    _output,
    _process,
    _requests,
    _signals,
    _sources,
    _titles,
    _unarmed,
    _worker,
)
from unspool._native import ConfigError

PACKET_BYTES = 128 * 1024
PROTOCOL_VERSION = 1
# A worker's socket, its slots file, its spool directory and the memory of its output.
DESCRIPTORS = 4
# Ends of queues in one packet.
QUEUE_DESCRIPTORS = 64


def main() -> None:
    """Runs the zygote until the daemon closes the control socket."""
    # A session of its own: Ctrl-C on the daemon's terminal is the daemon's business.
    os.setsid()
    _limits.show_tracebacks()
    _output.install()
    control = _take_control_socket()
    setup, descriptors = _receive(control)
    if setup is None:
        return
    if setup["version"] != PROTOCOL_VERSION:
        sys.exit(
            f"unspool: the daemon speaks protocol {setup['version']} and the Python package "
            f"{PROTOCOL_VERSION}: install the same version of both"
        )
    _requests.connect(descriptors[0])
    _mules.connect(setup, _receive_queues(control, setup))
    _prepare(setup)
    if setup["autoreload"]:
        _sources.record(setup["autoreload_ignore"])
    failures = _import_application(setup["imports"])
    if setup["chdir2"] is not None:
        os.chdir(setup["chdir2"])
    if setup["autoreload"]:
        _sources.note_modules()
        _send_parts(control, "sources", _sources.news())
    _send_parts(control, "monitors", _signals.monitors())
    _send(control, {"type": "ready", "failures": failures, **_registered()})
    # What exists now is shared with all workers: keep the collector from touching its pages.
    gc.collect()
    gc.freeze()
    _serve(control, setup)


def _receive_queues(control: socket.socket, setup: dict[str, Any]) -> list[int]:
    descriptors: list[int] = []
    while len(descriptors) < _mules.descriptors_of(setup):
        packet, more = _receive(control, QUEUE_DESCRIPTORS)
        if packet is None or not more:
            sys.exit("unspool: the daemon has sent no queues for its mules")
        descriptors += more
    return descriptors


def _take_control_socket() -> socket.socket:
    control = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as null:
        os.dup2(null.fileno(), 0)
    return control


def _prepare(setup: dict[str, Any]) -> None:
    for name, value in setup["env"]:
        os.environ[name] = value
    for name in setup["unenv"]:
        os.environ.pop(name, None)
    if setup["chdir"] is not None:
        os.chdir(setup["chdir"])
    # As in uWSGI, which puts each in front of those before it.
    sys.path[:0] = [*reversed(setup["pythonpath"]), ".", ""]
    _titles.configure(setup["titles"])
    _titles.show("unspool zygote")
    arguments = dict(setup["opt"]).get("pyargv") or ""
    sys.argv = ["uwsgi", *(word for word in arguments.split(" ") if word)]
    _lines.configure(setup["lines"])
    try:
        _process.configure_daemon_child(setup)
    except ConfigError as error:
        sys.exit(f"unspool: {error}")


def _import_application(imports: list[dict[str, Any]]) -> list[dict[str, str]]:
    failures = []
    for item in imports:
        try:
            _imports.load(item["kind"], item["target"], item["callable"])
        except BaseException:
            failures.append({"target": item["target"], "traceback": _traceback()})
    return failures


def _traceback() -> str:
    text = _errors.told()
    return text if len(text) <= 16_384 else text[:8192] + "\n[...]\n" + text[-8192:]


def _registered() -> dict[str, Any]:
    decorators = sys.modules.get("uwsgidecorators")
    functions = sorted(getattr(decorators, "spooler_functions", {}))
    threads = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
    return {
        "functions": functions[:1000],
        "threads": threads[:100],
        "remarks": [*_remarks(decorators), *_unarmed.remarks()],
        **_signals.snapshot(),
    }


def _remarks(decorators: Any) -> list[str]:
    """What a user should hear about the application, a sentence each."""
    if decorators is None or hasattr(decorators, "check_pickles"):
        return []
    # The package `uwsgi` installs a file of this name too: the one installed last is there.
    return [
        f"the module uwsgidecorators is not unspool's own but {decorators.__file__}: it fails for "
        "ever on values that are no UTF-8 and knows no task by its module; install unspool again, "
        "`pip install --force-reinstall --no-deps unspool`"
    ]


def _serve(control: socket.socket, setup: dict[str, Any]) -> None:
    while True:
        request, descriptors = _receive(control)
        if request is None:
            # So the daemon knows that it has heard of all forks.
            control.close()
            return
        if request["type"] == "fork":
            # Only a worker returns True, when it is time for its process to end.
            if _fork(control, setup, request, descriptors):
                return


def _fork(
    control: socket.socket, setup: dict[str, Any], request: dict[str, Any], descriptors: list[int]
) -> bool:
    """Forks twice, so that the worker becomes a child of the daemon. True in the worker."""
    answer, question = os.pipe()
    try:
        middle = os.fork()
    except OSError as error:
        for descriptor in (answer, question, *descriptors):
            os.close(descriptor)
        _send(control, {"type": "failed", "worker": request["worker"], "error": str(error)})
        return False
    if middle == 0:
        os.close(answer)
        _fork_again(question)
        control.close()
        (_mule if request["role"] == "mule" else _worker).run(setup, request, descriptors)
        return True
    os.close(question)
    text = os.read(answer, 32)
    os.close(answer)
    os.waitpid(middle, 0)
    for descriptor in descriptors:
        os.close(descriptor)
    if text:
        _send(control, {"type": "forked", "worker": request["worker"], "pid": int(text)})
    else:
        why = "the process between zygote and worker could not fork"
        _send(control, {"type": "failed", "worker": request["worker"], "error": why})
    return False


def _fork_again(question: int) -> None:
    """Returns in the grandchild; the child tells its number and is gone."""
    try:
        pid = os.fork()
    except OSError:
        os._exit(1)
    if pid:
        _tell_and_vanish(question, pid)
    os.close(question)


def _tell_and_vanish(question: int, pid: int) -> NoReturn:
    try:
        os.write(question, str(pid).encode())
    finally:
        os._exit(0)


def _receive(
    control: socket.socket, most: int = DESCRIPTORS
) -> tuple[dict[str, Any] | None, list[int]]:
    data, descriptors, _, _ = socket.recv_fds(control, PACKET_BYTES, most)
    for descriptor in descriptors:
        # What a task starts must not hold the worker's socket or slots.
        os.set_inheritable(descriptor, False)
    return (json.loads(data) if data else None), descriptors


def _send_parts(control: socket.socket, kind: str, items: list[dict[str, Any]]) -> None:
    for part in _requests.parts(items):
        _send(control, {"type": kind, kind: part})


def _packet(message: dict[str, Any]) -> bytes:
    # The names of functions are any text, and half a surrogate is no JSON to anybody else.
    return json.dumps(message, ensure_ascii=False).encode("utf-8", "replace")


def _send(control: socket.socket, message: dict[str, Any]) -> None:
    data = _packet(message)
    if len(data) > PACKET_BYTES:
        # The first ones say most; what must arrive, signals and schedules, has bounds of its own.
        message["failures"] = [
            {**failure, "traceback": failure["traceback"][-4096:]}
            for failure in message.get("failures", [])[:3]
        ]
        message["functions"] = []
        message["remarks"] = [remark[:1000] for remark in message.get("remarks", [])[:10]]
        data = _packet(message)
    try:
        control.send(data)
    except (BrokenPipeError, ConnectionResetError):
        sys.exit(0)
