#!/bin/sh
# Line coverage per folder, from gcov's own JSON: no package beyond gcc is needed.
#   tools/coverage.sh BUILD_DIR
set -eu
build=${1:?usage: tools/coverage.sh BUILD_DIR}
[ -f "$build/build.ninja" ] || meson setup "$build" --buildtype=debugoptimized -Db_coverage=true >/dev/null
ninja -C "$build" --quiet
find "$build" -name '*.gcda' -delete
tools/run_tests.py "$build" --suite unit --suite raft --suite sim --timeout-multiplier 5
python3 tools/coverage.py "$build"
