# The front door. `make run`: a cluster on this machine. `make test`: all tests. Both install what is missing.
BUILD ?= build
BUILDTYPE ?= release

.PHONY: help run test build install setup check coverage format clean

help:
	@echo 'make run       build, start a cluster of 3 stores, load and verify real data, stay until Ctrl-C'
	@echo 'make test      build, run all tests'
	@echo 'make build     leaves $(BUILD)/polder'
	@echo 'make install   polder, pd-ctl, libpolder, polder.h, polder.pc into /usr/local (as root; or DESTDIR=...)'
	@echo 'make check     everything that CI does: tests, gcc and clang -Werror, sanitizers, tidy'
	@echo 'make coverage  line coverage; common/raft and common/group must reach 95 %; into $(BUILD)-coverage'
	@echo 'make format    clang-format of what differs from HEAD'
	@echo 'make clean     removes $(BUILD)*'

run: build
	@tools/run_demo.sh $(BUILD)/polder

test: build
	@tools/run_tests.py $(BUILD)

setup:
	@tools/setup.sh

build: setup
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD) --buildtype=$(BUILDTYPE) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log
	@ninja -C $(BUILD) --quiet

check:
	@.ci/run

coverage:
	@tools/setup.sh
	@tools/coverage.sh $(BUILD)-coverage

format:
	@git diff --name-only --diff-filter=d HEAD -- '*.c' '*.h' | xargs -r clang-format -i

install: build
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD) --no-rebuild --quiet
	@test -n "$(DESTDIR)" || ldconfig

clean:
	rm -rf $(BUILD) $(BUILD)-*
