"""docs/reference/events.md lists every kind of event of the code, with its level and its fields."""

from __future__ import annotations

import re

from harness import ROOT

PAGE = ROOT / "docs" / "reference" / "events.md"
KINDS = ROOT / "crates" / "unspool-supervisor" / "src" / "journal" / "kinds.rs"
KIND = re.compile(r'((?:    /// .*\n)+)    (\w+) = "([\w.]+)" (\w+)\s+\[([\w,\s]*)\];', re.M)
ROW = re.compile(r"^\| `([\w.]+)` \| (\w+) \| (.*?) \| (.+) \|$", re.M)
# What a program reads for a field of the code: see `crates/unspool/src/log_json.rs`.
OUTWARD = {"ms": "duration_s", "seconds": "duration_s", "again_ms": "again_s", "worker": "number"}
LEVELS = {"WARN": "warning"}


def outward(event: str, field: str) -> str:
    if field == "pid" and event.startswith(("task.", "worker.", "tick.")):
        return "worker"
    return OUTWARD.get(field, field)


def rows_of_the_code() -> dict[str, tuple[str, list[str], str]]:
    found = {}
    for about, _, name, level, fields in KIND.findall(KINDS.read_text()):
        named = [field.strip() for field in fields.split(",") if field.strip()]
        shown: list[str] = []
        for field in named:
            shown.append(outward(name, field))
            if field == "task":
                shown.append("priority")
            if field == "detail" and "error" not in named:
                shown.append("error")
        words = " ".join(line.strip().removeprefix("/// ") for line in about.splitlines() if line)
        found[name] = (LEVELS.get(level, level.lower()), shown, words)
    return found


def test_the_page_has_every_event() -> None:
    code = rows_of_the_code()
    assert len(code) > 90
    page = {
        name: (level, re.findall(r"`(\w+)`", fields), about)
        for name, level, fields, about in ROW.findall(PAGE.read_text())
    }
    expected = "\n".join(
        f"| `{name}` | {level} | {', '.join(f'`{field}`' for field in fields)} | {about} |"
        for name, (level, fields, about) in code.items()
        if page.get(name) != (level, fields, about)
    )
    assert not expected, f"{PAGE.name} should have these rows:\n{expected}"
    assert not page.keys() - code.keys(), "the page has rows of no event"


def test_every_event_is_reported_somewhere() -> None:
    kinds = [kind for _, kind, *_ in KIND.findall(KINDS.read_text())]
    sources = "".join(
        path.read_text() for path in (ROOT / "crates").glob("*/src/**/*.rs") if path != KINDS
    )
    unused = [kind for kind in kinds if not re.search(rf"\b{kind}\b", sources)]
    assert not unused
