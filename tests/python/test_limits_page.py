"""docs/design/limits.md names every bound in the code, with the value that it has there."""

from __future__ import annotations

import re
from pathlib import Path

from harness import ROOT

PAGE = ROOT / "docs" / "design" / "limits.md"
CONSTANT = re.compile(
    r"^\s*(?:pub(?:\(\w+\))? )?const ([A-Z][A-Z0-9_]*): ([\w:]+) =\s*([^;]+);", re.M
)
NUMBERS = {"usize", "u64", "u32", "u16", "u8", "i64", "i32", "f64", "Duration"}
BOUND = re.compile(r"_(MAX|MIN|WAIT|TIMEOUT|EVERY|TRIES)(_|$)")
ROW = re.compile(r"^\| `(\w+)` \| `([^`]+)` \| .+ \|$", re.M)
SECTION = re.compile(r"^### `crates/(.+)`$")


def constants() -> dict[tuple[str, str], str]:
    """The numbers that have a name, by file and name, outside of tests."""
    found = {}
    for path in sorted((ROOT / "crates").glob("*/src/**/*.rs")):
        source = path.read_text().partition("#[cfg(test)]\nmod tests")[0]
        for name, kind, value in CONSTANT.findall(source):
            if kind in NUMBERS:
                file = str(path.relative_to(ROOT / "crates"))
                found[file, name] = " ".join(value.split())
    return found


def documented(page: Path) -> dict[tuple[str, str], str]:
    """The rows of the page, by file and name."""
    rows = {}
    file = ""
    for line in page.read_text().splitlines():
        if section := SECTION.match(line):
            file = section[1]
        elif row := ROW.match(line):
            rows[file, row[1]] = row[2]
    return rows


def test_the_page_has_every_bound_and_its_value() -> None:
    code, page = constants(), documented(PAGE)
    assert len(page) > 100
    gone = [key for key in page if key not in code]
    assert not gone, f"not in the code: {gone}"
    wrong = [(key, page[key], code[key]) for key in page if page[key] != code[key]]
    assert not wrong, f"name, value of the page, value of the code: {wrong}"
    missing = [
        f"{file}: | `{name}` | `{value}` | ... |"
        for (file, name), value in code.items()
        if BOUND.search(f"_{name}") and (file, name) not in page
    ]
    assert not missing, f"add to {PAGE.name}: {missing}"
