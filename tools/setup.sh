#!/bin/sh
# Installs from the distribution what the build needs and this machine lacks. Quiet and quick when nothing is missing.
#   tools/setup.sh            what `make run` and `make test` need
#   tools/setup.sh --checks   also what .ci/run needs (clang and its tools)
set -eu

packages="meson ninja-build pkg-config gcc g++ python3 python3-flatbuffers
    libnng-dev libmicrohttpd-dev libcurl4-openssl-dev libedit-dev flatbuffers-compiler flatbuffers-compiler-dev libflatbuffers-dev librocksdb-dev
    libcjson-dev libyaml-dev libcmocka-dev uthash-dev libxxhash-dev liblzma-dev libbsd-dev libmbedtls-dev openssl"
checks="clang clang-tidy clang-format libclang-rt-14-dev"

case "${1:-}" in
'') ;;
--checks) packages="$packages $checks" ;;
*) echo "usage: tools/setup.sh [--checks]" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null; then
    echo "setup: this is not a Debian system; please install the equivalents of:" $packages >&2
    exit 1
fi

# shellcheck disable=SC2086
installed=$(dpkg-query -W -f '${binary:Package} ${Status}\n' $packages 2>/dev/null | sed -n 's/:[^ ]* / /; s/ install ok installed$//p') || true
missing=""
for package in $packages; do
    case "
$installed
" in
    *"
$package
"*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null; then
    as_root="sudo"
else
    echo "setup: missing:$missing" >&2
    echo "setup: run this as root, or install sudo: apt-get install$missing" >&2
    exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" </dev/null >"$log" 2>&1
}
install() {
    # shellcheck disable=SC2086
    apt install -y --no-install-recommends $missing
}

echo "setup: installing from the distribution (some minutes on a slow line):$missing"
# Package lists may be missing or old: then they are fetched, and only then.
if ! install && ! { apt update && install; }; then
    echo "setup: apt-get failed:" >&2
    tail -n 20 "$log" >&2
    exit 1
fi
echo "setup: done"
