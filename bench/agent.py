#!/usr/bin/env python3
"""Measures what the agent costs on a busy machine: `make bench-agent`.

Every CPU is kept busy by the load of bench.py. The agent runs as it does by default, without a
viewer; the first minute, in which it builds unwind tables and learns names, is measured apart from
the rest. CPU time is what the kernel accounts to the process (all threads, user and system) and to
its BPF programs; memory is the resident set, once a second.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List

import bench
import process

TICKS = os.sysconf("SC_CLK_TCK")
START = 60.0


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads, in clock ticks in /proc/PID/stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def wakeups(pid: int) -> int:
    """Times that its threads went to sleep of their own accord."""
    count = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                count += int(line.split()[1])
    return count


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def report(rprof: Path, store: Path) -> Dict:
    text = process.read([rprof, "report", "--json", store])
    return json.loads(text)


def window(pid: int, seconds: float) -> Dict[str, float]:
    """CPU, wake-ups and memory of a process over some time."""
    cpu, woken, start = cpu_seconds(pid), wakeups(pid), time.monotonic()
    memory: List[float] = []
    while time.monotonic() < start + seconds:
        time.sleep(1)
        memory.append(resident_mb(pid))
    passed = time.monotonic() - start
    return {
        "cpu_percent": 100 * (cpu_seconds(pid) - cpu) / passed,
        "wakeups_a_second": (wakeups(pid) - woken) / passed,
        "rss_mb": memory[-1],
        "rss_most_mb": max(memory),
    }


def measure(options: argparse.Namespace, folder: Path) -> Dict[str, object]:
    store = folder / "store"
    command = [options.rprof, "agent", "--listen", "none", "--store", store]
    with open(folder / "log", "wb") as log:
        agent = subprocess.Popen([str(word) for word in command], stderr=log)
    try:
        start = window(agent.pid, min(START, options.seconds))
        before = report(options.rprof, store)
        steady = window(agent.pid, options.seconds)
        after = report(options.rprof, store)
    finally:
        agent.send_signal(signal.SIGTERM)
        code = agent.wait()
    if code != 0:
        raise process.Failed((folder / "log").read_text(errors="replace"))
    own, own_before = after["self"], before["self"]
    samples = after["samples"] - before["samples"]
    bpf = (own["bpf_ns"] - own_before["bpf_ns"]) / 1e9
    steady["bpf_percent"] = 100 * bpf / options.seconds
    steady["bpf_us_a_sample"] = 1e6 * bpf / max(1, samples)
    steady["samples_a_second"] = samples / options.seconds
    files = sum(path.stat().st_size for path in store.glob("*.rprof"))
    return {
        "start": start,
        "steady": steady,
        "lost": after["lost"],
        "missed": after["missed"],
        "store_bytes": files,
        "bytes_a_sample": files / max(1, after["samples"]),
        "log": (folder / "log").read_text(errors="replace").splitlines(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rprof", type=Path, default=Path("target/release/rprof"))
    parser.add_argument("--out", type=Path, default=Path("target/bench"))
    parser.add_argument("--seconds", type=float, default=120, help="after the first minute")
    parser.add_argument("--no-load", action="store_true", help="the machine as it is")
    options = parser.parse_args()
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    options.rprof = Path(shutil.copy2(options.rprof.resolve(), options.out / "rprof-agent"))
    if os.geteuid() != 0:
        sys.exit("bench: recording the whole machine needs root")
    spin = options.out / "spin"
    flags = ["-O2", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"]
    subprocess.run(["cc", *flags, "-o", spin, bench.HERE / "spin.c"], check=True)
    with tempfile.TemporaryDirectory(prefix="rprof-bench-") as name:
        if options.no_load:
            result = measure(options, Path(name))
        else:
            with bench.Load(options.out, options.rprof):
                result = measure(options, Path(name))
    result["machine"] = bench.machine()
    result["load"] = "the machine as it is" if options.no_load else bench.LOAD
    (options.out / "agent.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: result[key] for key in result if key != "log"}, indent=1))


if __name__ == "__main__":
    main()
