#!/usr/bin/env python3
"""What `rprof trace` costs the program that it traces, beside strace, perf trace, libbpf-tools and
bpftrace.

Two loops (getppid; open and close of one file), bare and under each tracer, one after the other in
each round, so that whatever else runs meets all of them. The figure is the wall time of a loop: the
program takes it itself, as the median of stretches of 200, of which most run undisturbed on a busy
machine too; and the least of all rounds.
What traces the whole machine runs beside it; tools that do not start here are named, with what they
say. Then `trace open` beside 10,000 opens a second: CPU time of rprof, less what its start takes, and of
its BPF programs as the CPU time that the opens take more than bare. Last storms of opens by one
program for each CPU, paced and as fast as they can: what was told, and what was counted as lost.

    bench/trace.py [--rprof FILE] [--rounds N]
"""

import argparse
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from accounting import accounting

ROOT = Path(__file__).resolve().parent.parent
WORKLOAD = ROOT / "tests/workloads/syscalls.c"
GETPPID, OPEN = "getppid", "open and close"
STORM = ROOT / "tests/workloads/open.c"
# Opens a second, and for how long.
RATE, SECONDS = 10_000, 10
# Opens a second of all programs of a storm; 0: as fast as they can.
STORMS, STORM_SECONDS = (50_000, 100_000, 150_000, 200_000, 0), 5
# libbpf-tools, the first of which is also measured beside the loops.
TOOLS = ("opensnoop", "execsnoop", "exitsnoop", "sigsnoop", "bashreadline", "tcpstates", "syscount")
# Until a tool has attached, s.
ATTACH = 3


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


def found(tool: str) -> Optional[str]:
    """A tool of libbpf-tools, which some distributions call by another name."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return shutil.which(tool, path=path) or shutil.which("bpf-" + tool, path=path)


def start(command: List[str]) -> "subprocess.Popen[str]":
    """Starts what traces the whole machine; fails if it does not stay."""
    tool = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    time.sleep(ATTACH)
    if tool.poll() is not None:
        said = tool.communicate()[1].strip().splitlines()
        raise RuntimeError(f"exit {tool.returncode}: {said[-1] if said else 'it says nothing'}")
    return tool


def stop(tool: "subprocess.Popen[str]") -> None:
    """Ends it as Ctrl-C does."""
    tool.send_signal(signal.SIGINT)
    tool.communicate()


def machine_wide() -> Dict[str, List[str]]:
    """What runs beside the loops and traces them among all else."""
    beside = {}
    opensnoop, bpftrace = found("opensnoop"), found("bpftrace")
    if opensnoop:
        beside["opensnoop"] = [opensnoop]
    if bpftrace:
        count = "tracepoint:raw_syscalls:sys_enter { @[args->id] = count(); }"
        beside["bpftrace, counting"] = [bpftrace, "-e", count]
    return beside


def which_start() -> None:
    """Says which of libbpf-tools start on this kernel."""
    for name in TOOLS:
        tool = found(name)
        if not tool:
            print(f"{name}: not installed")
            continue
        try:
            stop(start([tool]))
            print(f"{name}: starts")
        except RuntimeError as error:
            print(f"{name}: {error}")


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
    for name, tracer in machine_wide().items():
        try:
            tool = start(tracer)
        except RuntimeError as error:
            print(f"# {name}: {error}")
            continue
        for loop, command in loops(program, file, False).items():
            best[(name, loop)] = min(run(command)[0] for _ in range(rounds))
        stop(tool)
    print(f"{'':26}{'getppid':>20}{'open and close':>20}   ns a loop (times bare), lost")
    for name in [*tracers(rprof), *machine_wide()]:
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


def counted(said: str) -> Tuple[int, int]:
    """Events that were told, and lost, by what rprof says at its end."""
    words = said.split(" events in ")[0].split()[-1], said.split(" lost;")[0].split()[-1]
    return int(words[0].replace(",", "")), int(words[1].replace(",", ""))


def storms(rprof: str, folder: str) -> None:
    """What is told and what is lost of more and more opens, in default buffers."""
    paced, free = os.path.join(folder, "storm-paced"), os.path.join(folder, "storm-free")
    for program, source in ((paced, WORKLOAD), (free, STORM)):
        subprocess.run(["cc", "-O1", "-pthread", "-o", program, str(source)], check=True)
    programs = os.cpu_count() or 1
    for rate in STORMS:
        each = rate // programs
        count = str(each * STORM_SECONDS)
        command = [paced, "open", count, os.path.join(folder, "file"), str(each)]
        if not rate:
            command = [free, folder, "0", str(STORM_SECONDS)]
        trace = [rprof, "trace", "open", "-o", "/dev/null", "--comm", Path(command[0]).name]
        tracer = subprocess.Popen(trace, stderr=subprocess.PIPE, text=True)
        time.sleep(ATTACH)
        begun = time.monotonic()
        running = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(programs)
        ]
        outputs = [one.communicate()[0] for one in running]
        seconds = time.monotonic() - begun
        tracer.send_signal(signal.SIGINT)
        told, lost = counted(tracer.communicate()[1])
        happened = int(count) * programs if rate else sum(int(text) for text in outputs)
        asked = f"{rate:,} opens a second asked for" if rate else "as fast as they can"
        print(
            f"storm of {programs} programs, {asked}: {happened / seconds:,.0f} a second; "
            f"{told:,} told, {lost:,} lost of {happened:,}"
        )


def main() -> None:
    """Measures everything."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rprof", default=str(ROOT / "target/release/rprof"))
    options.add_argument("--rounds", type=int, default=5)
    args = options.parse_args()
    with accounting(False), tempfile.TemporaryDirectory() as folder:
        program, file = os.path.join(folder, "calls"), os.path.join(folder, "file")
        subprocess.run(["cc", "-O1", "-pthread", "-o", program, str(WORKLOAD)], check=True)
        Path(file).touch()
        print(f"load average {os.getloadavg()[0]:.1f}, {args.rounds} rounds")
        compare(args.rprof, program, file, args.rounds)
        busy(args.rprof, program, file, args.rounds)
        storms(args.rprof, folder)
        which_start()


if __name__ == "__main__":
    main()
