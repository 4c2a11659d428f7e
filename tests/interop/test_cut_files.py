"""A real uWSGI's file, cut as a full disk or a power cut would: what of it unspool runs."""

from __future__ import annotations

from both import Both
from damage import FUNCTION, check_damaged
from factory import DaemonFactory
from harness import Project

HEADER_BYTES = 4
BODY = b"BODY\0bytes" * 4


def test_a_file_of_uwsgi_cut_at_every_length(
    both: Both, project: Project, daemon: DaemonFactory
) -> None:
    pairs = {b"ud_spool_func": FUNCTION, b"id": b"1", b"body": BODY}
    (path,) = both.write("uwsgi", ("spool", (pairs,), {}))
    whole = path.read_bytes()
    path.unlink()
    end_of_pairs = HEADER_BYTES + int.from_bytes(whole[1:3], "little")
    assert whole[end_of_pairs:] == BODY
    damaged = {f"cut-{length}": whole[:length] for length in range(len(whole) + 1)}
    # Its format has the length of the pairs and not that of the body: nothing shows that a body is
    # short, here as in a uWSGI.
    run = {f"cut-{length}": length - end_of_pairs for length in range(end_of_pairs, len(whole) + 1)}
    ran = check_damaged(project, daemon, damaged, run.keys())
    bodies = {event["task"]: event["body"] for event in ran if event["task"] != "last"}
    assert bodies == run
