"""What docs/reference/uwsgi-module.md asks in each kind of process, and what it says of each name.

Owns the questions and the words; `module_page` gets the answers from real processes.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Question(NamedTuple):
    """An expression, and how its value is shown: as it is, as whose process it is, or its type."""

    expression: str
    show: Literal["value", "process", "type"] = "value"


QUESTIONS = [
    Question("uwsgi.masterpid()", "process"),
    Question("uwsgi.i_am_the_spooler()"),
    Question("uwsgi.worker_id() > 0"),
    Question("uwsgi.mule_id()"),
    Question("uwsgi.in_farm()"),
    Question("uwsgi.mule_msg(b'message')"),
    Question("uwsgi.mule_msg(b'message', 9)"),
    Question("uwsgi.mule_msg(b'message', b'nope')"),
    Question("uwsgi.farm_msg('pair', b'message')"),
    Question("uwsgi.mule_get_msg(timeout=5)", "type"),
    Question("'mule' in uwsgi.opt"),
    Question("uwsgi.numproc"),
    Question("uwsgi.workers()"),
    Question("uwsgi.spooler_pid()", "process"),
    Question("len(uwsgi.spooler_pids())"),
    Question("len(uwsgi.spoolers)"),
    Question("'spooler' in uwsgi.opt"),
    Question("bool(uwsgi.opt.get('master'))"),
    Question("uwsgi.spool({b'at': b'2000000000'})", "type"),
    Question("uwsgi.spooler_jobs()", "type"),
    Question("uwsgi.register_signal(17, '', print)"),
    Question("uwsgi.signal_registered(99)"),
    Question("uwsgi.add_timer(99, 0)"),
    Question("uwsgi.add_cron(99, 0, 0, 1, 1, -1)"),
    Question("uwsgi.lock()"),
    Question("uwsgi.is_locked()"),
    Question("uwsgi.unlock()"),
    Question("uwsgi.cache_update('key', 'value')"),
    Question("uwsgi.cache_get('key')"),
    Question("uwsgi.metric_set('mine', 5)"),
    Question("uwsgi.metric_get('mine')"),
    Question("uwsgi.queue_push('value')"),
    Question("uwsgi.queue_pull()"),
    Question("uwsgi.register_rpc('mine', lambda: b'value')"),
    Question("uwsgi.rpc(None, b'mine')"),
    Question("uwsgi.log('a line')"),
    Question("uwsgi.started_on", "type"),
]

# Why a name of uWSGI's is not there; "later" is meant to come. Reasons, each with its names.
REASONS = """
later, with the statistics:
    set_warning_message
never, it belongs to the request that a web worker answers:
    add_var chunked_read chunked_read_nb offload send sendfile start_response
    websocket_handshake websocket_recv websocket_recv_nb websocket_send websocket_send_binary
never, it belongs to uWSGI's own event loops:
    async_connect async_sleep close connect connection_fd green_schedule is_connected ready_fd recv
    wait_fd_read wait_fd_write
never, it is an inside of uWSGI:
    SymbolsImporter SymbolsZipImporter ZipImporter embedded_data
never, there are no legions:
    i_am_the_lord lord_scroll scrolls
"""


def _absent() -> dict[str, str]:
    absent = {}
    reason = ""
    for line in REASONS.strip().splitlines():
        if line.startswith(" "):
            absent.update(dict.fromkeys(line.split(), reason))
        else:
            reason = line.rstrip(":")
    return absent


ABSENT = _absent()
