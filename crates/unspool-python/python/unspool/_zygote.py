"""The zygote: imports the application once and forks workers when the daemon asks.

Owns the process that the daemon starts with a control socket as its standard input, and nothing
else: what a worker does is in ``_worker``, ``_mule`` and ``_web``, what the application registers
in ``_signals``, and how workers import it themselves in ``_own_import``. The protocol is one JSON
object per packet;
``docs/design/worker-protocol.md`` specifies it.
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
    _imports,
    _limits,
    _lines,
    _mule,
    _mules,
    _output,
    _own_import,
    _requests,
    _signals,
    _sources,
    _steps,
    _surroundings,
    _titles,
    _unarmed,
    _web,
    _worker,
)

PACKET_BYTES = 128 * 1024
PROTOCOL_VERSION = 1
# In one packet: those of a web worker are the most, since all sockets are among them.
DESCRIPTORS = 64
# What workers are for, and whose life they have.
_LIVES: dict[str, Any] = {"spool": _worker, "signal": _worker, "mule": _mule, "web": _web}


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
    if len(descriptors) > 1:
        # `honour-stdin`: that of the daemon.
        os.dup2(descriptors[1], 0)
        os.close(descriptors[1])
    _mules.connect(setup, _receive_queues(control, setup))
    _prepare(setup)
    if setup["autoreload"]:
        _sources.record(setup["autoreload_ignore"])
    _signals.share_owners()
    _steps.take(setup, "pre-app")
    if not _import_application(control, setup):
        return
    # What exists now is shared with all workers: keep the collector from touching its pages.
    gc.collect()
    gc.freeze()
    _serve(control, setup)


def _receive_queues(control: socket.socket, setup: dict[str, Any]) -> list[int]:
    descriptors: list[int] = []
    while len(descriptors) < _mules.descriptors_of(setup):
        packet, more = _receive(control)
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
    _titles.configure(setup["titles"])
    _titles.show("unspool zygote")
    _lines.configure(setup["lines"])
    _surroundings.enter(setup)


def _import_application(control: socket.socket, setup: dict[str, Any]) -> bool:
    """Imports the application, here or in a child, and tells the daemon. False in that child."""
    if not setup["own_import"]:
        failures = _imports.load_all(enumerate(setup["imports"]))
        failures += _web.find_failure(setup)
        _steps.take(setup, "post-app")
        _tell_application(control, control, setup, failures, _threads())
        return True
    shared, own = _own_import.divide(setup["imports"])
    failures = _imports.load_all(shared)
    # Those of the rest run in each worker too, and are not lost.
    threads = _threads()

    def tell(ready: socket.socket) -> None:
        failures.extend(_imports.load_all(own))
        failures.extend(_web.find_failure(setup))
        _tell_application(control, ready, setup, failures, threads)

    packet = _own_import.learn(tell, PACKET_BYTES)
    if packet is None:
        return False
    setup["failed"] = _own_import.failed(packet)
    _send_packet(control, packet)
    return True


def _tell_application(
    control: socket.socket,
    ready: socket.socket,
    setup: dict[str, Any],
    failures: list[dict[str, Any]],
    threads: list[str],
) -> None:
    """Tells what was imported and what it registered; the last packet goes to `ready`."""
    if setup["chdir2"] is not None:
        os.chdir(setup["chdir2"])
    if setup["autoreload"]:
        _sources.note_modules()
        _send_parts(control, "sources", _sources.news())
    _send_parts(control, "monitors", _signals.monitors())
    numbers = [failure["number"] for failure in failures]
    told = {"type": "ready", "failures": failures, "failed": numbers, "threads": threads[:100]}
    _send(ready, {**told, **_registered()})


def _threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t is not threading.main_thread()]


def _registered() -> dict[str, Any]:
    decorators = sys.modules.get("uwsgidecorators")
    functions = sorted(getattr(decorators, "spooler_functions", {}))
    return {
        "functions": functions[:1000],
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
        try:
            _LIVES[request["role"]].run(setup, request, descriptors)
        finally:
            _own_import.leave()
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


def _receive(control: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    data, descriptors, _, _ = socket.recv_fds(control, PACKET_BYTES, DESCRIPTORS)
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
    _send_packet(control, data)


def _send_packet(control: socket.socket, data: bytes) -> None:
    try:
        control.send(data)
    except (BrokenPipeError, ConnectionResetError):
        sys.exit(0)
