#!/bin/sh
# Line coverage, from gcov's own JSON: no package beyond gcc is needed.
#   tools/coverage.sh BUILD_DIR
# First by the unit tests and the Raft scenarios alone: common/raft and common/group file by file, and each of them must
# reach 95 %. Then the simulator runs as well, and a table per folder says what it adds.
set -eu
build=${1:?usage: tools/coverage.sh BUILD_DIR}
[ -f "$build/build.ninja" ] || meson setup "$build" --buildtype=debug -Db_coverage=true >/dev/null
ninja -C "$build" --quiet
find "$build" -name '*.gcda' -delete
tools/run_tests.py "$build" --suite unit --suite raft --timeout-multiplier 5
low=0
python3 tools/coverage.py "$build" --save "$build/coverage_unit.json" --folder common/raft --folder common/group --min 95 || low=1
"$build/polder" sim --swarm --seeds 1..40 --jobs 2 --quiet
python3 tools/coverage.py "$build" --before "$build/coverage_unit.json"
exit $low
