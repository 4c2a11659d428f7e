"""What is in the wheel: maturin leaves out in silence what its settings do not name."""

from __future__ import annotations

import email
import re
import subprocess
import zipfile
from pathlib import Path

import pytest
from harness import PYTHON, ROOT, UNSPOOL


@pytest.fixture(scope="module")
def wheel() -> Path:
    found = sorted((ROOT / "dist").glob("unspool-*.whl"))
    assert len(found) == 1, f"`make build` leaves one wheel in dist/, there are {found}"
    return found[0]


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def read(wheel: Path, pattern: str) -> bytes:
    matching = [name for name in names_in(wheel) if re.fullmatch(pattern, name)]
    assert len(matching) == 1, f"one of {pattern!r} in the wheel, found {matching}"
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(matching[0])


@pytest.mark.parametrize(
    "pattern",
    [
        r"uwsgi\.py",
        r"uwsgi\.pyi",
        r"uwsgidecorators\.py",
        r"unspool/__init__\.py",
        r"unspool/__main__\.py",
        r"unspool/_native\.abi3\.so",
        r"unspool/_native\.pyi",
        r"unspool/py\.typed",
        r"unspool-[^/]+\.data/scripts/unspool",
        r"unspool-[^/]+\.dist-info/licenses/LICENSE-MIT",
        r"unspool-[^/]+\.dist-info/licenses/LICENSE-APACHE",
    ],
)
def test_the_wheel_has(wheel: Path, pattern: str) -> None:
    read(wheel, pattern)


def test_every_python_file_of_the_source_is_in_the_wheel(wheel: Path) -> None:
    source = ROOT / "crates/unspool-python/python"
    expected = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.suffix in {".py", ".pyi", ".typed"} or path.name == "py.typed"
    }
    assert expected <= set(names_in(wheel))


def test_the_wheel_is_one_for_every_interpreter_from_3_10(wheel: Path) -> None:
    assert "-cp310-abi3-" in wheel.name
    metadata = email.message_from_bytes(read(wheel, r"unspool-[^/]+\.dist-info/METADATA"))
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "MIT OR Apache-2.0"
    assert metadata.get_all("Requires-Dist") is None


@pytest.mark.parametrize(
    "pattern", [r"unspool/_native\.abi3\.so", r"unspool-[^/]+\.data/scripts/unspool"]
)
def test_no_part_needs_a_newer_c_library_than_the_tag_says(wheel: Path, pattern: str) -> None:
    # maturin looks at the module only: the command beside it must not need more.
    data = read(wheel, pattern)
    assert data.startswith(b"\x7fELF")
    assert b"libpython3" not in data
    needs = max((int(a), int(b)) for a, b in re.findall(rb"GLIBC_(\d+)\.(\d+)", data))
    tag = re.search(r"manylinux_(\d+)_(\d+)_", wheel.name)
    if tag is None:
        assert re.search(r"-(linux|musllinux_\d+_\d+)_", wheel.name), wheel.name
        return
    assert needs <= (int(tag[1]), int(tag[2]))


def test_the_installed_command_is_the_binary_itself(wheel: Path) -> None:
    assert UNSPOOL.read_bytes() == read(wheel, r"unspool-[^/]+\.data/scripts/unspool")
    assert UNSPOOL.stat().st_mode & 0o111


def test_python_m_unspool_is_the_same_command(wheel: Path) -> None:
    version = wheel.name.split("-")[1]
    for command in ([UNSPOOL], [PYTHON, "-m", "unspool"]):
        done = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, check=True, timeout=20
        )
        assert done.stdout == f"unspool {version}\n"
