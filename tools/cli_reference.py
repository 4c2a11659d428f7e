"""Writes the option parts of docs/reference/cli.md from the program, or checks that they are right.

A part stands between `<!-- options of COMMAND -->` and `<!-- end -->`. What is around it is written
by hand. Run as `python tools/cli_reference.py [UNSPOOL]` after options were changed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "cli.md"
PART = re.compile(r"(?<=<!-- options of )([a-z -]+)( -->\n).*?(?=<!-- end -->)", re.S)
# They take uWSGI's options, which config.md has.
WITHOUT_OPTIONS = frozenset({"run", "config"})


def ask(unspool: str, *words: str) -> str:
    """What the program says of a command, or which commands there are."""
    done = subprocess.run(
        [unspool, "help-markdown", *words], capture_output=True, text=True, check=True
    )
    return done.stdout


def rendered(page: str, unspool: str) -> str:
    """The page with its parts as the program says."""
    return PART.sub(lambda part: part[1] + part[2] + ask(unspool, *part[1].split()), page)


def missing(page: str, unspool: str) -> list[str]:
    """Commands of which the page has no part."""
    known = {part[1] for part in PART.finditer(page)} | WITHOUT_OPTIONS
    return [name for name in ask(unspool).splitlines() if name not in known]


def main() -> None:
    """Rewrites the page."""
    unspool = sys.argv[1] if len(sys.argv) > 1 else "unspool"
    page = PAGE.read_text("utf-8")
    PAGE.write_text(rendered(page, unspool), "utf-8")
    for name in missing(page, unspool):
        sys.exit(f"{PAGE} has no part `<!-- options of {name} -->`")


if __name__ == "__main__":
    main()
