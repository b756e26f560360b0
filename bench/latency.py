#!/usr/bin/env python3
"""Measures what `rprof latency runqlat` costs at a context switch, beside libbpf-tools' runqlat.

Two processes on one CPU pass a byte to and fro, so that next to nothing happens but context
switches. Told are the CPU time of a round trip (two switches and two wake-ups), its ratio to that
without a profiler, and the time that the kernel accounts to the tool's BPF programs a switch, all
of them together. Rounds of the tools are interleaved; of the CPU times the medians are told, as the
time of a batch is that of 20000 round trips.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from accounting import accounting

BATCHES = 5
START = 2.0


def programs() -> Dict[int, Tuple[str, int, int]]:
    """Name, run time (ns) and runs of every BPF program that is loaded."""
    text = subprocess.run(
        ["bpftool", "-j", "prog", "show"], stdout=subprocess.PIPE, check=True
    ).stdout
    return {
        program["id"]: (
            program.get("name", ""),
            program.get("run_time_ns", 0),
            program.get("run_cnt", 0),
        )
        for program in json.loads(text)
    }


def ping(binary: Path, cpu: int) -> List[float]:
    text = subprocess.run(
        [binary, str(cpu), str(BATCHES)], stdout=subprocess.PIPE, check=True
    ).stdout
    return [float(line) for line in text.split()]


def start(command: Optional[List[str]]) -> Optional[subprocess.Popen]:
    if command is None:
        return None
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    time.sleep(START)
    if child.poll() is not None:
        sys.exit(f"{command[0]} ended: {child.stderr.read().decode()}")
    return child


def measure(command: Optional[List[str]], binary: Path, cpu: int) -> Dict:
    """One round of one tool."""
    others = set(programs())
    child = start(command)
    own = set(programs()) - others
    before = programs()
    trips = ping(binary, cpu)
    after = programs()
    if child is not None:
        child.send_signal(signal.SIGINT)
        child.wait()
    result: Dict = {"trips": trips}
    if own:
        # Whoever else loads programs meanwhile has others.
        spent = {number: after[number][1] - before[number][1] for number in own & set(after)}
        runs = {number: after[number][2] - before[number][2] for number in own & set(after)}
        switches = max((runs[n] for n in runs if "switch" in after[n][0]), default=0)
        if switches:
            result["switch_ns"] = sum(spent.values()) / switches
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rprof", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("target/bench"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    args = parser.parse_args()
    tools: Dict[str, Optional[List[str]]] = {
        "bare": None,
        "rprof": [str(args.rprof), "latency", "runqlat"],
        "rprof --by thread": [str(args.rprof), "latency", "runqlat", "--by", "thread"],
    }
    other = shutil.which("runqlat") or shutil.which("runqlat-bpfcc")
    if other:
        tools["libbpf runqlat"] = [other, "3600", "1"]
    results: Dict[str, List[Dict]] = {name: [] for name in tools}
    with accounting(True), tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "ping"
        source = Path(__file__).with_name("ping.c")
        subprocess.run(["cc", "-O2", "-o", binary, source], check=True)
        for _ in range(args.rounds):
            for name, command in tools.items():
                results[name].append(measure(command, binary, args.cpu))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "latency.json").write_text(json.dumps(results, indent=1))
    show(results)


def show(results: Dict[str, List[Dict]]) -> None:
    bare = statistics.median(trip for run in results["bare"] for trip in run["trips"])
    print(f"{'':20} {'round trip, CPU ns':>20} {'times bare':>12} {'BPF ns a switch':>16}")
    for name, runs in results.items():
        trip = statistics.median(trip for run in runs for trip in run["trips"])
        spent = [run["switch_ns"] for run in runs if "switch_ns" in run]
        cost = f"{statistics.median(spent):.0f}" if spent else ""
        print(f"{name:20} {trip:20.0f} {trip / bare:12.2f} {cost:>16}")


if __name__ == "__main__":
    main()
