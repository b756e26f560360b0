#!/usr/bin/env python3
"""Measures what `rprof record -s offcpu` costs at a context switch, beside libbpf-tools' offcputime,
and how much of PostgreSQL's time a recording of `cpu,offcpu` accounts for.

The first is that of latency.py: two processes on one CPU pass a byte to and fro, while the whole
machine is recorded with full stacks. The second is PostgreSQL under pgbench, in a folder of its own:
of the time of its backends from the recording's start to its end, how much is in the recording, and
how much of that has complete stacks. Neither needs a quiet machine; ratios and shares are told.
"""

import argparse
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List, Optional

import latency
from accounting import accounting

BACKENDS = 8
SCALE = "10"
STATES = ["[sleep]", "[disk]", "[lock]", "[preempted]", "[runnable]"]


def storm(args: argparse.Namespace, folder: Path) -> Dict[str, List[Dict]]:
    """Rounds of each tool."""
    tools: Dict[str, Optional[List[str]]] = {
        "bare": None,
        "rprof": [str(args.rprof), "record", "-s", "offcpu", "-o", str(folder / "storm")],
    }
    other = shutil.which("offcputime") or shutil.which("bpf-offcputime")
    if other:
        tools["libbpf offcputime"] = [other, "3600"]
    results: Dict[str, List[Dict]] = {name: [] for name in tools}
    binary = folder / "ping"
    source = Path(__file__).with_name("ping.c")
    subprocess.run(["cc", "-O2", "-o", binary, source], check=True)
    with accounting(True):
        for _ in range(args.rounds):
            for name, command in tools.items():
                results[name].append(latency.measure(command, binary, args.cpu))
    return results


class Postgres:
    """A server of its own in a folder, on a socket there."""

    def __init__(self, bin_folder: Path, folder: Path) -> None:
        self.bin, self.folder = bin_folder, folder
        self.user = "postgres"
        account = pwd.getpwnam(self.user)
        folder.mkdir()
        os.chown(folder, account.pw_uid, account.pw_gid)
        self.run("initdb", "-D", str(folder / "data"), "-A", "trust", "--no-sync")
        options = f"-k {folder} -c listen_addresses="
        self.run("pg_ctl", "-D", str(folder / "data"), "-l", str(folder / "log"), "-w",
                 "-o", options, "start")  # fmt: skip
        self.run("pgbench", "-h", str(folder), "-i", "-q", "-s", SCALE, "postgres")

    def command(self, program: str, *words: str) -> List[str]:
        own = self.bin / program
        program = str(own) if own.exists() else str(shutil.which(program))
        return ["setpriv", "--reuid", self.user, "--regid", self.user, "--clear-groups", program, *words]

    def run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            self.command(program, *words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/"
        )
        if done.returncode:
            sys.exit(f"{program}: {done.stderr.decode()}")

    def backends(self) -> List[int]:
        """Processes that serve a client."""
        server = int((self.folder / "data/postmaster.pid").read_text().split()[0])
        found = []
        for entry in Path("/proc").iterdir():
            try:
                parent = (entry / "stat").read_text().rsplit(") ", 1)[1].split()[1]
                words = (entry / "cmdline").read_bytes()
            except (OSError, IndexError):
                continue
            if parent == str(server) and b"[local]" in words:
                found.append(int(entry.name))
        return found

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "stop")


def postgres(args: argparse.Namespace, folder: Path) -> Optional[Dict]:
    """What a recording accounts for of the time of PostgreSQL's backends."""
    bins = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not bins:
        print("no PostgreSQL: apt-get install postgresql")
        return None
    server = Postgres(bins[-1], folder / "postgres")
    try:
        seconds = str(args.seconds + 30)
        load = subprocess.Popen(
            server.command("pgbench", "-h", str(server.folder), "-c", str(BACKENDS), "-j", "2",
                           "-T", seconds, "postgres"),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while len(server.backends()) < BACKENDS:
            if time.monotonic() > deadline:
                sys.exit("pgbench has not started")
            time.sleep(0.1)
        before = set(server.backends())
        file = folder / "wall"
        pids = ",".join(map(str, before))
        subprocess.run(
            [args.rprof, "record", "-s", "cpu,offcpu", "-d", f"{args.seconds}s", "-p", pids, "-o", file],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        lived = before & set(server.backends())
        load.terminate()
        load.wait()
        return account(args.rprof, file, lived)
    finally:
        server.stop()


def account(rprof: Path, file: Path, backends: set) -> Dict:
    """Of the time of these processes what a recording has, and how much of it is whole."""

    def tell(*words: str) -> str:
        return subprocess.run([rprof, *words, file], check=True, stdout=subprocess.PIPE).stdout.decode()

    report = json.loads(tell("report", "--json", "-s", "cpu,offcpu"))
    duration = report["info"]["duration"]
    shares, total, whole = [], 0, 0
    states: Dict[str, int] = {}
    for pid in sorted(backends):
        sum_ns = 0
        for line in tell("export", "-f", "folded", "-s", "cpu,offcpu", "-p", str(pid)).splitlines():
            stack, value = line.rsplit(" ", 1)
            sum_ns += int(value)
            # A remark of rprof's at the root says that a stack is cut, and why.
            cut = any(mark in stack for mark in ("[incomplete", "[truncated]", "[stack"))
            whole += 0 if cut else int(value)
            leaf = stack.rsplit(";", 1)[1]
            state = leaf if leaf in STATES else "on CPU"
            states[state] = states.get(state, 0) + int(value)
        total += sum_ns
        shares.append(sum_ns / duration)
    return {
        "backends": len(backends),
        "seconds": duration / 1e9,
        "accounted": total / (duration * len(backends)),
        "least": min(shares),
        "most": max(shares),
        "whole": whole / total,
        "states": {state: ns / total for state, ns in states.items()},
        "lost": report["lost"],
        "missed": report["missed"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rprof", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("target/bench"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    args = parser.parse_args()
    args.rprof = args.rprof.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        result = {"storm": storm(args, folder), "postgres": postgres(args, folder)}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "offcpu.json").write_text(json.dumps(result, indent=1))
    latency.show(result["storm"])
    if result["postgres"]:
        told = result["postgres"]
        print(
            f"PostgreSQL, {told['backends']} backends, {told['seconds']:.1f} s: "
            f"{told['accounted']:.1%} of their time ({told['least']:.1%} to {told['most']:.1%}), "
            f"{told['whole']:.2%} of it with complete stacks, {told['lost']} samples lost"
        )
        states = sorted(told["states"].items(), key=lambda item: -item[1])
        print("  " + ", ".join(f"{state} {share:.1%}" for state, share in states))


if __name__ == "__main__":
    main()
