#!/usr/bin/env python3
"""What a probe at a function costs the program, a hit: `rprof record -e`, `trace -e`, `latency -e`.

A loop of calls of a function that begins with a push, bare and probed in each way, one after the
other in each round. The figure is the CPU time of a call, which the program takes itself as the
median of 101 stretches; and the least of all rounds. Next to it stands what perf and bpftrace take
for the same, where they are installed and work.

    bench/probe.py [--rprof FILE] [--rounds N]
"""

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Dict, List, Optional

from accounting import accounting

ROOT = Path(__file__).resolve().parent.parent
WORKLOAD = ROOT / "tests/workloads/probe.c"
FUNCTION = "begin_with_push"
# Calls of a stretch, of which there are 101.
CALLS = 1000


def ways(rprof: str, program: str, folder: str) -> Dict[str, List[str]]:
    """The commands that the program is put behind."""
    probe = f"uprobe:{program}:{FUNCTION}"
    record = [rprof, "record", "-o", f"{folder}/out", "-e"]
    trace = [rprof, "trace", "-o", "/dev/null", "-e"]
    found = {
        "bare": [],
        "rprof record -e": [*record, probe, "--"],
        "rprof record -e, one in 1000": [*record, f"{probe},1000", "--"],
        "rprof trace -e": [*trace, probe, "--"],
        "rprof trace -e, return": [*trace, f"{probe}/ret", "--"],
    }
    if shutil.which("bpftrace"):
        script = f"uprobe:{program}:{FUNCTION} {{ @[ustack] = count(); }}"
        found["bpftrace, stacks counted"] = ["bpftrace", "-o", "/dev/null", "-e", script, "-c"]
    return found


def call_ns(command: List[str], program: str) -> Optional[float]:
    words = [program, "spin", str(CALLS)]
    if command[:1] == ["bpftrace"]:
        words = [" ".join(words)]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        try:
            return float(line)
        except ValueError:
            pass
    return None


def has_link(pid: int) -> bool:
    """True once a process has attached a program."""
    for file in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if "bpf_link" in os.readlink(file):
                return True
        except OSError:
            pass  # closed meanwhile
    return False


def latency_ns(rprof: str, program: str) -> Optional[float]:
    """It takes no command: it is started before, and ended after."""
    probe = f"uprobe:{program}:{FUNCTION}"
    gauge = subprocess.Popen(
        [rprof, "latency", "-e", probe], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while gauge.poll() is None and not has_link(gauge.pid):
            time.sleep(0.01)
        return call_ns([], program)
    finally:
        gauge.send_signal(2)
        gauge.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rprof", default=str(ROOT / "target/release/rprof"))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with accounting(False), tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/probe"
        flags = ["-O1", "-fno-omit-frame-pointer", "-pthread"]
        subprocess.run(["cc", *flags, "-o", program, str(WORKLOAD)], check=True)
        figures: Dict[str, List[float]] = {}
        for _ in range(options.rounds):
            for name, command in ways(options.rprof, program, folder).items():
                figures.setdefault(name, []).extend(filter(None, [call_ns(command, program)]))
            timed = latency_ns(options.rprof, program)
            figures.setdefault("rprof latency -e", []).extend(filter(None, [timed]))
        print(f"{'a call of a function, ns of CPU time':40} least   all")
        for name, found in figures.items():
            least = f"{min(found):8.1f}" if found else "  failed"
            print(f"{name:36} {least}   {' '.join(f'{one:.1f}' for one in found)}")


if __name__ == "__main__":
    main()
