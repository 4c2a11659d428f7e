#!/bin/sh
# Says what is missing on this machine, and how to get it, before a build fails half way.
# Usage: prerequisites.sh PYTHON [uwsgi | fuzz]
set -eu

python=$1
purpose=${2:-}
root=$(cd "$(dirname "$0")/.." && pwd)

fail() {
    printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

if [ "$purpose" = fuzz ]; then
    command -v "${CXX:-c++}" >/dev/null || fail \
        "the fuzz targets need a C++ compiler: '${CXX:-c++}' is not on the path" \
        "on Debian and Ubuntu: apt install g++"
    exit 0
fi

if [ "$purpose" = uwsgi ]; then
    "$python" - <<'END' || fail \
        "the real uWSGI, which the tests and the benchmark compare with, needs Python.h" \
        "install the headers of $python, on Debian and Ubuntu: apt install python3-dev"
import pathlib, sys, sysconfig
sys.exit(not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists())
END
    exit 0
fi

wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
rust_hint="install Rust $wanted or later: https://rustup.rs, or 'rustup update'"
command -v cargo >/dev/null || fail "cargo is not on the path" "$rust_hint"
found=$(cargo --version | sed 's/^cargo \([0-9.]*\).*/\1/')
lowest=$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)
[ "$lowest" = "$wanted" ] || fail "cargo is $found, unspool needs $wanted" "$rust_hint"

command -v cc >/dev/null || fail "there is no C compiler: 'cc' is not on the path" \
    "on Debian and Ubuntu: apt install build-essential"

python_hint="name another interpreter: make PYTHON=python3.12 build"
command -v "$python" >/dev/null || fail "'$python' is not on the path" \
    "install CPython 3.10 or later, or $python_hint"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail \
    "'$python' is $("$python" --version 2>&1), unspool needs CPython 3.10 or later" "$python_hint"
"$python" -c 'import sys; sys.exit(sys.implementation.name != "cpython")' || fail \
    "'$python' is not CPython" "$python_hint"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$python" -c 'import venv, ensurepip' 2>/dev/null || fail \
    "'$python' cannot make virtual environments: its module 'ensurepip' is missing" \
    "on Debian and Ubuntu: apt install python$version-venv"
