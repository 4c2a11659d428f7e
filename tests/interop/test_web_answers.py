"""What the real uWSGI and unspool make of the same application and the same requests: its answers.

Over HTTP (`http-socket`) and the uwsgi protocol, as they are and behind `wsgiref.validate`. Where
unspool differs, `DIFFERENCES` says how and why; docs/uwsgi-differences.md has the same for readers.
What an application sees of a request is in test_web_requests.py, how bodies are read and how
connections end in test_web_connections.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from both import System
from harness import Daemon, Project
from web_sides import SYSTEMS, Answer, Received, Sides, http, request_lines, start

TEXT = (("Content-Type", "text/plain"),)
FILE = bytes(range(256)) * 400
FAILED = Answer("500 Internal Server Error", TEXT, b"Internal Server Error")


def ok(body: bytes = b"", *headers: tuple[str, str]) -> Answer:
    return Answer("200 OK", (*TEXT, *headers), body)


class Differs(NamedTuple):
    """What uWSGI answers (None: it closes the connection without an answer), and unspool."""

    theirs: Answer | None
    ours: Answer
    why: str


TOLD = "an error is told to the client, where uWSGI sends nothing or an empty page"
NO_BYTES = "PEP 3333: parts are bytes; uWSGI passes over all others without a word"
BAD_HEAD = "what is no head is an error with a traceback; uWSGI writes as much of it as it can"
NO_BODY = "the bytes would be the begin of the next answer"
DIFFERENCES = {
    "raises": Differs(None, FAILED, TOLD),
    "raises_behind_start": Differs(ok(b"", ("X-A", "b")), FAILED, TOLD),
    "raises_at_first": Differs(ok(), FAILED, TOLD),
    "raises_when_asked": Differs(None, FAILED, TOLD),
    "never_started": Differs(None, FAILED, TOLD),
    "never_started_and_empty": Differs(None, FAILED, TOLD),
    "nothing": Differs(ok(), FAILED, TOLD),
    "number": Differs(ok(), FAILED, TOLD),
    "started_again": Differs(
        Answer("503 Down", (*TEXT, ("X-Second", "2")), b""),
        Answer("503 Down", (*TEXT, ("X-Second", "2")), b"down"),
        "PEP 3333: with exc_info the body is that of the new head; uWSGI sends none",
    ),
    "started_twice": Differs(
        Answer("404 Not Found", TEXT, b"hello"),
        FAILED,
        "PEP 3333: an error without exc_info; uWSGI takes the second head",
    ),
    "text": Differs(ok(), FAILED, NO_BYTES),
    "text_alone": Differs(ok(), FAILED, NO_BYTES),
    "text_among_bytes": Differs(ok(b"bytes  bytes"), ok(b"bytes "), NO_BYTES),
    "array_of_bytes": Differs(ok(), FAILED, NO_BYTES),
    "status_of_bytes": Differs(None, FAILED, BAD_HEAD),
    "status_of_words": Differs(Answer("fin Unknown", TEXT, b"hello"), FAILED, BAD_HEAD),
    "headers_of_tuple": Differs(Answer("200 OK", (), b""), FAILED, BAD_HEAD),
    "headers_of_lists": Differs(Answer("200 OK", (), b""), FAILED, BAD_HEAD),
    "header_of_number": Differs(ok(), FAILED, BAD_HEAD),
    "header_of_bytes": Differs(ok(), FAILED, BAD_HEAD),
    "header_beyond_latin_1": Differs(ok(), FAILED, BAD_HEAD),
    "header_without_name": Differs(ok(b"hello", ("b", "")), FAILED, BAD_HEAD),
    "header_of_two_lines": Differs(
        ok(b"hello", ("X-A", "b"), ("X-Injected", "c")), FAILED, BAD_HEAD
    ),
    "length_is_none": Differs(ok(b"hello"), FAILED, BAD_HEAD),
    "length_too_small": Differs(ok(b"hello"), ok(b"hel"), NO_BODY),
    "file_longer_than_said": Differs(ok(FILE), ok(FILE[:1000]), NO_BODY),
    "no_content_with_body": Differs(
        Answer("204 No Content", TEXT, b"hello"), Answer("204 No Content", TEXT, b""), NO_BODY
    ),
    "not_modified_with_body": Differs(
        Answer("304 Not Modified", (), b"hello"), Answer("304 Not Modified", (), b""), NO_BODY
    ),
    "hop_by_hop": Differs(
        ok(b"hello", ("Keep-Alive", "timeout=5")),
        ok(b"hello"),
        "the connection is the server's",
    ),
}
# Of these the validator makes what is answered alike.
PLAIN_DIFFERENCES = {
    "file_from_its_middle": Differs(
        ok(FILE), ok(FILE[1000:]), "PEP 3333: a file is sent from where it stands"
    ),
    "file_of_pipe": Differs(
        ok(), ok(b"from a pipe"), "what has no length is read; uWSGI sends nothing of it"
    ),
}
CHECKED_DIFFERENCES = {
    "file_that_is_read": Differs(
        ok(), ok(b"of an object"), "PEP 3333: the wrapper is an iterable; uWSGI's is the file"
    ),
}
# Parts of a body that were sent before an error: the client has to see that this is not all.
HALVES = {
    "raises_in_the_middle",
    "raises_with_a_length",
    "started_too_late",
    "text_among_bytes",
    "length_too_great",
    "file_shorter_than_said",
}


class Pair(NamedTuple):
    """Two answers to one request."""

    theirs: Received
    ours: Received


@pytest.fixture(scope="module")
def answers(sides: Sides) -> dict[str, list[Pair]]:
    """What each application answers by HTTP and by a packet."""
    theirs, ours = sides.both
    valid, invalid = theirs.http(http("/names")).told
    paths = [*valid, *(f"checked/{name}" for name in valid), *invalid]
    return {
        path: [
            Pair(*pair)
            for pair in zip(theirs.both_ways(f"/{path}"), ours.both_ways(f"/{path}"), strict=True)
        ]
        for path in paths
    }


def differences(name: str) -> Differs | None:
    """What is documented of an application."""
    plain = name.removeprefix("checked/")
    more = PLAIN_DIFFERENCES if plain == name else CHECKED_DIFFERENCES
    return DIFFERENCES.get(plain) or more.get(plain)


def test_answers_are_those_of_uwsgi_but_for_the_differences_that_are_listed(
    answers: dict[str, list[Pair]],
) -> None:
    assert len(answers) > 90
    found, listed = {}, {}
    for name, pairs in answers.items():
        for way, pair in zip(("http", "uwsgi"), pairs, strict=True):
            theirs, ours = pair.theirs.answer, pair.ours.answer
            if theirs != ours:
                found[name, way] = (theirs, ours)
            if (known := differences(name)) is not None:
                listed[name, way] = (known.theirs, known.ours)
    assert found == listed


def test_the_client_sees_where_an_answer_is_not_whole(answers: dict[str, list[Pair]]) -> None:
    for name, (by_http, _) in answers.items():
        is_half = name.removeprefix("checked/") in HALVES
        assert by_http.ours.is_whole == (not is_half), name
        assert by_http.ours.header("Connection") == "close", name


def test_the_version_of_an_answer_is_that_of_uwsgi(sides: Sides) -> None:
    for version in ("1.0", "1.1"):
        for path in ("/as_list", "/as_generator", "/checked/written", "/no_content"):
            protocol = f"HTTP/{version}"
            found = [
                (by_http.raw[:9].decode(), by_packet.raw[:9].decode(), by_http.answer)
                for by_http, by_packet in (
                    (
                        side.http(http(path, version=version)),
                        side.uwsgi(path, SERVER_PROTOCOL=protocol),
                    )
                    for side in sides.both
                )
            ]
            assert found[0] == found[1]
            assert found[1][:2] == (f"{protocol} ", f"{protocol} ")


def test_a_length_that_is_known_is_said(answers: dict[str, list[Pair]]) -> None:
    lengths = {
        name: tuple(pair.ours.header("Content-Length") for pair in answers[name])
        for name in ("as_list", "empty_list", "empty_part", "file", "bytes_alone", "as_generator")
    }
    assert lengths == {
        "as_list": ("5", "5"),
        "empty_list": ("0", "0"),
        "empty_part": ("0", "0"),
        "file": (str(len(FILE)), str(len(FILE))),
        "bytes_alone": ("5", "5"),
        "as_generator": (None, None),
    }
    assert answers["as_generator"][0].ours.header("Transfer-Encoding") == "chunked"
    assert answers["as_generator"][1].ours.header("Transfer-Encoding") is None


def test_to_head_there_is_no_body(sides: Sides, answers: dict[str, list[Pair]]) -> None:
    theirs, ours = sides.both
    # uWSGI sends one: behind HTTP it would be taken for the begin of the next answer.
    for name in ("as_list", "as_generator", "file", "written", "with_length", "not_found"):
        for path in (name, f"checked/{name}"):
            asked = zip(
                theirs.both_ways(f"/{path}", "HEAD"),
                ours.both_ways(f"/{path}", "HEAD"),
                answers[path],
                strict=True,
            )
            for head, own, (get, _) in asked:
                assert head.answer == get.answer is not None, path
                assert own.answer == Answer(get.answer.status, get.answer.headers, b""), path
    assert ours.http(http("/with_length", method="HEAD")).header("Content-Length") == "7"


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_applications_raise_and_say_is_in_the_log(
    sides: Sides, answers: dict[str, list[Pair]], system: System
) -> None:
    log = sides.of(system).daemon.log
    for message in (
        "raised before",
        "raised behind start_response",
        "raised at the first part",
        "raised in the middle",
        "raised in close",
        "too late",
        "raised in a generator",
    ):
        assert f"ValueError: {message}" in log, message
    assert "one by write" in log and "two by writelines: caf\xe9" in log


def test_an_application_that_exits_ends_no_worker(sides: Sides) -> None:
    # In uWSGI it does, or hangs where there are threads.
    ours = sides.ours
    before = ours.daemon.children
    assert [got.answer for got in ours.both_ways("/exits")] == [FAILED, FAILED]
    assert "SystemExit: 3" in ours.daemon.log
    assert ours.daemon.children == before


def test_a_head_that_cannot_be_is_told_where_it_is_said(
    sides: Sides, answers: dict[str, list[Pair]]
) -> None:
    log = sides.ours.daemon.log
    for name, error in (
        ("length_is_none", "Content-Length is no number, or there are two"),
        ("status_of_words", "the status `fine` is none: three digits, and words behind a space"),
        ("header_without_name", "the header's name `` is none"),
        ("header_of_two_lines", "the header `X-A` has a line break or a NUL in its value"),
    ):
        at = log.index(f"ValueError: {error}")
        assert any(f", in {name}" in line for line in log[at - 4 : at]), log[at - 4 : at + 1]


def test_lengths_that_are_wrong_are_told(sides: Sides, answers: dict[str, list[Pair]]) -> None:
    said = "\n".join(sides.ours.daemon.log)
    assert "the application returned 2 bytes more than its Content-Length (from " in said
    assert "the application returned 5 bytes less than its Content-Length (from " in said


def last_line(daemon: Daemon, path: str) -> dict[str, str]:
    """The line of the only request for a path."""
    daemon.wait_log(f" {path.replace('?', '[?]')} => generated ")
    (found,) = [line for line in request_lines(daemon.log) if line["uri"] == path]
    return found


def test_the_line_of_a_request_is_that_of_uwsgi(sides: Sides) -> None:
    # The application of a path that names none tells what it sees: its length differs.
    asked: dict[str, dict[str, Any]] = {
        "/with_length/1?a=b": {"HTTP_X_A": "1"},
        "/not_found/1": {"REMOTE_USER": "somebody"},
        "/one_mib/1": {},
        "/no_content/1": {"SERVER_PROTOCOL": "HTTP/1.0"},
        "/many_headers/1?%20": {"REQUEST_METHOD": "PROPFIND"},
    }
    fields = {"app", "address", "user", "variables", "bytes", "method", "uri", "generated"}
    fields |= {"protocol", "status", "switches"}
    for path, more in asked.items():
        lines = []
        for side in sides.both:
            side.uwsgi(path, **more)
            lines.append(last_line(side.daemon, path))
        theirs, ours = ({key: line[key] for key in fields} for line in lines)
        # How often a thread waits is not counted.
        theirs["switches"] = "0"
        assert ours == theirs
    by_http = []
    for side in sides.both:
        side.http(http("/with_length/2", "X-A: 1"))
        by_http.append(last_line(side.daemon, "/with_length/2"))
    theirs, ours = by_http
    # REMOTE_PORT, its name and its value; Connection, in the answer.
    assert int(ours["variables"]) == int(theirs["variables"]) + 2
    assert int(ours["bytes"]) - int(theirs["bytes"]) in range(16, 21)
    assert (theirs["headers"], ours["headers"]) == ("2", "3")
    assert int(ours["head"]) == int(theirs["head"]) + len("Connection: close\r\n")


def test_what_is_said_of_processes_and_threads(project: Project) -> None:
    told = {}
    for system in SYSTEMS:
        side = start(project, system, "--processes=2", "--threads=1")
        try:
            seen = side.http(http("/variables")).told
        finally:
            side.close()
        told[system] = [seen[name] for name in ("wsgi.multiprocess", "wsgi.multithread")]
        # uWSGI says so with threads alone.
        assert seen.get("uwsgi.core", 0) == 0
    assert told == {"uwsgi": [True, False], "unspool": [True, False]}
