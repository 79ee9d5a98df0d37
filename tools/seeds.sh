#!/bin/sh
# Runs many seeds of the simulator and keeps what came out: the commit, the command, the digest, the coverage.
#
#   tools/seeds.sh [A..B] [JOBS] [POLDER]      (1..10000, 2, build/polder)
#
# The record goes to docs/runs/. Exit code: polder sim's (0: every seed kept every promise, and no fault class was dead).
set -u
cd "$(dirname "$0")/.." || exit 2
seeds=${1:-1..10000}
jobs=${2:-2}
polder=${3:-build/polder}
record=docs/runs/seeds-$(echo "$seeds" | sed 's,\.\.,-,').txt
[ -x "$polder" ] || { echo "$polder is not there: make first, or name it" >&2; exit 2; }
mkdir -p docs/runs
changed=$(git status --porcelain --untracked-files=no)
{
    echo "commit  $(git rev-parse HEAD)${changed:+, with changes that are not in it}"
    echo "command polder sim --swarm --seeds $seeds --jobs $jobs --quiet"
    echo
} > "$record"
"$polder" sim --swarm --seeds "$seeds" --jobs "$jobs" --quiet >> "$record"
code=$?
tail -n +4 "$record"
echo "kept in $record" >&2
exit $code
