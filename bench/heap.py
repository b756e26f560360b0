#!/usr/bin/env python3
"""Measures what a malloc and its free cost under each way to watch them: part of `make bench`.

The same program, pair.c, is run bare, with rprof's preload shim and nobody who listens, recorded by
rprof with the shim and with probes, and under heaptrack where it is installed; all in turn, several
times. It tells the least CPU time of a pair in many rounds, so that what else runs does not count.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Callable, Dict, List

import bench

# Rounds and pairs in each: a second at most where each call traps twice.
ROUNDS, PAIRS = 40, 20000
SIZES = (64, 4096)
Run = Callable[[List[str]], str]


def run(command: List, folder: Path, **environment: str) -> str:
    env = {**os.environ, **environment}
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, env=env, capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(f"bench: {command[0]} failed: {done.stderr}")
    return done.stdout


def shim(rprof: Path, folder: Path) -> str:
    """The file that a command is preloaded with."""
    words = [rprof, "record", "-s", "heap", "--rate", "512", "-o", folder / "out"]
    return run([*words, "--", "sh", "-c", "ls / > /dev/null; echo $LD_PRELOAD"], folder).strip()


def ways(rprof: Path, folder: Path) -> Dict[str, Run]:
    preloaded = shim(rprof, folder)
    record = [rprof, "record", "-s", "heap", "-o", folder / "out"]
    # Who names an allocator has it probed; the budget off, or it would be probed for moments only.
    probed = ["--allocator-prefix", "none_", "--max-overhead", "0"]
    found = {
        "bare": lambda words: run(words, folder),
        "preload shim, nobody listens": lambda words: run(words, folder, LD_PRELOAD=preloaded),
        "rprof, command": lambda words: run([*record, "--", *words], folder),
        "rprof, command, --rate 0": lambda words: run([*record, "--rate", "0", "--", *words], folder),
        "rprof, probes": lambda words: run([*record, *probed, "--", *words], folder),
    }
    if shutil.which("heaptrack"):
        heaptrack = ["heaptrack", "-o", folder / "heaptrack"]
        found["heaptrack"] = lambda words: run([*heaptrack, *words], folder)
    return found


def pair_ns(output: str) -> float:
    """heaptrack writes lines of its own around that of the program."""
    for line in output.splitlines():
        try:
            return float(line)
        except ValueError:
            pass
    sys.exit(f"bench: no figure in {output!r}")


def measure(rprof: Path, folder: Path, program: Path, repeat: int) -> Dict[str, Dict[str, List[float]]]:
    result: Dict[str, Dict[str, List[float]]] = {}
    for _ in range(repeat):
        for name, way in ways(rprof, folder).items():
            for size in SIZES:
                words = [str(word) for word in (program, size, ROUNDS, PAIRS)]
                figures = result.setdefault(name, {}).setdefault(str(size), [])
                figures.append(pair_ns(way(words)))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rprof", type=Path, default=Path("target/release/rprof"))
    parser.add_argument("--out", type=Path, default=Path("target/bench"))
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("bench: recording needs root")
    options.out.mkdir(parents=True, exist_ok=True)
    program = (options.out / "pair").resolve()
    subprocess.run(["cc", "-O2", "-o", program, bench.HERE / "pair.c"], check=True)
    with tempfile.TemporaryDirectory(prefix="rprof-bench-") as name:
        result = measure(options.rprof.resolve(), Path(name), program, options.repeat)
    text = json.dumps({"machine": bench.machine(), "ns_a_pair": result}, indent=1)
    (options.out / "heap.json").write_text(text + "\n")
    print("| ns of CPU time for a malloc and its free | " + " | ".join(f"{s} B" for s in SIZES) + " |")
    print("|---|" + "---|" * len(SIZES))
    for name, sizes in result.items():
        cells = (f"{median(sizes[str(size)]):.1f}" for size in SIZES)
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
