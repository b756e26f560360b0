"""The recorders: how each is started, and how its recording becomes an SVG."""

import json
import re
import shutil
import time
from pathlib import Path
from typing import Dict, List, Optional

import process
from process import Command, Cost

SVG = "flamegraph.svg"


class Tool:
    """One recorder. Its files are in the folder that it is started in."""

    name = ""
    # What is not as in the issue, for a note below the table.
    remark = ""

    def record(self, hertz: int) -> Command:
        """The command that records the whole machine until SIGINT."""
        raise NotImplementedError

    def draw(self, folder: Path) -> Cost:
        """Makes the SVG of what was recorded."""
        raise NotImplementedError

    def watch(self) -> Dict[str, float]:
        """Looks at the recorder right before it is ended: figures that are gone afterwards."""
        return {}

    def facts(self, folder: Path, started: "Clocks") -> Dict[str, float]:
        """What the recording tells: samples, bytes and more, by the key of the figure."""
        raise NotImplementedError


class Clocks:
    """One moment on both clocks that recordings are in, ns."""

    def __init__(self) -> None:
        self.monotonic = time.monotonic_ns()
        self.real = time.time_ns()


class Rprof(Tool):
    """What is to be measured."""

    name = "rprof"
    options: List[str] = []

    def __init__(self, binary: Path) -> None:
        self.binary = binary

    def record(self, hertz: int) -> Command:
        return [self.binary, "record", "-F", str(hertz), *self.options]

    def draw(self, folder: Path) -> Cost:
        return process.run([self.binary, "flamegraph"], folder, folder / SVG)

    def facts(self, folder: Path, started: Clocks) -> Dict[str, float]:
        recording = folder / "rprof.data"
        report = json.loads(process.read([self.binary, "report", "--json", recording]))
        own = report["self"]
        facts = {
            "samples": report["samples"],
            "lost": report["lost"],
            "bytes": recording.stat().st_size,
            "bpf_us": own["bpf_ns"] / 1e3 / max(1, report["samples"]),
            "bpf_seconds": own["bpf_ns"] / 1e9,
        }
        first = first_window(recording)
        if first is not None:
            facts["first_ms"] = (report["info"]["start"] + first - started.real) / 1e6
        return facts


class FramePointers(Rprof):
    """The same without unwind tables: what those cost is the difference."""

    name = "rprof, frame pointers only"
    options = ["--frame-pointers"]


def first_window(recording: Path) -> Optional[int]:
    """The time of the first sample, ns since the recording's start."""
    try:
        import sqlite3
    except ImportError:  # a Python built without it
        return None
    with sqlite3.connect(f"file:{recording}?mode=ro", uri=True) as db:
        (start,) = db.execute("SELECT min(start) FROM window").fetchone()
    return int(start) if start is not None else None


class Perf(Tool):
    """perf with frame pointers, and inferno for the picture."""

    name = "perf -g"

    def __init__(self, inferno: Path) -> None:
        self.inferno = inferno

    def record(self, hertz: int) -> Command:
        # The clock costs nothing and lets its first sample be found on ours.
        clock = ["-k", "CLOCK_MONOTONIC"]
        return ["perf", "record", "-F", str(hertz), "-e", "cpu-clock", "-g", "-a", *clock]

    def draw(self, folder: Path) -> Cost:
        chain: List[Command] = [
            ["perf", "script"],
            [self.inferno / "inferno-collapse-perf"],
            [self.inferno / "inferno-flamegraph"],
        ]
        return process.pipe(chain, folder, folder / SVG)

    def facts(self, folder: Path, started: Clocks) -> Dict[str, float]:
        recording = folder / "perf.data"
        times = process.read(["perf", "script", "-F", "time", "--ns", "-G", "-i", recording])
        seconds = [float(word) for word in re.findall(r"(\d+\.\d+):", times)]
        facts = {"samples": len(seconds), "bytes": recording.stat().st_size}
        if seconds:
            facts["first_ms"] = min(seconds) * 1e3 - started.monotonic / 1e6
        return facts


class PerfDwarf(Perf):
    """perf with a copy of 8 KB of each stack, which it unwinds afterwards."""

    name = "perf --call-graph dwarf"

    def record(self, hertz: int) -> Command:
        clock = ["-k", "CLOCK_MONOTONIC"]
        return ["perf", "record", "-F", str(hertz), "-e", "cpu-clock", "--call-graph", "dwarf", "-a",
                *clock]


class Lightswitch(Tool):
    """Unwinds by tables in BPF too, and draws by itself when it ends."""

    name = "lightswitch"
    remark = "keeps no recording, and does not tell how many samples it took"

    def __init__(self, binary: Path) -> None:
        self.binary = binary

    def record(self, hertz: int) -> Command:
        return [self.binary, "--sample-freq", str(hertz), "--profile-name", SVG]

    def draw(self, folder: Path) -> Cost:
        return Cost()

    def facts(self, folder: Path, started: Clocks) -> Dict[str, float]:
        return {}


class Libbpf(Tool):
    """`profile` of libbpf-tools, which prints folded stacks when it ends."""

    name = "libbpf profile"
    remark = "its bytes are its folded stacks, without time and thread"

    def __init__(self, binary: Path, inferno: Path) -> None:
        self.binary = binary
        self.inferno = inferno

    def record(self, hertz: int) -> Command:
        script = f'exec "{self.binary}" -F {hertz} -f > profile.folded'
        return ["sh", "-c", script]

    def draw(self, folder: Path) -> Cost:
        command = [self.inferno / "inferno-flamegraph", "profile.folded"]
        return process.run(command, folder, folder / SVG)

    def watch(self) -> Dict[str, float]:
        programs = json.loads(process.read(["bpftool", "prog", "show", "-j"]))
        ours = [program for program in programs if program.get("name") == "do_perf_event"]
        if not ours or not ours[-1].get("run_cnt"):
            return {}
        time_ns, runs = ours[-1]["run_time_ns"], ours[-1]["run_cnt"]
        return {"bpf_us": time_ns / 1e3 / runs, "bpf_seconds": time_ns / 1e9}

    def facts(self, folder: Path, started: Clocks) -> Dict[str, float]:
        folded = folder / "profile.folded"
        lines = folded.read_text(errors="replace").splitlines()
        counts = [int(line.rsplit(" ", 1)[1]) for line in lines if re.search(r" \d+$", line)]
        return {"samples": sum(counts), "bytes": folded.stat().st_size}


def find(rprof: Path, inferno: Path, profile: Optional[str]) -> "tuple[List[Tool], List[str]]":
    """The tools that are here, and what is said of those that are not."""
    tools: List[Tool] = [Rprof(rprof), FramePointers(rprof)]
    missing: List[str] = []
    if not (inferno / "inferno-flamegraph").exists():
        missing.append(
            "inferno: not installed, so nothing to draw perf's flame graph with: "
            "cargo install inferno --version 0.12.8 --locked"
        )
        return tools, missing
    if shutil.which("perf"):
        tools += [Perf(inferno), PerfDwarf(inferno)]
    else:
        missing.append("perf: not installed (Debian: linux-perf, Ubuntu: linux-tools-generic)")
    # Debian's package has it from bcc 0.27 on; Fedora's has it under the second name. Not from the
    # whole path: other programs have the first.
    names = [shutil.which(name, path="/usr/sbin:/usr/local/sbin") for name in ("profile", "bpf-profile")]
    binary = profile or next(filter(None, names), None)
    if binary and shutil.which("bpftool"):
        tools.append(Libbpf(Path(binary), inferno))
    else:
        missing.append("libbpf-tools' profile, or bpftool: not installed (--profile PATH names one)")
    lightswitch = shutil.which("lightswitch") or shutil.which("lightswitch", path=str(inferno))
    if lightswitch:
        tools.append(Lightswitch(Path(lightswitch)))
    else:
        missing.append(
            "lightswitch: not installed: cargo install lightswitch --version 0.7.0 --locked "
            f"--root {inferno.parent}"
        )
    return tools, missing
