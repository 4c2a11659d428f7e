"""The table that is printed and the JSON that is kept."""

from __future__ import annotations

import json
import operator
import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bench.rows import Check, Row

SERIES = ("unspool", "uWSGI", "bare")
RELATIONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "<": operator.lt,
}


class Machine(NamedTuple):
    """Where the figures are from."""

    cpu: str
    cores: int
    kernel: str

    @staticmethod
    def this() -> Machine:
        model = platform.machine()
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
        cores = len(os.sched_getaffinity(0))
        return Machine(model, cores, f"{platform.system()} {platform.release()}")


def figure(row: Row, check: Check) -> float | None:
    """The median over the rounds of the ratio (taken within each round) or of the series."""
    values = row.values.get(check.series)
    if not values:
        return None
    if check.base is None:
        return statistics.median(values)
    base = row.values.get(check.base)
    if not base:
        return None
    ratios = [value / other for value, other in zip(values, base, strict=False) if other]
    return statistics.median(ratios) if ratios else None


def verdict(check: Check, value: float | None) -> str:
    """`met` or `missed` where there is a target; `not run` is never `met`."""
    if value is None:
        return "not run"
    if not check.relation:
        return ""
    return "met" if RELATIONS[check.relation](value, check.target) else "missed"


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _cell(values: list[float] | None) -> str:
    """Median, and in brackets the least and the most of the rounds."""
    if not values:
        return "-"
    text = _number(statistics.median(values))
    if len(values) > 1:
        text += f" [{_number(min(values))}..{_number(max(values))}]"
    return text


def _label(check: Check, value: float | None) -> str:
    name = check.series if check.base is None else f"{check.series}/{check.base}"
    text = f"{name} {'-' if value is None else _number(value)}"
    if check.relation:
        text += f" ({check.relation} {check.target:g})"
    outcome = verdict(check, value)
    return f"{text} {outcome}" if outcome else text


def table(rows: dict[str, Row]) -> str:
    """One line for each row; a second check of a row goes on a line of its own."""
    lines: list[tuple[str, ...]] = [("", *SERIES, "ratio or figure (target)")]
    for row in rows.values():
        cells = [_cell(row.values.get(series)) for series in SERIES]
        labels = [_label(check, figure(row, check)) for check in row.checks] or [""]
        lines.append((f"{row.title}, {row.unit}", *cells, labels[0]))
        lines.extend(("", "", "", "", label) for label in labels[1:])
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    out = []
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [line[column].rjust(widths[column]) for column in range(1, 4)]
        out.append("  ".join([*cells, line[4]]).rstrip())
    return "\n".join(out)


def document(rows: dict[str, Row], facts: dict[str, Any]) -> str:
    """Everything that was measured, as JSON."""
    entries: dict[str, Any] = {}
    for key, row in rows.items():
        checks = []
        for check in row.checks:
            value = figure(row, check)
            checks.append({**check._asdict(), "value": value, "verdict": verdict(check, value)})
        entries[key] = {
            "title": row.title.strip(),
            "unit": row.unit,
            "rounds": row.values,
            "median": {name: statistics.median(of) for name, of in row.values.items()},
            "checks": checks,
        }
    return json.dumps({**facts, "rows": entries}, indent=2) + "\n"
