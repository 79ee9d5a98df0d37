#!/bin/sh
# `make run`: a cluster on this machine with real data in it: package name -> stanza of /var/lib/dpkg/status.
#   tools/run_demo.sh POLDER [DIR [FLAGS OF POLDER UP...]]
# Loads, reads every row back, shows the status, and leaves the cluster running until Ctrl-C.
set -eu
polder=${1:?usage: tools/run_demo.sh POLDER [DIR [FLAGS OF POLDER UP...]]}
dir=${2:-./polder-data}
[ $# -lt 2 ] || shift
shift
data=/var/lib/dpkg/status

stop() {
    trap - INT TERM
    echo
    "$polder" down --dir "$dir"
    exit 0
}

"$polder" up --dir "$dir" --detach "$@"
trap stop INT TERM
trap '"$polder" down --dir "$dir"' EXIT

echo
if [ -r "$data" ]; then
    echo "loading $data: package name -> stanza"
    "$polder" kv load --dir "$dir" --format dpkg "$data"
    "$polder" kv verify --dir "$dir" --format dpkg "$data"
else
    echo "there is no $data here; nothing loaded"
fi

# Only needed when the cluster is not where clients look by themselves.
where=" --dir $dir"
[ $# -gt 0 ] || where=""

echo
"$polder" status --dir "$dir"
cat <<TEXT

The cluster runs. Try in another terminal:
  $polder kv get bash$where
  $polder kv scan --prefix lib --limit 5 --keys-only$where
  $polder bench --op mix --seconds 5$where

Ctrl-C stops it; the data stays in $dir.
TEXT
# Wakes up for a signal at once, and when the cluster is gone.
while "$polder" status --dir "$dir" --deadline 5s >/dev/null 2>&1 || [ $? -eq 1 ]; do
    sleep 5 &
    wait $! || true
done
echo "the cluster does not answer any more; its logs are in $dir" >&2
exit 1
