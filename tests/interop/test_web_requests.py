"""What an application sees of the same requests behind the real uWSGI and behind unspool.

Where unspool differs, the lists here say how and why; docs/uwsgi-differences.md has the same for
readers.
"""

from __future__ import annotations

from typing import Any

import pytest
from web_sides import Sides, http

Variables = dict[str, Any]
# By name: in every request, or in those of HTTP.
ALWAYS = {
    "wsgi.input": "an object of another type",
    "wsgi.errors": "an object of another type",
    "wsgi.file_wrapper": "an object of another type",
    "wsgi.input_terminated": "more: frameworks then read bodies that come in chunks, to their end",
}
OVER_HTTP = {
    "REMOTE_PORT": "more: uWSGI has it with `http` alone",
    "SERVER_PORT": "they listen on two ports",
}
# Values of their own: which thread answered.
OWN = {"uwsgi.core"}


def requests(head: str, *headers: str) -> bytes:
    """A request with any bytes in it, each character one."""
    lines = [head, *headers, "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1")


GET = "GET /variables HTTP/1.1"
HOST = "Host: here.example:81"
SAME = {
    "usual": requests("GET /variables?a=b&c=%20+d HTTP/1.1", HOST, "Accept: */*", "X-A: 1"),
    "length": requests("POST /variables HTTP/1.1", HOST, "Content-Type: a/b", "Content-Length: 3")
    + b"abc",
    "length 0": requests("POST /variables HTTP/1.1", HOST, "Content-Length: 0"),
    "HTTP/1.0": requests("GET /variables HTTP/1.0"),
    "HTTP/1.0 with a host": requests("GET /variables HTTP/1.0", HOST),
    "PROPFIND": requests("PROPFIND /variables HTTP/1.1", HOST),
    "small letters": requests("get /variables HTTP/1.1", HOST, "x-a: 1", "COOKIE: a=1"),
    "a name twice": requests(GET, HOST, "X-A: 1", "x-a: 2"),
    "an empty value": requests(GET, HOST, "X-A:", "X-B: "),
    "latin-1": requests(GET, HOST, "X-A: caf\xe9 \xff"),
    "UTF-8": requests(GET, HOST, "X-A: caf\xc3\xa9"),
    "credentials": requests(GET, HOST, "Authorization: Basic dXNlcjpwYXNz"),
    "a header HTTPS": requests(GET, HOST, "HTTPS: on"),
    "forwarded": requests(GET, HOST, "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"),
    "forwarded with SSL": requests(GET, HOST, "X-Forwarded-SSL: on"),
    "forwarded by http": requests(GET, HOST, "X-Forwarded-Proto: http"),
    "all methods": requests("OPTIONS * HTTP/1.1", HOST),
    **{
        f"path {path}": requests(f"GET {path} HTTP/1.1", HOST)
        for path in (
            "/",
            "//double",
            "/a//b/",
            "/caf%E9",
            "/caf%C3%A9/x",
            "/caf\xc3\xa9",
            "/a%2Fb",
            "/a/../b",
            "/./a",
            "/%2e%2e/x",
            "/?",
            "/x?y?z",
            "/x?%41=+&caf%E9",
            "/x;p=1",
            "/%00",
            "/a+b%20c",
        )
    },
}
# What uWSGI has in these variables, and what unspool has.
DIFFERENT = {
    "cookies": (
        requests(GET, HOST, "Cookie: a=1", "Cookie: b=2"),
        {"HTTP_COOKIE": ("a=1, b=2", "a=1; b=2")},
        "RFC 6265: cookies are joined by semicolons",
    ),
    "spoofed": (
        requests(GET, HOST, "X_Real_Ip: 192.0.2.1", "Proxy: evil.example"),
        {"HTTP_X_REAL_IP": ("192.0.2.1", None), "HTTP_PROXY": ("evil.example", None)},
        "no client may set what a proxy in front sets, nor the proxy of programs",
    ),
    "blanks": (
        requests(GET, HOST, "X-A: \t b \t"),
        {"HTTP_X_A": ("\t b \t", "b")},
        "RFC 9112: blanks around a value are no part of it",
    ),
    "two lengths": (
        requests("POST /variables HTTP/1.1", HOST, "Content-Length: 0", "Content-Length: 0"),
        {"CONTENT_LENGTH": ("0, 0", "0")},
        "one number",
    ),
    "a URL": (
        requests("GET http://other.example/a?b HTTP/1.1", HOST),
        {
            "PATH_INFO": ("http://other.example/a", "/a"),
            "HTTP_HOST": ("here.example:81", "other.example"),
        },
        "RFC 9112: the host in the target holds",
    ),
    "no escape": (
        requests("GET /%zz%4 HTTP/1.1", HOST),
        {"PATH_INFO": ("/\0", "/%zz%4")},
        "what is no escape stays",
    ),
    "a scheme that is none": (
        requests(GET, HOST, "X-Forwarded-Proto: ftp"),
        {"wsgi.url_scheme": ("ftp", "http")},
        "PEP 3333: http or https",
    ),
}
# Answered by unspool itself, and served by uWSGI or closed without a word.
REFUSED = {
    "no host": (requests(GET), "400"),
    "two hosts": (requests(GET, HOST, "Host: other"), "400"),
    "latin-1 in a target": (requests("GET /caf\xe9 HTTP/1.1", HOST), "400"),
    "a fragment": (requests("GET /a#b HTTP/1.1", HOST), "400"),
    "no path": (requests("GET a HTTP/1.1", HOST), "400"),
    "a blank in a target": (requests("GET /a b HTTP/1.1", HOST), "400"),
    "bare line feeds": (requests(GET, HOST).replace(b"\r\n", b"\n"), "400"),
    "a folded line": (requests(GET, HOST, "X-A: 1\r\n 2"), "400"),
    "two lengths": (requests(GET, HOST, "Content-Length: 1", "Content-Length: 2"), "400"),
    "length and coding": (
        requests(GET, HOST, "Content-Length: 5", "Transfer-Encoding: chunked"),
        "400",
    ),
    "another coding": (requests(GET, HOST, "Transfer-Encoding: gzip, chunked"), "501"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
    "a long target": (requests("GET /" + "a" * 70_000 + " HTTP/1.1", HOST), "414"),
    "a long header": (requests(GET, HOST, "X-A: " + "a" * 70_000), "431"),
}


def seen(sides: Sides, request: bytes) -> tuple[Variables, Variables]:
    """What either says of a request of HTTP."""
    theirs, ours = (side.http(request).told for side in sides.both)
    return _without(theirs, OVER_HTTP), _without(ours, OVER_HTTP)


def _without(variables: Variables, more: dict[str, str]) -> Variables:
    return {
        name: value
        for name, value in variables.items()
        if name not in ALWAYS and name not in more and name not in OWN
    }


@pytest.mark.parametrize("name", SAME)
def test_variables_of_requests_are_those_of_uwsgi(sides: Sides, name: str) -> None:
    theirs, ours = seen(sides, SAME[name])
    assert ours == theirs


@pytest.mark.parametrize("name", DIFFERENT)
def test_variables_that_differ_do_so_for_a_reason(sides: Sides, name: str) -> None:
    request, listed, _why = DIFFERENT[name]
    theirs, ours = seen(sides, request)
    found = {
        key: (theirs.get(key), ours.get(key))
        for key in theirs.keys() | ours.keys()
        if theirs.get(key) != ours.get(key)
    }
    assert found == listed


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_request_is_refused(sides: Sides, name: str) -> None:
    request, status = REFUSED[name]
    got = sides.ours.http(request)
    answer = got.answer
    assert answer is not None and answer.status.split()[0] == status, got
    assert got.header("Connection") == "close" and got.is_whole
    assert sides.ours.http(http("/variables")).told["PATH_INFO"] == "/variables"


def test_a_body_in_chunks_is_a_body(sides: Sides) -> None:
    request = requests("POST /variables HTTP/1.1", HOST, "Transfer-Encoding: chunked")
    theirs, ours = seen(sides, request + b"3\r\nabc\r\n0\r\n\r\n")
    assert ours == theirs and "CONTENT_LENGTH" not in ours


def test_all_that_there_is(sides: Sides) -> None:
    theirs, ours = (side.http(SAME["usual"]).told for side in sides.both)
    assert set(ours) - set(theirs) == {"REMOTE_PORT", "wsgi.input_terminated"}
    assert set(theirs) - set(ours) == set()
    assert ours["wsgi.version"] == theirs["wsgi.version"] == "<(1, 0)>"
    assert ours["uwsgi.version"] == theirs["uwsgi.version"] == "<bytes>"
    assert (ours["REMOTE_ADDR"], theirs["REMOTE_ADDR"]) == ("127.0.0.1", "127.0.0.1")
    assert ours["SERVER_PORT"] == str(sides.ours.port)


PACKETS: dict[str, tuple[str, Variables]] = {
    "usual": ("/variables?a=b", {}),
    "https": ("/variables", {"HTTPS": "on"}),
    "https 1": ("/variables", {"HTTPS": "1"}),
    "https ON": ("/variables", {"HTTPS": "ON"}),
    "https off": ("/variables", {"HTTPS": "off"}),
    "scheme": ("/variables", {"UWSGI_SCHEME": "https"}),
    "scheme of the request": ("/variables", {"REQUEST_SCHEME": "https"}),
    "both": ("/variables", {"UWSGI_SCHEME": "http", "HTTPS": "on"}),
    "forwarded": ("/variables", {"HTTP_X_FORWARDED_PROTO": "https"}),
    "forwarded with SSL": ("/variables", {"HTTP_X_FORWARDED_SSL": "on"}),
    "mounted": ("/mount/variables", {"SCRIPT_NAME": "/mount"}),
    "a user": ("/variables", {"REMOTE_USER": "me", "FOO": "bar", "HTTP_X_B": ""}),
    "UTF-8": ("/v\xe4r\u20ac", {"HTTP_X_A": "\u20ac"}),
    "HTTP/1.0": ("/variables", {"SERVER_PROTOCOL": "HTTP/1.0"}),
    "no path": ("", {}),
    "a length": ("/variables", {"CONTENT_LENGTH": "0", "CONTENT_TYPE": "a/b"}),
}


@pytest.mark.parametrize("name", PACKETS)
def test_variables_of_packets_are_those_of_uwsgi(sides: Sides, name: str) -> None:
    path, more = PACKETS[name]
    theirs, ours = (_without(side.uwsgi(path, **more).told, {}) for side in sides.both)
    assert ours == theirs


def test_names_that_nginx_gives_twice_are_shown_once(sides: Sides) -> None:
    """nginx sends all headers beside its variables: the validator refuses what uWSGI shows then."""
    doubles = {"HTTP_CONTENT_TYPE": "a/b", "HTTP_CONTENT_LENGTH": "3"}
    told = [
        side.uwsgi("/variables", "POST", b"abc", CONTENT_TYPE="a/b", **doubles).told
        for side in sides.both
    ]
    theirs, ours = (_without(each, {}) for each in told)
    assert theirs == {**ours, **doubles}


def test_a_name_that_a_web_server_leaves_out_is_there(sides: Sides) -> None:
    """nginx sends no SCRIPT_NAME, and PEP 3333 wants one: uWSGI's has none."""
    theirs, ours = (side.uwsgi("/variables", SCRIPT_NAME=None).told for side in sides.both)
    assert ("SCRIPT_NAME" in theirs, ours["SCRIPT_NAME"]) == (False, "")
    checked = sides.ours.uwsgi("/checked/as_list", SCRIPT_NAME=None).answer
    assert checked is not None and checked.status == "200 OK"
