"""A cluster of real processes for the e2e tests: started by `polder up` in a directory of its own on free ports,
stopped and removed at the end. Standard library only.

    with cluster.Cluster(build, stores=3, regions=64) as c:
        c.polder("kv", "put", "a", "1")
        c.kill(2)           # kill -9 of storenode 2
        c.restart(2)

When the body raises, the end of every process's log is printed and the directory is kept.
"""
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PD_PORT = 2379
STORE_PORT = 20160
LOG_TAIL = 15


class Failed(Exception):
    """What was to be shown was not."""


def check(condition, text):
    if not condition:
        raise Failed(text)


def is_free(port):
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port_offset(stores, pds=1):
    """Tests run side by side, so the search starts anywhere. Kernels give out ports from 32768 on: stay below."""
    for _ in range(200):
        offset = random.randrange(100, 12000, 40)
        if all(is_free(port + offset) for port in [PD_PORT + 10 * i for i in range(pds)] + [PD_PORT + 2 + 10 * i for i in range(pds)] + [STORE_PORT + i for i in range(stores)] +
               [STORE_PORT + 20 + i for i in range(stores)]):
            return offset
    raise Failed("no free ports")


def is_alive(pid):
    """A zombie is dead, unless other threads of it are still on their way out: then it has its locks and ports."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return fields[0] not in "ZX" or int(fields[17]) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def completed(binary, *words):
    """What bash would offer for the last of these words."""
    script = """eval "$("$0" completion bash)"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
                f=$(complete -p "$1" | sed 's/.*-F \\([^ ]*\\).*/\\1/'); $f "$1"; printf '%s\\n' "${COMPREPLY[@]}" """
    return subprocess.run(["bash", "-c", script, binary, *words], capture_output=True, text=True, timeout=30, check=True).stdout.split()


def program(build, name):
    """The path of a program of build/tests; one that is not built by default is built now."""
    path = os.path.join(build, "tests", name)
    if not os.path.exists(path):
        subprocess.run(["ninja", "-C", build, f"tests/{name}"], stdout=subprocess.DEVNULL, check=True)
    return path


class Cluster:
    def __init__(self, build, stores=3, regions=16, directory=None, keep=False, timeout="60s", env=None, pds=1):
        self.build = os.path.abspath(build)
        self.binary = os.path.join(self.build, "polder")
        self.prefix = []  # in front of each command, to run it elsewhere
        self.stores, self.regions, self.keep, self.timeout, self.pds = stores, regions, keep, timeout, pds
        self.environment = {**os.environ, **(env or {})}
        self.directory = tempfile.mkdtemp(prefix="polder-e2e-", dir=directory)
        self.ready_seconds = None
        self.last_pids = {}

    # ---- life

    def __enter__(self):
        try:
            self.up()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.print_logs()
        self.run("down", "--dir", self.directory, check_code=None, timeout=60)
        for pid in self.pids().values():
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        if self.keep or kind is not None:
            print(f"kept {self.directory}", flush=True)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)
        return False

    def up(self):
        """The first call makes the cluster, later ones start it again."""
        for attempt in range(5):
            offset = free_port_offset(self.stores, self.pds)
            started = time.monotonic()
            ended = self.run("up", "--pds", self.pds, "--stores", self.stores, "--regions", self.regions, "--dir", self.directory,
                             "--port-offset", offset, "--timeout", self.timeout, "--detach", check_code=None)
            self.ready_seconds = time.monotonic() - started
            if ended.returncode == 0:
                self.pids()
                return
            # Somebody else may have taken the port in between.
            if "is in use" not in ended.stderr or attempt == 4:
                raise Failed(f"polder up: exit code {ended.returncode}: {ended.stdout}{ended.stderr}")

    def down(self):
        return self.polder("down", "--dir", self.directory)

    # ---- commands

    def run(self, *args, check_code=0, timeout=120, input_text=None):
        """`polder ARGS`. check_code: the exit code that is demanded; None: any."""
        command = self.prefix + [self.binary] + [str(arg) for arg in args]
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout,
                               input=input_text, env=self.environment, check=False)
        if check_code is not None and ended.returncode != check_code:
            raise Failed(f"{' '.join(command)[:300]}: exit code {ended.returncode}, not {check_code}: "
                         f"{ended.stdout[-2000:]}{ended.stderr[-2000:]}")
        return ended

    def polder(self, *args, **options):
        """Standard output of a command that needs no cluster address, or has it."""
        return self.run(*args, **options).stdout

    def client(self, *args, **options):
        """Standard output of a client command (kv, bench)."""
        return self.run(*args, "--pd", self.pd(), **options).stdout

    def tool(self, name, *args, check_code=0, timeout=300):
        """A program of build/tests."""
        command = self.prefix + [program(self.build, name)] + [str(arg) for arg in args]
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout, check=False)
        if check_code is not None and ended.returncode != check_code:
            raise Failed(f"{' '.join(command)[:300]}: exit code {ended.returncode}: {ended.stdout[-2000:]}{ended.stderr[-2000:]}")
        return ended

    def bench_start(self, *args):
        """A bench in the background; end it with bench_end."""
        command = [*self.prefix, self.binary, "bench", *[str(arg) for arg in args], "--pd", self.pd(), "-o", "json"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment)

    def bench_end(self, process, timeout=120):
        out, complaints = process.communicate(timeout=timeout)
        try:
            return json.loads(out)
        except ValueError:
            raise Failed(f"bench: exit code {process.returncode}: {out[-1000:]}{complaints[-1000:]}") from None

    def bench(self, *args, timeout=120):
        return self.bench_end(self.bench_start(*args), timeout)

    # ---- what there is

    def file(self):
        with open(os.path.join(self.directory, "cluster.json"), encoding="utf-8") as file:
            return json.load(file)

    def pd(self):
        return self.file()["pd"]

    def processes(self, role="storenode"):
        return {p["id"]: p for p in self.file()["processes"] if p["role"] == role}

    def pids(self):
        try:
            self.last_pids = {(p["role"], p["id"]): p["pid"] for p in self.file()["processes"]}
        except (OSError, ValueError):
            pass  # somebody removed the directory: what was there last must still be stopped
        return self.last_pids

    def data_dirs(self):
        return [p["data_dir"] for _, p in sorted(self.processes().items())]

    def status(self):
        """What `polder status -o json` prints, with its exit code as `exit_code`."""
        ended = self.run("status", "--pd", self.pd(), "-o", "json", check_code=None)
        try:
            return {**json.loads(ended.stdout), "exit_code": ended.returncode}
        except ValueError:
            raise Failed(f"status: exit code {ended.returncode}: {ended.stdout}{ended.stderr}") from None

    def wait_healthy(self, seconds=30):
        """Seconds that it took."""
        started = time.monotonic()
        while True:
            status = self.status()
            if status["exit_code"] == 0:
                return time.monotonic() - started
            if time.monotonic() - started > seconds:
                raise Failed(f"not healthy after {seconds} s: {status['health']}: {status['reason']}")
            time.sleep(0.05)

    def spread(self):
        """Regions with bounds as bytes, leader and number of keys, in key order."""
        regions = [json.loads(line) for line in self.tool("spread", self.pd()).stdout.splitlines()]
        for region in regions:
            region["start"], region["end"] = bytes.fromhex(region["start"]), bytes.fromhex(region["end"])
        return regions

    def compare_replicas(self):
        """The cluster must be down, and have as many replicas as stores."""
        ended = self.tool("replicas", *self.data_dirs(), check_code=None)
        check(ended.returncode == 0, f"replicas differ: {ended.stdout}{ended.stderr}")
        return json.loads(ended.stdout)

    def memory_size(self, pid):
        """Resident bytes."""
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))

    # ---- harm

    def kill(self, *ids):
        """kill -9 of storenodes, all at once; returns when they are gone."""
        pids = [self.processes()[store]["pid"] for store in ids]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while any(is_alive(pid) for pid in pids):
            check(time.monotonic() < deadline, f"kill -9 did not end {pids}")
            time.sleep(0.002)

    def restart(self, store, wait=True):
        self.polder("restart", "--dir", self.directory, "--role", "storenode", "--id", store,
                    *([] if wait else ["--timeout", "0s"]))
        self.pids()

    def start(self, role, number):
        """A process that is dead; does not wait until it serves."""
        self.polder("restart", "--dir", self.directory, "--role", role, "--id", number, "--timeout", "0s")
        self.pids()

    def print_logs(self):
        try:
            processes = self.file()["processes"]
        except (OSError, ValueError):
            return
        for process in processes:
            state = "alive" if is_alive(process["pid"]) else "dead"
            print(f"--- {process['role']} {process['id']} ({state}): {process['log']}")
            try:
                with open(process["log"], encoding="utf-8", errors="replace") as file:
                    print("".join(file.readlines()[-LOG_TAIL:]), end="")
            except OSError as error:
                print(error)
        sys.stdout.flush()


def main(body, *arguments):
    """Runs a test: `body()` prints what it shows; a Failed is one line and exit code 1."""
    try:
        body(*arguments)
    except Failed as error:
        print(f"FAILED: {error}", flush=True)
        sys.exit(1)
    except subprocess.TimeoutExpired as error:
        print(f"FAILED: {error}", flush=True)
        sys.exit(1)
