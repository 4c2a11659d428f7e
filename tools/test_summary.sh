#!/bin/sh
# The last lines of `make test`: how many tests ran. A run without a count is a failure.
# Usage: test_summary.sh RUST_LOG DOCTEST_LOG PYTEST_LOG
set -eu

# Both `cargo nextest` and `cargo test` may have written the first one.
rust=$(sed -n 's/^ *Summary \[[^]]*\] //p' "$1" | tail -n 1)
cargo_results() {
    awk '/^test result:/ { passed += $4; failed += $6 } END {
        if (NR) printf "%d tests run: %d passed, %d failed", passed + failed, passed, failed }' "$1"
}
[ -n "$rust" ] || rust=$(cargo_results "$1")
doctests=$(cargo_results "$2")
python=$(grep -E '^=+ .*[0-9]+ (passed|failed|error).* =+$' "$3" | tail -n 1 | tr -d '=')

for count in "$rust" "$doctests" "$python"; do
    if [ -z "$count" ]; then
        echo "error: no test count in one of: $*" >&2
        exit 1
    fi
done
printf 'rust:     %s\ndoctests: %s\npytest:  %s\n' "$rust" "$doctests" "$python"
