#!/usr/bin/env python3
"""Two rules that a machine keeps, and one that follows from them.

1. Layers look down only: which folder may include which (LAYERS below).
2. Nothing outside common/env reaches time, chance, threads, sockets, files: no such header, no such call. What a program
   fills the seams with (env/os.h, env/exec_threads.h, ...) is for its outermost part only (REAL_WORLD_USERS).
3. Base names of .c and .cc files are unique, because the simulator links pd, storenode and client into one program.
   (Programs below tests/ other than tests/sim are linked alone.)

    tools/tidy.py               checks the tree it lives in; exit code 1 and one line per finding
    tools/tidy.py --self-test   checks itself on small trees with known faults
"""
import os
import re
import sys
import tempfile

# Folder -> folders whose headers it may include, besides its own. Longest match wins.
LAYERS = {
    "common/base": [],
    "common/env": ["common/base"],
    "proto": ["common/base", "common/env"],
    "common/rpc": ["common/base", "common/env", "proto"],
    "common/raft": ["common/base"],
    "common/meta": ["common/base", "proto"],
    "common/group": ["common/base", "common/env", "common/raft", "common/meta", "proto"],
    "common/http": ["common/base"],
    "common/config": ["common/base", "storenode/store_config.h", "storenode/store_inspect.h", "pd/pd_config.h"],
    "storenode": ["common/base", "common/env", "common/raft", "common/meta", "common/group", "common/rpc", "common/config", "common/http", "proto"],
    "pd": ["common/base", "common/env", "common/raft", "common/meta", "common/group", "common/rpc", "common/config", "common/http", "proto"],
    "client": ["common/base", "common/env", "common/meta", "common/rpc", "common/config", "proto"],
    "client/examples": ["client/polder.h"],
    "tools": ["common/base", "common/env", "common/config", "common/http", "common/rpc/frame_kind.h", "client/polder.h", "storenode/store.h", "storenode/store_config.h", "storenode/store_inspect.h", "storenode/snapshot_inspect.h",
              "pd/pd.h", "pd/pd_config.h", "tests/sim/sim.h"],
    "tests": ["common", "proto", "storenode", "pd", "client", "tools"],
}

# Fillings of the seams and the machine itself: only for who starts a program.
REAL_WORLD = {"env/os.h", "env/exec_threads.h", "env/clock_os.h", "env/transport_nng.h", "env/engine_rocks.h", "env/log_os.h"}
REAL_WORLD_USERS = re.compile(r"^(common/env/|tools/|tests/|client/(kv|polder_queue)\.c$|.*_main\.c$)")

# What common/env alone may include.
FORBIDDEN_HEADERS = re.compile(
    r"^(nng/.*|rocksdb/.*|microhttpd\.h|curl/.*|editline/.*|pthread\.h|threads\.h|semaphore\.h|time\.h|sys/.*|netinet/.*|arpa/.*|netdb\.h"
    r"|unistd\.h|fcntl\.h|dirent\.h|signal\.h|poll\.h|spawn\.h|termios\.h|ftw\.h|glob\.h|wordexp\.h|syslog\.h"
    r"|thread|mutex|chrono|random|filesystem|fstream|atomic|condition_variable|future)$")
ALLOWED_HEADERS = {"bsd/sys/tree.h", "sys/queue.h"}

# Plain C calls that reach outside. `transport->close(...)` and `struct x (*open)(...)` are not calls of these.
FORBIDDEN_CALLS = (
    "time clock clock_gettime gettimeofday nanosleep usleep sleep localtime gmtime strftime localtime_r gmtime_r "
    "rand srand random srandom rand_r drand48 lrand48 arc4random arc4random_uniform arc4random_buf getrandom getentropy "
    "socket bind listen accept connect send recv sendto recvfrom sendmsg recvmsg getaddrinfo poll select epoll_wait "
    "open openat creat close read write pread pwrite fsync fdatasync fopen fdopen freopen tmpfile popen pclose mkdir rmdir unlink "
    "rename remove stat lstat fstat access opendir readdir mmap munmap ftruncate flock fcntl ioctl "
    "fork vfork execv execve execvp execl execlp system waitpid kill signal sigaction raise getenv setenv getpid"
).split()
CALL = re.compile(r"(?<![\w.>])(%s)\s*\(" % "|".join(FORBIDDEN_CALLS))
THREAD_CALL = re.compile(r"(?<![\w.>])((?:pthread|nng|rocksdb)_\w+)\s*\(")
# Printing is for programs: modules log through env.
PRINT_CALL = re.compile(r"(?<![\w.>])(printf|puts|putchar|vprintf|fprintf|fputs|fputc|perror)\s*\(")
PRINTERS = re.compile(r"^(common/env/|tools/|tests/|client/examples/|common/base/check\.c$|.*_main\.c$)")
# A declaration of a function that happens to have such a name: `static enum err read(...)`, `void (*close)(...)`.
DECLARATION = re.compile(r"^\s*(?:static\s+|extern\s+|inline\s+|const\s+|struct\s+|enum\s+|unsigned\s+)*\w+[\s*]+$")

EXEMPT = re.compile(r"^(common/env/|tests/|client/examples/)")
SKIP_FOLDERS = re.compile(r"^(\.|build)|^__pycache__$")  # and whatever meson has made
KEYWORDS = {"return", "else", "case", "do", "goto"}


def strip_comments(text):
    """Blanks comments and the contents of strings, keeps line numbers and `#include "..."`."""
    def blank(match):
        found = match.group(0)
        if found.startswith("/"):
            return re.sub(r"[^\n]", " ", found)
        return found[0] + found[0]
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    lines = []
    for line in pattern.sub(lambda m: m.group(0) if is_include(text, m.start()) else blank(m), text).split("\n"):
        lines.append(line)
    return lines


def is_include(text, position):
    start = text.rfind("\n", 0, position) + 1
    return text[start:position].lstrip().startswith("#") and "include" in text[start:position]


def folder_rule(path):
    best = ""
    for folder in LAYERS:
        if path.startswith(folder + "/") and len(folder) > len(best):
            best = folder
    return best


def resolve(root, path, name):
    """The file that `#include "name"` means, relative to the root; None if it is not one of ours."""
    for candidate in (os.path.join(os.path.dirname(path), name), name, os.path.join("common", name)):
        candidate = os.path.normpath(candidate)
        if os.path.exists(os.path.join(root, candidate)):
            return candidate
    return None


def check_include(root, path, number, name, quoted, findings):
    exempt = EXEMPT.match(path)
    if not exempt and name not in ALLOWED_HEADERS and FORBIDDEN_HEADERS.match(name):
        findings.append(f"{path}:{number}: includes <{name}>: only common/env may (time, chance, threads, sockets, files)")
        return
    if not quoted:
        return
    if name in REAL_WORLD and not REAL_WORLD_USERS.match(path):
        findings.append(f"{path}:{number}: includes {name}: the real world is for *_main.c and tools; modules get struct env")
        return
    target = resolve(root, path, name)
    rule = folder_rule(path)
    if target is None or not rule or target.startswith(rule + "/"):
        return
    for allowed in LAYERS[rule]:
        if target == allowed or target.startswith(allowed + "/"):
            return
    findings.append(f"{path}:{number}: includes {target}: {rule} may only look down at {', '.join(LAYERS[rule]) or 'nothing'}")


def check_calls(path, number, line, findings):
    for pattern, what in ((CALL, "time, chance, threads, sockets and files are behind struct env"),
                          (THREAD_CALL, "only common/env calls libraries of the outside world"),
                          (PRINT_CALL, "modules log through env")):
        if pattern is PRINT_CALL and PRINTERS.match(path):
            continue
        for match in pattern.finditer(line):
            before = line[:match.start()]
            words = before.split()
            if DECLARATION.match(before) and not (words and words[-1] in KEYWORDS):
                continue
            findings.append(f"{path}:{number}: calls {match.group(1)}(): {what}")


def check_file(root, path, findings):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
        text = file.read()
    for number, line in enumerate(strip_comments(text), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if match:
            check_include(root, path, number, match.group(2), match.group(1) == '"', findings)
        elif not EXEMPT.match(path):
            check_calls(path, number, line, findings)


def check_names(paths, findings):
    seen = {}
    for path in paths:
        if not path.endswith((".c", ".cc")) or (path.startswith("tests/") and not path.startswith("tests/sim/")):
            continue
        base = os.path.splitext(os.path.basename(path))[0]
        if base in seen:
            findings.append(f"{path}: base name is taken by {seen[base]}: names are unique in the tree")
        seen.setdefault(base, path)


def find_sources(root):
    paths = []
    for folder, folders, names in os.walk(root):
        if "meson-info" in folders:
            folders[:] = []
            continue
        folders[:] = sorted(f for f in folders if not SKIP_FOLDERS.match(f))
        for name in sorted(names):
            if name.endswith((".c", ".h", ".cc")):
                paths.append(os.path.relpath(os.path.join(folder, name), root))
    return paths


def check_tree(root):
    findings = []
    paths = find_sources(root)
    for path in paths:
        check_file(root, path, findings)
    check_names(paths, findings)
    return findings, len(paths)


SELF_TESTS = [
    # (files of the tree, what the findings must contain, in order)
    ({"common/base/a.c": '#include <stdio.h>\n#include "base/b.h"\n', "common/base/b.h": ""}, []),
    ({"common/base/a.c": '#include "env/clock.h"\n', "common/env/clock.h": ""}, ["common/base/a.c:1: includes common/env/clock.h"]),
    ({"common/raft/a.c": '#include "proto/x.h"\n', "proto/x.h": ""}, ["common/raft/a.c:1: includes proto/x.h"]),
    ({"storenode/a.c": '#include "pd/pd.h"\n', "pd/pd.h": ""}, ["storenode/a.c:1: includes pd/pd.h"]),
    ({"tools/a.c": '#include "client/polder.h"\n', "client/polder.h": ""}, []),
    ({"tools/a.c": '#include "client/router.h"\n', "client/router.h": ""}, ["tools/a.c:1: includes client/router.h"]),
    ({"pd/a.c": "#include <pthread.h>\n#include <sys/socket.h>\n"}, ["pd/a.c:1: includes <pthread.h>", "pd/a.c:2: includes <sys/socket.h>"]),
    ({"common/env/a.c": "#include <pthread.h>\nint f(void) { return open(0); }\n"}, []),
    ({"tests/sim/a.c": "#include <time.h>\nint f(void) { return time(0); }\n"}, []),
    ({"pd/a.c": "/* time( */ // open(\nchar *s = \"rand(\"; x->close(y); t.time(z);\n"}, []),
    ({"pd/a.c": "int f(void)\n{\n    return time(NULL);\n}\n"}, ["pd/a.c:3: calls time()"]),
    ({"pd/a.c": "static enum err open(struct x *x);\nvoid (*close)(int);\n"}, []),
    ({"pd/a.c": "x = rand ();\nif (fopen(p, \"r\"))\nsleep(1);\n"}, ["calls rand()", "calls fopen()", "calls sleep()"]),
    ({"tools/a.c": "x = nng_init();\nprintf(\"\");\n"}, ["tools/a.c:1: calls nng_init()"]),
    ({"client/a.c": "printf(\"x\");\n"}, ["client/a.c:1: calls printf()"]),
    ({"pd/a.c": '#include "env/os.h"\n', "pd/pd_main.c": '#include "env/os.h"\n', "common/env/os.h": ""}, ["pd/a.c:1: includes env/os.h"]),
    ({"pd/same.c": "", "client/same.c": ""}, ["base name is taken by client/same.c"]),
    ({"tests/raft/same.c": "", "tests/sim/same.c": ""}, []),
    ({"client/examples/x.c": "#include <unistd.h>\n#include \"client/polder.h\"\n", "client/polder.h": ""}, []),
]


def self_test():
    failed = 0
    for number, (files, wanted) in enumerate(SELF_TESTS):
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                    file.write(text)
            findings, _ = check_tree(root)
        if len(findings) != len(wanted) or any(want not in found for want, found in zip(wanted, findings)):
            print(f"self-test {number}: wanted {wanted}, found {findings}", file=sys.stderr)
            failed += 1
    print(f"tidy: self-test: {len(SELF_TESTS) - failed} passed, {failed} failed")
    return 1 if failed else 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    if sys.argv[1:]:
        print(__doc__, file=sys.stderr)
        return 2
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    findings, count = check_tree(root)
    for finding in findings:
        print(finding)
    print(f"tidy: {count} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
