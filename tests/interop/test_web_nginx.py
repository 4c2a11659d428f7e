"""The article's site, as printed, behind Debian's nginx: requests submit, tasks run, pages show it.

Its ini file starts web server and spooler together; the application is one of Flask and one of
Django. The same pages come over `http-socket` and `http` without an nginx.
"""

from __future__ import annotations

import grp
import hashlib
import html
import http.client
import http.cookies
import os
import pwd
import re
import shutil
import urllib.parse
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from article import copy_site, write_printed
from factory import DaemonFactory
from harness import Daemon, Project, free_port, wait_gone
from nginx import PARAMS, nginx

SITES = Path(__file__).resolve().parent / "sites"
SECONDS_MAX = 20.0
# Without a port, which Debian's nginx keeps for itself.
HOST = "mysite.example"
# The article's function, with a job in the place of its comment.
SPOOL = """
    from uwsgidecorators import spool, uwsgi

    @spool
    def my_func (args):
        print (args)
        import store
        store.add (args["text"])
"""
TEXTS = ["plain", "<b>Ünïcode</b> & \u20ac", "x" * 20_000]


@dataclass
class Site:
    """A site that runs, and the ports at which it is there."""

    folder: Path
    daemon: Daemon
    ports: dict[str, int]


@dataclass
class Page:
    """An answer."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def texts(self) -> list[str]:
        """What it shows as done."""
        return [html.unescape(text) for text in re.findall("<li>(.*)</li>", self.text)]


class Browser:
    """Asks at one port over one connection, with cookies and the fields of forms."""

    def __init__(self, port: int, scheme: str = "http") -> None:
        self._origin = f"{scheme}://{HOST}"
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS_MAX)
        self._cookies: http.cookies.SimpleCookie = http.cookies.SimpleCookie()
        self._token: dict[str, str] = {}

    def ask(
        self, method: str, path: str, body: bytes | Iterator[bytes] | None = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """One request; an iterator goes in chunks."""
        self._connection.request(method, path, body, {"Host": HOST, **headers})
        answer = self._connection.getresponse()
        return answer, answer.read()

    def _ask(self, method: str, fields: dict[str, str] | None) -> Page:
        headers = {}
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{k}={m.value}" for k, m in self._cookies.items())
        if fields is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            headers["Origin"] = self._origin
        body = None if fields is None else urllib.parse.urlencode(fields)
        answer, text = self.ask(method, "/", None if body is None else body.encode(), **headers)
        for cookie in answer.headers.get_all("Set-Cookie", []):
            self._cookies.load(cookie)
        return Page(answer.status, answer.headers, text.decode())

    def look(self) -> Page:
        """The page as it is now."""
        page = self._ask("GET", None)
        assert page.status == 200, page
        if token := re.search('name="(csrfmiddlewaretoken)" value="(.*?)"', page.text):
            self._token = {token[1]: token[2]}
        return page

    def submit(self, text: str) -> Path:
        """Sends the form; the task's file."""
        page = self._ask("POST", {"text": text, **self._token})
        assert (page.status, page.headers["Location"]) == (303, "/"), page
        return Path(page.headers["X-Task"])

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()


@pytest.fixture
def browser() -> Iterator[list[Browser]]:
    opened: list[Browser] = []
    yield opened
    for each in opened:
        each.close()


def begin(project: Project, daemon: DaemonFactory, kind: str, *options: str) -> tuple[Path, Daemon]:
    """The article's site with an application of this kind."""
    folder = copy_site(project)
    shutil.copytree(SITES / f"{kind}_site", folder, dirs_exist_ok=True)
    project.write("mysite/uwsgi_spools/mysite_spool.py", SPOOL)
    if kind == "django":
        table = "from django.core.management import call_command; import wsgi; call_command"
        env = {**project.env, "PYTHONPATH": f"{folder}:{project.env['PYTHONPATH']}"}
        project.python(f"{table}('migrate', run_syncdb=True, verbosity=0)", env=env)
    return folder, daemon(write_printed(folder), *options)


def in_front(folder: Path) -> str:
    """What the documentation of uWSGI has for nginx."""
    return (
        f"    location / {{\n      include {PARAMS};\n"
        f"      uwsgi_pass unix:{folder}/mysite.sock;\n    }}\n"
    )


def ways(project: Project, folder: Path, ports: dict[str, int]) -> AbstractContextManager[None]:
    """An nginx before the application's socket, and before its HTTP."""
    upstreams = (
        f"  upstream site {{ server 127.0.0.1:{ports['http-socket']}; keepalive 4; }}\n"
        f"  server {{\n    listen 127.0.0.1:{ports['proxy']};\n    location / {{\n"
        "      proxy_pass http://site;\n      proxy_http_version 1.1;\n"
        '      proxy_set_header Connection "";\n      proxy_set_header Host $http_host;\n'
        "      proxy_set_header X-Forwarded-Proto https;\n    }\n  }\n"
    )
    return nginx(project.root, ports["nginx"], in_front(folder), upstreams=upstreams)


@pytest.mark.parametrize("kind", ["flask", "django"])
def test_a_request_submits_its_task_runs_and_the_next_page_shows_it(
    project: Project, daemon: DaemonFactory, browser: list[Browser], kind: str
) -> None:
    ports = {name: free_port() for name in ("nginx", "http-socket", "http", "proxy")}
    served = [f"--{name}=127.0.0.1:{ports[name]}" for name in ("http-socket", "http")]
    folder, running = begin(project, daemon, kind, *served)
    with ways(project, folder, ports):
        expected: list[str] = []
        for way, port in ports.items():
            # The one in front says that it was asked by HTTPS.
            scheme = "https" if way == "proxy" else "http"
            browser.append(each := Browser(port, scheme))
            page = each.look()
            assert page.text.startswith(f"version 1 over {scheme} for 127.0.0.1\n"), way
            assert page.texts == expected, way
            for text in TEXTS:
                task = each.submit(f"{text} {way}")
                assert task.parent == folder / "mysite_spool"
                wait_gone(task)
                expected.append(f"{text} {way}")
                assert each.look().texts == expected, way
    assert running.stop() == 0
    # The article's function prints; all went through the one configuration.
    assert sum("'test': 'True'" in line for line in running.output) == len(expected)
    line = re.compile(r"\[pid: \d+\|app: 0\|req: \d+/\d+\] 127\.0\.0\.1 \(\) .* (GET|POST) / => ")
    # Those of different workers have no order.
    methods = sorted(match[1] for match in map(line.match, running.log) if match)
    assert methods == sorted(["GET", *["POST", "GET"] * len(TEXTS)] * len(ports))


@pytest.mark.parametrize("kind", ["flask", "django"])
def test_files_streams_and_uploads_of_frameworks_pass(
    project: Project, daemon: DaemonFactory, browser: list[Browser], kind: str
) -> None:
    ports = {name: free_port() for name in ("nginx", "http-socket", "http", "proxy")}
    served = [f"--{name}=127.0.0.1:{ports[name]}" for name in ("http-socket", "http")]
    folder, _ = begin(project, daemon, kind, *served)
    data = os.urandom(300_000)
    (folder / "download.bin").write_bytes(data)
    digest = f"{len(data)} {hashlib.sha256(data).hexdigest()}".encode()
    with ways(project, folder, ports):
        for way, port in ports.items():
            browser.append(each := Browser(port))
            answer, body = each.ask("GET", "/download")
            assert (answer.status, answer.headers["Content-Length"]) == (200, "300000"), way
            assert body == data, way
            if kind == "flask":
                answer, body = each.ask("GET", "/download", Range="bytes=1000-1999")
                assert (answer.status, body) == (206, data[1000:2000]), way
            _, body = each.ask("GET", "/stream")
            assert body == b"".join(b"line %d\n" % number for number in range(1000)), way
            assert each.ask("POST", "/digest", data)[1] == digest, way
            # An nginx makes a length of chunks; Django reads nothing without one.
            if kind == "flask" or way in ("nginx", "proxy"):
                parts = (data[at : at + 7000] for at in range(0, len(data), 7000))
                assert each.ask("POST", "/digest", parts)[1] == digest, way
            assert each.ask("HEAD", "/download")[1] == b"", way


def test_a_touch_of_the_module_brings_the_new_one_without_a_failed_request(
    project: Project, daemon: DaemonFactory, browser: list[Browser]
) -> None:
    folder, running = begin(project, daemon, "flask")
    port = free_port()
    with nginx(project.root, port, in_front(folder)):
        browser.append(each := Browser(port))
        assert each.look().text.startswith("version 1 ")
        mark = running.mark()
        module = folder / "wsgi.py"
        module.write_text(module.read_text().replace("VERSION = 1", "VERSION = 2"))
        # Each of these is answered, by the old one or by the new one.
        while each.look().text.startswith("version 1 "):
            pass
        for number in range(1, 5):
            running.wait_log(f"web worker {number} left", since=mark)
        assert all(each.look().text.startswith("version 2 ") for _ in range(8))
        wait_gone(each.submit("after it"))
        assert each.look().texts == ["after it"]


def test_workers_of_debians_user_reach_the_socket_that_is_given_to_them(
    project: Project, daemon: DaemonFactory, browser: list[Browser]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("not run: needs root, for workers of another user")
    try:
        user, group = pwd.getpwnam("www-data").pw_name, grp.getgrnam("www-data").gr_name
    except KeyError:
        pytest.skip("not run: there is no user www-data")
    options = (f"--chown-socket=:{group}", "--chmod-socket=660")
    folder, _ = begin(project, daemon, "flask", *options)
    for directory in (project.root, folder):
        directory.chmod(0o755)
    port = free_port()
    with nginx(project.root, port, in_front(folder), user=user):
        browser.append(each := Browser(port))
        # Longer than what nginx keeps in memory.
        wait_gone(each.submit("y" * 100_000))
        assert each.look().texts == ["y" * 100_000]
