"""What the unwinder does: complete stacks, BPF time by depth, and the building of tables."""

import argparse
import json
import mmap
import os
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Dict, List

import process

WORK = Path(__file__).resolve().parent.parent / "tests/workloads/programs.sh"

# Each program of programs.sh, and what the kernel calls it.
PROGRAMS = {
    "xz": "xz",
    "zstd": "zstd",
    "gzip": "gzip",
    "sqlite3": "sqlite3",
    "openssl": "openssl",
    "python3": "python3",
    "redis-server": "redis-server",
    "node": "node",
    "java": "java",
    "git": "git",
    "cargo": "rustc",
    "go": "stacks-go",
    "c++": "stacks-c++",
    "c++-throw": "stacks-throw",
}
DEPTHS = [20, 50]
# Files whose tables are built, at most; the largest that this machine has of these.
FILES = 10
LARGE = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/jvm",
    "/usr/lib/chromium",
    "/usr/bin",
    "/usr/lib64",
]
# How long a program may take to get ready, s.
PATIENCE = 120.0


class Group:
    """A command in a process group of its own, which ends with it."""

    def __init__(self, command: List[object], folder: Path) -> None:
        self.process = subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> subprocess.Popen:
        return self.process

    def __exit__(self, *_: object) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def record(rprof: Path, folder: Path, hertz: int, seconds: float, *target: str) -> Path:
    recording = folder / "rprof.data"
    command = [rprof, "record", "-F", hertz, "-d", f"{seconds}s", "-o", recording, *target]
    words = [str(word) for word in command]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return recording


def shares(rprof: Path, recording: Path, comm: str) -> Dict[str, object]:
    """Samples of the processes or threads called `comm`, and how many are complete."""
    folded = process.read([rprof, "export", "-f", "folded", recording])
    samples, reasons = 0, Counter()
    for line in folded.splitlines():
        stack, count = line.rsplit(" ", 1)
        frames = stack.split(";")
        if frames[0] != comm:
            continue
        samples += int(count)
        for frame in frames[1:]:
            if re.match(r"\[(incomplete|truncated|stack lost)", frame):
                reasons[frame.strip("[]")] += int(count)
                break
    broken = sum(reasons.values())
    complete = 100 * (1 - broken / samples) if samples else None
    return {"samples": samples, "complete_percent": complete, "reasons": dict(reasons)}


def programs(options: argparse.Namespace, missing: List[str]) -> Dict[str, Dict[str, object]]:
    """The share of complete stacks of each program, recorded by itself, at each rate."""
    found: Dict[str, Dict[str, object]] = {}
    for name, comm in PROGRAMS.items():
        with tempfile.TemporaryDirectory(prefix="rprof-bench-") as text:
            folder = Path(text)
            with Group(["sh", WORK, name, folder], folder) as running:
                until = time.monotonic() + PATIENCE
                while not (folder / "ready").exists() and running.poll() is None:
                    if time.monotonic() > until:
                        break
                    time.sleep(0.05)
                if not (folder / "ready").exists():
                    missing.append(f"{name}: did not start; is it installed?")
                    continue
                for hertz in options.rates:
                    try:
                        recording = record(options.rprof, folder, hertz, options.seconds, "--comm",
                                           comm)
                        figures = shares(options.rprof, recording, comm)
                        found.setdefault(name, {})[str(hertz)] = figures
                    except subprocess.CalledProcessError as error:
                        missing.append(f"{name} at {hertz} Hz: {error.stderr.decode()[-300:]}")
    return found


def depths(options: argparse.Namespace) -> Dict[str, Dict[str, List[float]]]:
    """BPF time a sample, us, of a program without frame pointers whose stacks are so deep."""
    spin = options.out / "spin-tables"
    source = Path(__file__).resolve().parent / "spin.c"
    flags = ["-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls"]
    subprocess.run(["cc", *flags, "-o", spin, source], check=True)
    cpu = max(os.sched_getaffinity(0))
    found: Dict[str, Dict[str, List[float]]] = {}
    for depth in DEPTHS:
        for hertz in options.rates:
            for _ in range(options.rounds):
                with tempfile.TemporaryDirectory(prefix="rprof-bench-") as text:
                    with Group([spin, cpu, 1, depth], Path(text)) as running:
                        recording = record(options.rprof, Path(text), hertz, options.seconds, "-p",
                                           str(running.pid))
                    report = json.loads(process.read([options.rprof, "report", "--json", recording]))
                us = report["self"]["bpf_ns"] / 1e3 / max(1, report["samples"])
                found.setdefault(str(depth), {}).setdefault(str(hertz), []).append(us)
    return found


def large_files() -> List[Path]:
    """The largest executable files of this machine, each once."""
    sizes: Dict[Path, int] = {}
    for folder in map(Path, [*LARGE, process.read(["rustc", "--print", "sysroot"]).strip()]):
        for path in folder.rglob("*"):
            if path.is_symlink() or not path.is_file() or path.stat().st_size < 1 << 20:
                continue
            with open(path, "rb") as file:
                # 2 is a program and 3 a library: not what a linker reads.
                head = file.read(18)
                if head[:5] == b"\x7fELF\x02" and head[16] in (2, 3):
                    sizes[path] = path.stat().st_size
    return sorted(sizes, key=lambda path: -sizes[path])[:FILES]


def tables(options: argparse.Namespace) -> List[Dict[str, object]]:
    """Rows, bytes and CPU time of the table of each, as `rprof doctor` builds it."""
    found = []
    for path in large_files():
        with open(path, "rb") as file, tempfile.TemporaryDirectory(prefix="rprof-bench-") as text:
            # Of this process, which the doctor then looks at: mapped, but never run.
            mapped = mmap.mmap(file.fileno(), 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
            command = [options.rprof, "doctor", "--json", "-p", str(os.getpid())]
            output = Path(text) / "doctor.json"
            with_it = min(process.run(command, Path(text), output).cpu_seconds for _ in range(3))
            code = {piece["path"]: piece for piece in json.loads(output.read_text())}
            mapped.close()
            without = min(process.run(command, Path(text), output).cpu_seconds for _ in range(3))
        piece = code.get(str(path))
        if piece and piece["rows"]:
            found.append({
                "file": str(path),
                "megabytes": path.stat().st_size / 1e6,
                "rows": piece["rows"],
                "bytes_a_row": piece["bytes"] / piece["rows"],
                "rows_a_cpu_second": piece["rows"] / max(1e-4, with_it - without),
            })
    return found


def measure(options: argparse.Namespace, missing: List[str]) -> Dict[str, object]:
    """All of it."""
    found: Dict[str, object] = {}
    for name, work in [("programs", lambda: programs(options, missing)),
                       ("depths", lambda: depths(options)), ("tables", lambda: tables(options))]:
        try:
            found[name] = work()
        except (process.Failed, subprocess.CalledProcessError, OSError, ValueError) as error:
            missing.append(f"{name}: {error}")
    return found


def lines(found: Dict) -> List[str]:
    """The tables of it, for people."""
    out: List[str] = []
    if found.get("programs"):
        rates = sorted({rate for rows in found["programs"].values() for rate in rows}, key=int)
        out += ["", "complete user stacks, each program by itself (samples)"]
        for name, rows in found["programs"].items():
            cells = []
            for rate in rates:
                row = rows.get(rate)
                if row and row["samples"]:
                    share = f"{row['complete_percent']:.2f} % ({row['samples']})"
                    reasons = ", ".join(f"{what} {n}" for what, n in row["reasons"].items())
                    cells.append(f"{rate} Hz {share}" + (f" [{reasons}]" if reasons else ""))
            out.append(f"  {name:14}" + "   ".join(cells))
    if found.get("depths"):
        out += ["", "BPF us a sample, one pinned program without frame pointers"]
        for depth, rows in found["depths"].items():
            cells = [f"{rate} Hz {median(us):.2f}" for rate, us in rows.items()]
            out.append(f"  {depth} frames  " + "   ".join(cells))
    if found.get("tables"):
        out += ["", "unwind tables: rows, bytes a row, rows a CPU second"]
        for row in found["tables"]:
            out.append(f"  {Path(row['file']).name:34} {row['megabytes']:6.0f} MB {row['rows']:9,} "
                       f"{row['bytes_a_row']:.2f} {row['rows_a_cpu_second'] / 1e6:.1f} M")
    return out
