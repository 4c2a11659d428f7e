#!/bin/sh
# What tests need of the system: makers of file systems, strace, shells, servers, namespaces. Installs what is
# missing where that can be done, else says so: the tests that need it are then "not run".
# With the argument `bench` also what asks a web server; with `machine` also QEMU, and a kernel for its guests,
# which is unpacked and not installed.
set -eu

missing=
need() {
    command -v "$1" >/dev/null || missing="$missing $2"
}
need mkfs.ext4 e2fsprogs
need mkfs.xfs xfsprogs
need mkfs.btrfs btrfs-progs
need strace strace
need zsh zsh
need fish fish
need sshfs sshfs
need ip iproute2
# Under a service manager their packages start servers for all the world, which is not ours to decide.
if [ ! -d /run/systemd/system ]; then
    need sshd openssh-server
    need nginx nginx
fi
[ "${1:-}" != bench ] || need wrk wrk
parts=
if [ "${1:-}" = machine ] && [ "$(uname -m)" = x86_64 ]; then
    need qemu-system-x86_64 qemu-system-x86
    parts=$(dirname "$0")/../target/torture-machine
    [ ! -x "$parts/bin/busybox" ] || parts=
fi
[ -n "$missing$parts" ] || exit 0

install() {
    # shellcheck disable=SC2086 # several packages
    [ -z "$missing" ] || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
        --no-install-recommends $missing >/dev/null 2>&1
}

# The kernel package's name has its version, which another package depends on.
unpack() {
    [ -n "$parts" ] || return 0
    kernel=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -n 1)
    [ -n "$kernel" ] || return 1
    folder=$(mktemp -d)
    (cd "$folder" && apt-get download -qq "$kernel" busybox-static >/dev/null 2>&1) || return 1
    mkdir -p "$parts"
    # busybox last: it says that all is there.
    for package in "$folder"/linux-image-*.deb "$folder"/busybox-static_*.deb; do
        dpkg -x "$package" "$parts"
    done
    rm -r "$folder"
}

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "getting for the tests:$missing${parts:+ a kernel for virtual machines}"
    { install && unpack; } ||
        { apt-get update -qq >/dev/null 2>&1 && install && unpack; } && exit 0
fi
echo "warning: some tests are not run; they need:$missing" \
    "${parts:+a kernel (linux-image-cloud-amd64) and busybox-static}" >&2
