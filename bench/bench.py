#!/usr/bin/env python3
"""Measures rprof beside perf and libbpf-tools' profile: `make bench`.

All tools record the same load in turn, in one run, and the medians are reported with the least and
the most. Three measurements:

- cost: the whole machine with every CPU busy, from the start of the recorder to the finished SVG.
  The load stands still (SIGSTOP) from the end of the recording on, so the end is that of an
  otherwise idle machine;
- loss: the share of a CPU that a pinned loop loses to a recorder, and to nothing but that;
- unwinding: complete stacks of real programs, BPF time by depth, building of tables; see
  unwinding.py.
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
from typing import Dict, List, Optional

import process
import table
import tools
import unwinding
from accounting import accounting
from process import Child, Cost
from tools import Clocks, Tool

HERE = Path(__file__).resolve().parent
# Loss is also measured at this rate: the highest that is of any use.
FASTEST = 4999
# Before a recorder is measured by the loop, it may start up for this long, s.
WARM_UP = 1.0
SHORT_WORK = """
while :; do
    head -c 4000000 {sample} | gzip -1 > /dev/null
    {python} -c 'import json; json.dumps([str(i) for i in range(20000)])'
done
"""
LOAD = (
    "a pinned spin program on each CPU (64 stacks of 12 to 28 frames each), "
    "and a shell that runs gzip and python3 over and over"
)

Runs = Dict[str, List[Dict[str, float]]]


class Load:
    """Keeps every CPU busy. Each part leads a process group of its own, so that all stops at once."""

    def __init__(self, binaries: Path, sample: Path) -> None:
        spin, cpus = binaries / "spin", sorted(os.sched_getaffinity(0))
        commands = [[str(spin), str(cpu), str(number)] for number, cpu in enumerate(cpus)]
        script = SHORT_WORK.format(sample=sample, python=sys.executable)
        commands.append(["sh", "-c", script])
        self.parts = [
            subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)
            for command in commands
        ]

    def signal(self, number: int) -> None:
        for part in self.parts:
            os.killpg(part.pid, number)

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_: object) -> None:
        self.signal(signal.SIGKILL)
        for part in self.parts:
            part.wait()


def measure_cost(tool: Tool, hertz: int, seconds: float, load: Load) -> Dict[str, float]:
    """Records the load once, and draws it."""
    with tempfile.TemporaryDirectory(prefix="rprof-bench-") as name:
        folder = Path(name)
        started = Clocks()
        recorder = Child(tool.record(hertz), folder)
        try:
            process.sleep_until(started.monotonic / 1e9 + seconds)
            watched = tool.watch()
            load.signal(signal.SIGSTOP)
            ended = time.monotonic()
            recorder.interrupt()
            recording = recorder.wait()
            drawing = tool.draw(folder)
            done = time.monotonic()
        finally:
            recorder.kill()
            load.signal(signal.SIGCONT)
        if (folder / tools.SVG).stat().st_size == 0:
            raise process.Failed(f"{tool.name} drew nothing")
        facts = {**watched, **tool.facts(folder, started)}
    whole: Cost = recording + drawing
    figures = {
        **facts,
        "cpu_seconds": whole.cpu_seconds,
        "record_cpu_seconds": recording.cpu_seconds,
        "draw_cpu_seconds": drawing.cpu_seconds,
        "peak_rss_mb": whole.peak_rss_bytes / 1e6,
        "end_to_svg_seconds": done - ended,
    }
    if facts.get("samples"):
        figures["bytes_a_sample"] = facts["bytes"] / facts["samples"]
    return figures


def measure_loss(tool: Optional[Tool], hertz: int, seconds: float, binaries: Path) -> Dict[str, float]:
    """Runs the loop on the last CPU while the tool records, or while nothing does."""
    cpu = max(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="rprof-bench-") as name:
        folder = Path(name)
        recorder = Child(tool.record(hertz), folder) if tool else None
        try:
            time.sleep(WARM_UP)
            gaps = json.loads(process.read([binaries / "gaps", str(cpu), str(seconds)]))
            if recorder:
                recorder.interrupt()
                recorder.wait()
        finally:
            if recorder:
                recorder.kill()
    other_tasks = gaps["lost"] - gaps["interrupts"]
    return {
        "lost_percent": 100 * gaps["lost"] / gaps["seconds"],
        "interrupt_percent": 100 * gaps["interrupts"] / (gaps["seconds"] - other_tasks),
        "gaps_a_second": gaps["count"] / gaps["seconds"],
    }


class Bench:
    """One run of all measurements."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.binaries: Path = options.out
        # A copy, so that a build which ends meanwhile does not change what is measured; and its
        # hash, so that figures can be told to be of the binary that they are said to be of.
        rprof = Path(shutil.copy2(options.rprof, options.out / "rprof"))
        options.rprof = rprof
        self.hash = process.read(["sha256sum", rprof]).split()[0]
        self.tools, self.missing = tools.find(options.rprof, options.inferno, options.profile)
        self.cost: Dict[str, Runs] = {}
        self.loss: Dict[str, Runs] = {}
        self.unwinding: Dict[str, object] = {}

    def compile(self) -> None:
        flags = ["-O2", "-Wall", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"]
        for program in ("spin", "gaps", "cost"):
            source, binary = HERE / f"{program}.c", self.binaries / program
            subprocess.run(["cc", *flags, "-o", binary, source], check=True)
        process.LAUNCHER = self.binaries / "cost"

    def run(self) -> None:
        for number in range(self.options.rounds):
            say(f"round {number + 1} of {self.options.rounds}, load {load_average()}")
            with Load(self.binaries, self.options.rprof) as load:
                time.sleep(WARM_UP)
                for hertz in self.options.rates:
                    for tool in self.tools:
                        self.keep(self.cost, hertz, tool.name, lambda: measure_cost(
                            tool, hertz, self.options.seconds, load))
            for hertz in sorted({*self.options.rates, FASTEST}):
                for other in [None, *self.tools]:
                    name = other.name if other else "nothing"
                    self.keep(self.loss, hertz, name, lambda: measure_loss(
                        other, hertz, self.options.seconds / 4, self.binaries))

        say(f"unwinding, load {load_average()}")
        self.unwinding = unwinding.measure(self.options, self.missing)

    def keep(self, into: Dict[str, Runs], hertz: int, name: str, measure) -> None:
        """Measures, and goes on with the next tool where one fails."""
        say(f"  {name}, {hertz} Hz, {'cost' if into is self.cost else 'loss'}")
        runs = into.setdefault(str(hertz), {}).setdefault(name, [])
        try:
            runs.append(measure())
        except (process.Failed, subprocess.CalledProcessError, OSError, ValueError) as error:
            self.missing.append(f"{name} at {hertz} Hz failed: {error}")

    def result(self) -> Dict[str, object]:
        return {
            "machine": machine(),
            "rprof_sha256": self.hash,
            "load": LOAD,
            "rounds": self.options.rounds,
            "seconds": self.options.seconds,
            "missing": self.missing,
            "remarks": {tool.name: tool.remark for tool in self.tools if tool.remark},
            "cost": self.cost,
            "loss": self.loss,
            "unwinding": self.unwinding,
        }


def machine() -> Dict[str, object]:
    names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if "model name" in line]
    return {
        "cpu": names[0] if names else "unknown",
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": os.uname().release,
        "load_average_at_start": STARTED_AT_LOAD,
        "load_average_at_end": load_average(),
    }


def load_average() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


STARTED_AT_LOAD = load_average()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rprof", type=Path, default=Path("target/release/rprof"))
    parser.add_argument("--inferno", type=Path, default=Path("target/bench/bin"),
                        help="folder of inferno's programs")
    parser.add_argument("--profile", help="libbpf-tools' profile, if not in /usr/sbin")
    parser.add_argument("--out", type=Path, default=Path("target/bench"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rates", type=lambda text: [int(word) for word in text.split(",")],
                        default=[99, 999], metavar="HZ,...")
    parser.add_argument("--quick", action="store_true", help="one round of 5 s: for a first look")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 5.0
    for path in ("rprof", "inferno", "out"):
        setattr(options, path, getattr(options, path).resolve())
    return options


def main() -> None:
    options = parse()
    if os.geteuid() != 0:
        sys.exit("bench: recording the whole machine needs root")
    if not options.rprof.exists():
        sys.exit(f"bench: no {options.rprof}; build it: cargo build --release")
    options.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(options)
    bench.compile()
    # BPF programs of others are accounted only while this is on; rprof turns it on by itself, so
    # it is on for all of them.
    with accounting(True):
        bench.run()
    result = bench.result()
    (options.out / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    text = table.draw(result)
    (options.out / "bench.txt").write_text(text)
    print(text, end="")
    say(f"also in {options.out}/bench.txt and bench.json")


if __name__ == "__main__":
    main()
