"""A page of the documentation, for tests that do what it prints."""

from __future__ import annotations

import re

from harness import ROOT


class Page:
    """Its sections, by their headings, and what is printed in them."""

    def __init__(self, name: str) -> None:
        self._text = (ROOT / "docs" / name).read_text("utf-8")

    def section(self, heading: str) -> str:
        """From a heading of any level to the next one."""
        found = re.search(rf"\n##+ {heading}\n(.*?)(?=\n##+ |\Z)", self._text, re.DOTALL)
        assert found is not None, heading
        return found[1]

    def blocks(self, heading: str, language: str) -> list[str]:
        """All blocks of a section in this language."""
        found = re.findall(r"^```(\w*)\n(.*?)^```$", self.section(heading), re.DOTALL | re.M)
        return [text for of, text in found if of == language]

    def block(self, heading: str, language: str) -> str:
        """The first of them."""
        return self.blocks(heading, language)[0]
