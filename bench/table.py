"""The table of a run: a row per figure, a column per tool."""

from statistics import median
from typing import Dict, List

import unwinding

# Key, what it is, digits after the point.
COST = [
    ("cpu_seconds", "CPU s, start to finished SVG", 3),
    ("record_cpu_seconds", "  of it while recording", 3),
    ("draw_cpu_seconds", "  of it to draw", 3),
    ("bpf_seconds", "BPF s, in the recorded programs' time", 3),
    ("bpf_us", "BPF us a sample", 2),
    ("peak_rss_mb", "peak memory, MB", 1),
    ("end_to_svg_seconds", "end of recording to SVG, s", 3),
    ("bytes_a_sample", "recording, bytes a sample", 1),
    ("first_ms", "start to first sample, ms", 0),
    ("samples", "samples", 0),
    ("lost", "samples lost", 0),
]
LOSS = [
    ("lost_percent", "% of a CPU in gaps over 400 ns", 2),
    ("interrupt_percent", "% of its own time in gaps of 0.4 to 200 us", 2),
]

Runs = List[Dict[str, float]]


def cell(runs: Runs, key: str, digits: int) -> str:
    """Median, least and most."""
    values = [run[key] for run in runs if key in run]
    if not values:
        return "-"
    middle, least, most = (f"{f(values):.{digits}f}" for f in (median, min, max))
    return middle if least == most else f"{middle} ({least}-{most})"


def lines(title: str, figures: List, tools: Dict[str, Runs]) -> List[str]:
    """One table."""
    names = [name for name in tools if tools[name]]
    rows = [[title, *names]]
    for key, what, digits in figures:
        cells = [cell(tools[name], key, digits) for name in names]
        if any(text != "-" for text in cells):
            rows.append([what, *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(t.rjust(w) for t, w in zip(row[1:], widths[1:]))])
        for row in rows
    ]


def draw(result: Dict) -> str:
    """The whole of it."""
    machine = result["machine"]
    out = [
        f"{machine['cpus']} x {machine['cpu']}, Linux {machine['kernel']}; load average "
        f"{machine['load_average_at_start']} at the start, {machine['load_average_at_end']} at the end",
        f"load: {result['load']}",
        f"rprof: sha256 {result['rprof_sha256'][:16]}",
        f"median (least-most) of {result['rounds']}, tools in turn, {result['seconds']:g} s each",
    ]
    for hertz, runs in result["cost"].items():
        out += ["", *lines(f"cost at {hertz} Hz", COST, runs)]
    for hertz, runs in result["loss"].items():
        out += ["", *lines(f"loss at {hertz} Hz", LOSS, runs)]
    out += unwinding.lines(result["unwinding"])
    notes = [f"{name}: {remark}" for name, remark in result["remarks"].items()]
    out += ["", *notes, *result["missing"]] if notes or result["missing"] else []
    return "\n".join(out) + "\n"
