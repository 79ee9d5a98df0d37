#!/usr/bin/env python3
"""What people and the network do wrong: one clear line that names the thing, the right exit code, nothing harmed.

    tests/e2e/bad_input.py BUILD

First the command line and configuration, without a cluster; then data directories and ports; then keys, values and rows
against a cluster; then bytes on its ports that are no frames. At the end the cluster still is healthy, has what it had,
and no process has grown.
"""
import argparse
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time

import cluster
from cluster import check

USAGE, FAILED, NOT_FOUND, CONDITION = 2, 1, 3, 4


def complaint(ended, code, pattern, what):
    """Exit code and standard error: exactly one line, and it matches."""
    check(ended.returncode == code, f"{what}: exit code {ended.returncode}, not {code}: {ended.stderr}{ended.stdout}")
    lines = [line for line in ended.stderr.splitlines() if " info " not in line and " warn " not in line]
    check(len(lines) == 1, f"{what}: {len(lines)} lines on standard error, not 1: {ended.stderr}")
    check(re.search(pattern, lines[0]), f"{what}: \"{lines[0]}\" does not match {pattern}")
    check(lines[0].startswith(("polder", "pd-ctl")), f"{what}: \"{lines[0]}\" does not say who speaks")


# ---- command line

COMMAND_LINE = [
    # (arguments, what the one line says)
    (["stauts"], r'unknown command "stauts"; did you mean "polder status"\?'),
    (["kv", "gett", "x"], r'unknown command "gett"; did you mean "polder kv get"\?'),
    (["xyzzy"], r'unknown command "xyzzy"; see polder help'),
    (["kv"], r"wants a command; see polder kv --help"),
    (["up", "--store", "3"], r"unknown flag --store; did you mean --stores\?"),
    (["up", "--stores", "0"], r'--stores: "0" is too small \(at least 1\)'),
    (["up", "--stores", "many"], r'--stores: "many" is not a number'),
    (["up", "--stores", "2", "--replicas", "3"], r"--replicas 3: there are only 2 stores"),
    (["up", "--timeout", "5"], r'--timeout: "5" has no unit; write for example 5ms \(units: ms, s, min, h\)'),
    (["up", "extra"], r'unexpected "extra"'),
    (["up", "--stores"], r"--stores wants a value \(N\)"),
    (["up", "--stores=3", "--stores=4"], r"--stores: given twice"),
    (["kv", "put"], r"wants KEY \[VALUE\]"),
    (["kv", "put", "a\\q", "b"], r"key: bad escape at byte 2"),
    (["kv", "put", "a"], r"wants a VALUE or --value-file"),
    (["kv", "put", "a", "--value-file", "/nowhere/at/all"], r"value: .*/nowhere/at/all"),
    (["kv", "get", "a", "-o", "xml"], r'--output: "xml" is not one of text\|json'),
    (["kv", "get", "a", "--deadline", "5m"], r'--deadline: "5m" has an unknown unit "m"'),
    (["kv", "get", "a", "--pd", "nowhere"], r"nowhere"),
    (["kv", "get", "a", "--pd", "127.0.0.1:99999"], r"99999"),
    (["kv", "get", "a", "--dir", "/nowhere/at/all"], r"no cluster in /nowhere/at/all"),
    (["kv", "load", "/nowhere/at/all"], r"/nowhere/at/all"),
    (["bench", "--op", "puts"], r'--op: "puts" is not one of put\|get\|mix'),
    (["bench", "--value-size", "9000000"], r'--value-size: "9000000" is too large \(at most 8388608\)'),
    (["bench", "--clients", "9", "--concurrency", "3"], r"--clients 9"),
    (["bench", "--verify", "--value-size", "5"], r"--value-size 5"),
    (["down", "--dir", "/nowhere/at/all"], r"no cluster in /nowhere/at/all"),
    (["restart", "--dir", "/nowhere/at/all"], r"no cluster in /nowhere/at/all"),
    (["restart", "--role", "storenod"], r'--role: "storenod" is not one of pd\|storenode'),
    (["storenode"], r"data-dir: must be given"),
    (["storenode", "--data-dir", "/tmp/x", "--address", "nonsense"], r'address: bad address "tcp://nonsense": no port'),
    (["storenode", "--data-dir", "/tmp/x", "--address", "http://127.0.0.1:1"], r'bad address "http://127.0.0.1:1"'),
    (["storenode", "--data-dir", "/tmp/x", "--address", "tcp://127.0.0.1:70000"], r'"70000" is not a port'),
    (["storenode", "--data-dir", "/tmp/x", "--address", "tcp://0.0.0.0:20160"], r"without TLS; use tls\+tcp:// or say insecure: true"),
    (["storenode", "--data-dir", "/tmp/x", "--pd", "a:1,b"], r'pd: bad address "tcp://b"'),
    (["storenode", "--data-dir", "/tmp/x", "--lease", "5s"], r"lease: 5000ms is too long"),
    (["storenode", "--config", "/nowhere/at/all"], r"/nowhere/at/all"),
    (["pd", "--data-dir", "/tmp/x", "--replicas", "5"], r"replicas: 5 are more than bootstrap-stores"),
    (["pd", "--data-dir", "/tmp/x", "--bootstrap-regions", "0"], r"too small"),
    (["config", "gen", "client"], r'"client" is neither pd nor storenode'),
    (["config", "gen"], r"wants either"),
    (["config", "gen", "pd", "--nodes", "3"], r"wants either"),
    (["config", "gen", "--hosts", "a,b,a"], r"a is there twice"),
    (["config", "gen", "--hosts", "a,b:1"], r'"b:1" is not the name or address of a machine'),
    (["config", "gen", "--hosts", "../a"], r'"../a" is not the name or address of a machine'),
    (["config", "gen", "--hosts", "a,b", "--pds", "3"], r"only 2 machines"),
    (["config", "gen", "--nodes", "4", "--pds", "2"], r"1, 3 or 5"),
    (["config", "show"], r"wants pd or storenode"),
    (["completion", "fish"], r"only bash"),
    (["kv", "scan", "--start", "b", "--end", "a"], r"the end comes before the start"),
    (["kv", "delete-range", "b", "a", "--yes"], r"the end comes before the start"),
    (["kv", "checksum", "b", "a"], r"the end comes before the start"),
    (["store", "raft", "list"], r"wants --data-dir DIR, or --address URL"),
    (["store", "size"], r"wants --data-dir DIR$"),
    (["ctl", "unsafe", "recover", "paln"], r'there is no "unsafe recover paln"; did you mean "pd-ctl unsafe recover plan"'),
    (["ctl", "unsafe", "recover", "plan", "--stores", "x"], r'"x" is no list of store ids'),
]

CONFIG_FILES = [
    # (content, what the one line says behind the name of the file)
    ("data_dri: /x\n", r':1: unknown key "data_dri"; did you mean "data-dir"\?'),
    ("data-dir: /x\ntick: 100ms\n", r':2: key "tick" is an advanced one; put it under "advanced:"'),
    ("data-dir: /x\nadvanced:\n  block-cache: 64\n", r':3: block-cache: "64" has no unit'),
    ("data-dir: /x\nadvanced:\n  block-cache: 64MB\n", r':3: block-cache: "64MB" has an unknown unit "MB"'),
    ("data-dir: /x\ndata-dir: /y\n", r":2: data-dir: given twice"),
    ("data-dir: [/x]\n", r":1: data-dir: wants one value, not a list"),
    ("data-dir: &a /x\n", r":1: anchors"),
    ("data-dir: /x\naddress: 127.0.0.1\n", r"address: bad address"),
    ("data-dir: \"/x\n", r":\d+: "),
    ("\tdata-dir: /x\n", r":1: "),
    ("just words\n", r":1: wants lines of the form"),
    ("x" * (1024 * 1024 + 1), r"larger than 1MiB"),
]


def show_command_line(polder):
    for arguments, pattern in COMMAND_LINE:
        complaint(polder(*arguments), USAGE, pattern, " ".join(arguments))
    for variable, value, pattern in [("POLDER_TICK", "soon", r'POLDER_TICK: "soon" is not a number'),
                                     ("POLDER_INSECURE", "yes", r'POLDER_INSECURE: "yes" is neither true nor false')]:
        complaint(polder("storenode", "--data-dir", "/tmp/x", env={variable: value}), USAGE, pattern, variable)
    print(f"{len(COMMAND_LINE) + 2} command lines refused")


COMPLETIONS = (
    (["pd-ctl", "region", "check", "m"], ["miss"]),
    (["pd-ctl", "--dir", "x", "-y", "region", "top", ""], ["read", "write", "size"]),
    (["pd-ctl", "store", "list", "-o", ""], ["table", "json", "jsonl"]),
    (["pd-ctl", "-o", "js"], ["json", "jsonl"]),
    (["pd-ctl", "help", "unsafe", ""], ["recover"]),
    (["polder", "kv", "scan", "--read-mode", "=", "l"], ["leader"]),
    (["polder", "kv", "scan", "--read-mode", "stale", "--keys"], ["--keys-only"]),
    (["polder", "config", "check", ""], ["pd", "storenode"]),
)


def show_help(binary, polder):
    """Every command that help names explains itself and tells its exit codes."""
    names = re.findall(r"^  (\w[\w-]*(?: [\w-]+)*)  ", polder("help").stdout, re.M)
    check(len(names) >= 40, f"help names only {names}")
    for name in names:
        ended = polder(*name.split(), "--help")
        check(ended.returncode == 0 and ended.stdout and not ended.stderr, f"{name} --help: {ended.returncode} {ended.stderr}")
        if name != "sim":
            check("Exit codes:" in ended.stdout, f"{name} --help does not tell exit codes")
        for example in re.findall(r"--data-dir (polder-data\S*)", ended.stdout):
            check(example.endswith("/data"), f"an example of {name} names no data directory of polder up: {example}")
    ended = subprocess.run(["bash", "-n"], input=polder("completion", "bash").stdout, capture_output=True, text=True, check=False)
    check(ended.returncode == 0, f"completion is not bash: {ended.stderr}")
    for verb in names + ["ctl unsafe recover dry-run", "ctl store cancel-drain"]:
        words = verb.split()
        offered = cluster.completed(binary, "polder", *words[:-1], "")
        check(words[-1] in offered, f"{verb} is not offered: {offered}")
    for words, offered in COMPLETIONS:
        check(cluster.completed(binary, *words) == offered, f"completion of {words}: {cluster.completed(binary, *words)}")
    check(polder().returncode == USAGE, "no command at all is wrong usage")
    print(f"{len(names)} commands explain themselves")


def show_config(polder, directory):
    path = os.path.join(directory, "x.yaml")
    for content, pattern in CONFIG_FILES:
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
        complaint(polder("config", "check", "storenode", path), USAGE, re.escape(path) + ".*" + pattern, content[:40])
        complaint(polder("storenode", "--config", path), USAGE, pattern, content[:40])
    for role in ("pd", "storenode"):
        with open(path, "w", encoding="utf-8") as file:
            file.write(polder("config", "gen", role).stdout.replace("# data-dir: \"\"", "data-dir: /x"))
        ended = polder("config", "check", role, path)
        check(ended.returncode == 0, f"config gen {role} is refused by config check: {ended.stderr}")
    with open(path, "w", encoding="utf-8") as file:
        file.write("data-dir: /from/file\nlog-level: warn\n")
    shown = polder("config", "show", "storenode", "--config", path, "--origin", "--log-level", "debug", env={"POLDER_TICK": "50ms"}).stdout
    for pattern in (r"data-dir: /from/file +# .*x\.yaml:1", r"log-level: debug +# --log-level", r"tick: 50ms +# POLDER_TICK",
                    r"lease: 750ms +# default"):
        check(re.search(pattern, shown), f"config show --origin: no {pattern} in {shown}")
    print(f"{len(CONFIG_FILES)} configuration files refused")


# ---- directories and ports

def show_directories(c, polder, directory):
    pd = c.processes("pd")[1]
    store = c.processes()[1]
    free = c.file()["options"]["port_offset"] + 15

    def storenode(data_dir, *more):
        return polder("storenode", "--data-dir", data_dir, "--address", f"127.0.0.1:{20160 + free}", "--pd", c.pd(), *more)

    complaint(storenode(store["data_dir"]), FAILED, re.escape(store["data_dir"]) + r".*(used|held|locked) by", "a locked directory")
    complaint(polder("pd", "--data-dir", pd["data_dir"]), FAILED, re.escape(pd["data_dir"]), "pd's locked directory")
    complaint(storenode("/proc/none"), FAILED, r"/proc/none", "a directory that cannot be made")
    plain = os.path.join(directory, "plain")
    with open(plain, "w", encoding="utf-8") as file:
        file.write("x")
    complaint(storenode(plain), FAILED, re.escape(plain), "a file where a directory should be")
    busy = store["address"]
    complaint(polder("storenode", "--data-dir", os.path.join(directory, "n1"), "--address", busy, "--pd", c.pd()), FAILED,
              busy.rsplit(":", 1)[1] + r".* in use|" + re.escape(busy), "a port in use")
    complaint(polder("up", "--dir", os.path.join(directory, "n2"), "--port-offset", c.file()["options"]["port_offset"]), FAILED,
              r"port \d+ of 127\.0\.0\.1, for pd 1, is in use by another process; choose others with --port-offset", "up on used ports")
    complaint(polder("up", "--dir", c.directory), FAILED, r"already running", "up twice")
    complaint(polder("up", "--dir", plain), FAILED, re.escape(plain), "up on a file")


def show_foreign_directory(c, polder, directory):
    """A pd's data under a storenode, and a store of another cluster. The data must be unharmed."""
    other = cluster.Cluster(c.build, stores=1, regions=1)
    with other:
        other.client("kv", "put", "mine", "1")
        other.down()
        pd_dir, store_dir = other.processes("pd")[1]["data_dir"], other.processes()[1]["data_dir"]
        address = f"127.0.0.1:{cluster.free_port_offset(1) + 20160}"
        complaint(polder("storenode", "--data-dir", pd_dir, "--address", address, "--pd", c.pd()), FAILED,
                  r"start store: .*" + re.escape(pd_dir), "a storenode on pd's directory")
        complaint(polder("pd", "--data-dir", store_dir, "--address", address), FAILED, r"start pd: .*" + re.escape(store_dir),
                  "pd on a store's directory")
        other.up()
        check(other.client("kv", "get", "mine") == "1\n", "the other cluster lost its data")
    broken = os.path.join(directory, "broken")
    os.makedirs(broken)
    with open(os.path.join(broken, "cluster.json"), "w", encoding="utf-8") as file:
        file.write('{"pd": 3, "processes": [{"pid": 1}]}')
    for command in (["up"], ["down"], ["restart"], ["status"]):
        ended = polder(*command, "--dir", broken)
        check(ended.returncode in (FAILED, USAGE) and "cluster.json" in ended.stderr, f"{command} on a broken cluster.json: {ended}")
    print("directories and ports: ok")


def show_foreign_store(c, polder, directory):
    """A store that belongs to another cluster ends, and pd does not know it afterwards."""
    foreign = os.path.join(directory, "foreign")
    with cluster.Cluster(c.build, stores=1, regions=1) as other:
        other.down()
        shutil.copytree(other.processes()[1]["data_dir"], foreign)
    address = f"127.0.0.1:{cluster.free_port_offset(1) + 20160}"
    ended = polder("storenode", "--data-dir", foreign, "--address", address, "--pd", c.pd(), timeout=30)
    check(ended.returncode == FAILED, f"a store of another cluster: exit code {ended.returncode}: {ended.stderr}")
    last = ended.stderr.splitlines()[-1]
    check(f"start store: data directory {foreign} belongs to another cluster than pd at" in last, f"a store of another cluster: {ended.stderr}")
    check(len(c.status()["stores"]) == 3, "pd took in a store of another cluster")
    print("a store of another cluster ends")


# ---- keys and values

def show_absent_region(c):
    began = time.monotonic()
    ended = c.run("region", "show", 99999, "--pd", c.pd(), check_code=3)
    check("there is no region 99999" in ended.stderr and time.monotonic() - began < 5, f"a region that is none: {ended}")


def show_keys(c):
    def kv(*args, **options):
        return c.run("kv", *args, "--pd", c.pd(), check_code=None, **options)

    big = os.path.join(c.directory, "big")
    with open(big, "wb") as file:
        file.write(b"v" * (8 * 1024 * 1024))
    check(kv("put", "k" * 8192, "v").returncode == 0, "a key of 8 KiB is fine")
    check(kv("put", "large", "--value-file", big).returncode == 0, "a value of 8 MiB is fine")
    check(len(kv("get", "--raw", "large").stdout) == 8 * 1024 * 1024, "a value of 8 MiB comes back")
    with open(big, "ab") as file:
        file.write(b"v")
    complaint(kv("put", "k" * 8193, "v"), USAGE, r"KeyTooLarge", "a key over 8 KiB")
    complaint(kv("get", "k" * 8193), USAGE, r"KeyTooLarge", "a get over 8 KiB")
    complaint(kv("put", "larger", "--value-file", big), USAGE, r"EntryTooLarge", "a value over 8 MiB")
    complaint(kv("put", "", "v"), USAGE, r"KeyEmpty", "an empty key")
    complaint(kv("get", ""), USAGE, r"KeyEmpty", "an empty key in get")
    complaint(kv("delete", ""), USAGE, r"KeyEmpty", "an empty key in delete")
    complaint(kv("get", "larger"), NOT_FOUND, r"no such key", "what was refused is not there")
    complaint(kv("cas", "large", "x", "y"), CONDITION, r"condition failed", "cas")
    complaint(kv("batch", input_text="put a 1\nfrob b\n"), USAGE, r'-:2: "frob" is neither put nor delete', "a batch line that is none")
    complaint(kv("load", "-", input_text="a\t1\nno tab\n"), USAGE, r"-:2: no tab between key and value", "a load line that is none")
    complaint(kv("load", "-", input_text="a\t1\n" + "k" * 8193 + "\t1\n"), USAGE, r"-:2: .*KeyTooLarge", "a load key over 8 KiB")
    state = os.path.join(c.directory, "state")
    with open(state, "w", encoding="utf-8") as file:
        file.write("{}")
    complaint(kv("load", "-", "--resume", state, input_text="a\t1\n"), USAGE, re.escape(state), "a state file that is none")
    complaint(kv("get", "a", "--deadline", "300ms", "--pd", "127.0.0.1:1"), USAGE, r"given twice", "--pd twice")
    nobody = c.run("kv", "get", "a", "--pd", "127.0.0.1:1", "--deadline", "300ms", check_code=None)
    complaint(nobody, FAILED, r"not done: Unavailable", "nobody at --pd")
    check(c.run("status", "--pd", "127.0.0.1:1", "--deadline", "300ms", check_code=None).returncode == 2, "status without pd is down")
    print("keys and values: ok")


# ---- bytes that are no frames

def junk_frames(rng):
    """(name, bytes) of what no client of ours would send."""
    yield "random bytes", rng.randbytes(4096)
    yield "HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    yield "zeros", bytes(4096)
    yield "half a header", struct.pack("<II", 100, 0)
    yield "a frame of 100 MB", struct.pack("<IIHHI", 100 * 1024 * 1024, 0, 1, 1, 0) + bytes(65536)
    yield "a frame of 4 GB", struct.pack("<IIHHI", 0xffffffff, 0, 1, 1, 0)
    yield "a bad checksum", struct.pack("<IIHHI", 8, 1, 1, 1, 0) + bytes(8)
    yield "a truncated frame", struct.pack("<IIHHI", 1000, 1, 1, 1, 0) + bytes(10)


def ports_of(c):
    return [int(p["address"].rsplit(":", 1)[1]) for p in c.file()["processes"]]


def show_junk(c):
    rng = random.Random(1)
    before = {key: c.memory_size(pid) for key, pid in c.pids().items()}
    silent = [socket.create_connection(("127.0.0.1", port)) for port in ports_of(c) for _ in range(20)]
    half = []
    for _ in range(5):
        for port in ports_of(c):
            for _, data in junk_frames(rng):
                connection = socket.create_connection(("127.0.0.1", port))
                try:
                    connection.sendall(data)
                except OSError:
                    pass
                half.append(connection)
    check(c.client("kv", "put", "after-junk", "1") == "ok\n", "a put while junk comes in")
    closed = sum(is_closed(connection) for connection in half)
    check(closed > len(half) // 2, f"only {closed} of {len(half)} connections with junk were closed")
    # Who says nothing is not waited for longer than for a hello.
    deadline = time.monotonic() + 15
    while not all(is_closed(connection) for connection in silent):
        check(time.monotonic() < deadline, "a connection that says nothing stays open")
        time.sleep(0.2)
    for connection in half + silent:
        connection.close()
    for key, pid in c.pids().items():
        grown = c.memory_size(pid) - before[key]
        check(grown < 64 * 1024 * 1024, f"{key} grew by {grown >> 20} MiB")
    check(c.wait_healthy(10) < 10, "healthy after junk")
    check(c.client("kv", "get", "after-junk") == "1\n", "a get after junk")
    print(f"{len(half)} connections of junk and {len(silent)} silent ones: ok")


def is_closed(connection):
    connection.settimeout(0.01)
    try:
        while True:
            if connection.recv(4096) == b"":
                return True
    except socket.timeout:
        return False
    except OSError:
        return True


def body(options):
    binary = os.path.join(os.path.abspath(options.build), "polder")
    directory = tempfile.mkdtemp(prefix="polder-bad-")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("POLDER_")}

    def polder(*args, env=None, timeout=30):
        return subprocess.run([binary, *map(str, args)], capture_output=True, text=True, errors="replace", timeout=timeout,
                              env={**clean, **(env or {})}, stdin=subprocess.DEVNULL, check=False)
    try:
        show_help(binary, polder)
        show_command_line(polder)
        show_config(polder, directory)
        with cluster.Cluster(options.build, stores=3, regions=8) as c:
            show_directories(c, polder, directory)
            show_foreign_directory(c, polder, directory)
            show_keys(c)
            show_absent_region(c)
            show_junk(c)
            show_foreign_store(c, polder, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("build")
    cluster.main(body, arguments.parse_args())
