#!/bin/sh
# Polder beside a 3-member etcd on this machine and this disk, in one run: latency of a lone client's put, puts per
# second and linearizable gets per second of 64 clients. Installs from Debian what it needs (etcd, libnghttp2), builds,
# runs, prints a table, a verdict a line, and one line of JSON. Nothing else should run meanwhile. Polder runs once with one region,
# which is what etcd is (one Raft group; the goals are judged by it), and once with the 16 that `polder up` makes.
#
#   tests/bench/vs_etcd.sh [--build build] [--rounds 3] [--seconds 5] [--regions 1,16] [--dir /var/tmp]
#
# Exit code: 0 all three goals met, 1 not (or a run failed, which it says), 2 could not install or build.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

build="$root/build"
previous=""
for argument in "$@"; do
    [ "$previous" = "--build" ] && build="$argument"
    case "$argument" in --build=*) build="${argument#--build=}" ;; esac
    previous="$argument"
done

missing=""
for package in etcd-server libnghttp2-dev pkg-config gcc; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    echo "vs_etcd: installing from the distribution:$missing" >&2
    as_root=""
    [ "$(id -u)" = 0 ] || as_root="sudo"
    # The package starts an etcd of its own where there is systemd: ours are started below, that one is stopped.
    # shellcheck disable=SC2086
    install() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >&2; }
    install || { $as_root apt-get -qq update >&2 && install; } || exit 2
    if [ -d /run/systemd/system ]; then
        $as_root systemctl stop etcd >&2 || true
    fi
fi

[ -x "$build/polder" ] || make -C "$root" build >&2 || exit 2
load=$(mktemp)
trap 'rm -f "$load"' EXIT
# shellcheck disable=SC2046
gcc -O2 -std=gnu11 -o "$load" "$here/etcd_load.c" $(pkg-config --cflags --libs libnghttp2) || exit 2
/usr/bin/python3 "$here/vs_etcd.py" --etcd-load "$load" "$@" && code=0 || code=$?
exit "$code"
