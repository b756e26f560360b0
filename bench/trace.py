#!/usr/bin/env python3
"""What `rprof trace` costs the program that it traces, beside strace and perf trace.

Two loops (getppid; open and close of one file), bare and under each tracer, one after the other in
each round, so that whatever else runs meets all of them. The figure is the wall time of a loop: the
program takes it itself, as the median of stretches of 200, of which most run undisturbed on a busy
machine too; and the least of all rounds.
Then `trace open` beside 10,000 opens a second: CPU time of rprof, less what its start takes, and of
its BPF programs as the CPU time that the opens take more than bare.

    bench/trace.py [--rprof FILE] [--rounds N]
"""

import argparse
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Dict, List, Tuple

ROOT = Path(__file__).resolve().parent.parent
WORKLOAD = ROOT / "tests/workloads/syscalls.c"
GETPPID, OPEN = "getppid", "open and close"
# Opens a second, and for how long.
RATE, SECONDS = 10_000, 10


def tracers(rprof: str) -> Dict[str, List[str]]:
    """The commands that a traced one is put behind; none of them shows what it traced."""
    found = {
        "bare": [],
        "rprof trace syscalls": [rprof, "trace", "syscalls", "-o", "/dev/null", "--"],
        "rprof trace syscalls -c": [rprof, "trace", "syscalls", "-c", "-o", "/dev/null", "--"],
        "rprof trace open": [rprof, "trace", "open", "-o", "/dev/null", "--"],
    }
    if shutil.which("strace"):
        found["strace -f"] = ["strace", "-f", "-o", "/dev/null"]
        found["strace -c"] = ["strace", "-f", "-c", "-o", "/dev/null"]
    if shutil.which("perf"):
        found["perf trace"] = ["perf", "trace", "-o", "/dev/null"]
        found["perf trace -s"] = ["perf", "trace", "-s", "-o", "/dev/null"]
    return found


def run(command: List[str]) -> Tuple[float, float, str]:
    """Wall and CPU ns a loop, and what the tracer said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    words = done.stdout.split()
    if done.returncode or len(words) < 2:
        raise RuntimeError(f"{command}: {done.stderr.strip()[-200:]}")
    return float(words[0]), float(words[1]), done.stderr


def loops(program: str, file: str, slow: bool) -> Dict[str, List[str]]:
    """The two loops; a tracer that stops the program at each call gets fewer of them."""
    count = 20_000 if slow else 300_000
    return {GETPPID: [program, "getppid", str(count)], OPEN: [program, "open", str(count), file]}


def compare(rprof: str, program: str, file: str, rounds: int) -> None:
    """The table of the loops."""
    best: Dict[Tuple[str, str], float] = {}
    lost: Dict[Tuple[str, str], str] = {}
    for _ in range(rounds):
        for name, tracer in tracers(rprof).items():
            for loop, command in loops(program, file, "strace" in name or "perf" in name).items():
                try:
                    wall, _, said = run(tracer + command)
                except RuntimeError as error:
                    print(f"# {name}: {error}")
                    continue
                key = (name, loop)
                best[key] = min(wall, best.get(key, wall))
                if " lost;" in said:
                    lost[key] = said.split(" lost;")[0].split()[-1]
    print(f"{'':26}{'getppid':>20}{'open and close':>20}   ns a loop (times bare), lost")
    for name in tracers(rprof):
        cells = []
        for loop in (GETPPID, OPEN):
            wall, bare = best.get((name, loop)), best[("bare", loop)]
            cells.append("-" if wall is None else f"{wall:,.0f} ({wall / bare:.1f})")
        losses = " ".join(lost[(name, loop)] for loop in (GETPPID, OPEN) if (name, loop) in lost)
        print(f"{name:26}{cells[0]:>20}{cells[1]:>20}   {losses}")


def used(said: str) -> float:
    """CPU seconds of rprof, by itself."""
    return float(said.split("used ")[1].split(" s of CPU")[0])


def busy(rprof: str, program: str, file: str, rounds: int) -> None:
    """What `trace open` costs at a steady rate."""
    opens = [program, "open", str(RATE * SECONDS), file, str(RATE)]
    trace = [rprof, "trace", "open", "-o", "/dev/null", "-d"]
    shares = []
    for _ in range(rounds):
        _, bare, _ = run(opens)
        start = subprocess.run([*trace, "1ms"], stderr=subprocess.PIPE, text=True, check=True)
        tracer = subprocess.Popen([*trace, f"{SECONDS + 1}s"], stderr=subprocess.PIPE, text=True)
        _, traced, _ = run(opens)
        said = tracer.communicate()[1]
        own = used(said) - used(start.stderr)
        kernel = (traced - bare) * RATE / 1e9
        shares.append((own / SECONDS + kernel, own / SECONDS, kernel, said))
    shares.sort()
    whole, own, kernel, said = shares[0]
    print(
        f"trace open at {RATE:,} opens a second: {100 * whole:.2f} % of one CPU "
        f"({100 * own:.2f} % rprof, {100 * kernel:.2f} % in the program); "
        f"{said.split(' lost;')[0].split()[-1]} lost"
    )


def main() -> None:
    """Measures everything."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rprof", default=str(ROOT / "target/release/rprof"))
    options.add_argument("--rounds", type=int, default=5)
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program, file = os.path.join(folder, "calls"), os.path.join(folder, "file")
        subprocess.run(["cc", "-O1", "-pthread", "-o", program, str(WORKLOAD)], check=True)
        Path(file).touch()
        print(f"load average {os.getloadavg()[0]:.1f}, {args.rounds} rounds")
        compare(args.rprof, program, file, args.rounds)
        busy(args.rprof, program, file, args.rounds)


if __name__ == "__main__":
    main()
