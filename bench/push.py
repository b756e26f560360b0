#!/usr/bin/env python3
"""Measures what pushing costs on a busy machine: CPU time and bytes on the wire, a window.

Every CPU is kept busy by the load of bench.py. The agent runs as it does by default, without a page,
and pushes windows of 10 s to a server on loopback that takes all and counts. CPU time is what the
kernel accounts to the process that pushes, from the first window on.
"""

import argparse
import contextlib
import http.server
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Dict, List

import agent as agents
import bench
import process

# The names of the receivers that speak HTTP, each measured by itself.
PROTOCOLS = ["pyroscope+http", "otlp+http", "parca+http", "pprof+http"]
# A window is sent so long after its end.
SETTLE = 80.0
WINDOW = 10.0


class Sink(http.server.ThreadingHTTPServer):
    """Takes all that is posted."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: List[int] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        size = int(self.headers["content-length"])
        self.rfile.read(size)
        # What its head has is on the wire, too.
        head = len(self.requestline) + sum(len(k) + len(v) + 4 for k, v in self.headers.items())
        self.server.requests.append(size + head)  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


def cpu_ms(pid: int) -> float:
    """CPU time of all threads, to the nanosecond: schedstat (sched-stats.rst)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def child_of(pid: int) -> int:
    """The one child of an agent without a page."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    if len(found) != 1:
        raise process.Failed(f"the agent has {len(found)} children")
    return int(found[0])


def windows(store: Path) -> int:
    """Windows that were sent so far."""
    files = list((store / "push").glob("*.json"))
    return sum(json.loads(file.read_text())["windows"] for file in files)


def wait_for(store: Path, count: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while windows(store) < count:
        if time.monotonic() > end:
            raise process.Failed(f"{windows(store)} windows in {seconds} s")
        time.sleep(0.2)


def measure(options: argparse.Namespace, folder: Path, protocol: str) -> Dict[str, object]:
    store, sink = folder / "store", Sink()
    to = f"{protocol}://127.0.0.1:{sink.server_address[1]}"
    command = [options.rprof, "agent", "--listen", "none", "--store", store, "--push", to]
    with open(folder / "log", "wb") as log:
        agent = subprocess.Popen([str(word) for word in command], stderr=log)
    try:
        # The first one reads all names, so it is not like those that follow.
        wait_for(store, 1, SETTLE + 6 * WINDOW)
        pid = child_of(agent.pid)
        cpu, sent, before = cpu_ms(pid), len(sink.requests), windows(store)
        first = sum(sink.requests)
        wait_for(store, before + options.windows, (options.windows + 6) * WINDOW)
        count = windows(store) - before
        result = {
            "windows": count,
            "cpu_ms_a_window": (cpu_ms(pid) - cpu) / count,
            "bytes_a_window": sum(sink.requests[sent:]) / count,
            "bytes_of_the_first": first,
            "requests_a_window": (len(sink.requests) - sent) / count,
            "median_request": statistics.median(sink.requests[sent:]),
            "rss_mb": agents.resident_mb(pid),
        }
    finally:
        agent.send_signal(signal.SIGTERM)
        code = agent.wait()
        sink.shutdown()
    if code != 0:
        raise process.Failed((folder / "log").read_text(errors="replace"))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rprof", type=Path, default=Path("target/release/rprof"))
    parser.add_argument("--out", type=Path, default=Path("target/bench"))
    parser.add_argument("--windows", type=int, default=6, help="of each protocol")
    parser.add_argument("--protocol", action="append", choices=PROTOCOLS)
    parser.add_argument("--no-load", action="store_true", help="the machine as it is")
    options = parser.parse_args()
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    options.rprof = Path(shutil.copy2(options.rprof.resolve(), options.out / "rprof-push"))
    if os.geteuid() != 0:
        sys.exit("bench: recording the whole machine needs root")
    spin = options.out / "spin"
    flags = ["-O2", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"]
    subprocess.run(["cc", *flags, "-o", spin, bench.HERE / "spin.c"], check=True)
    load = contextlib.nullcontext() if options.no_load else bench.Load(options.out, options.rprof)
    results: Dict[str, object] = {}
    with load:
        for protocol in options.protocol or PROTOCOLS:
            with tempfile.TemporaryDirectory(prefix="rprof-bench-") as name:
                # The user that pushes has to come by.
                os.chmod(name, 0o755)
                results[protocol] = measure(options, Path(name), protocol)
    results["machine"] = bench.machine()
    results["load"] = "the machine as it is" if options.no_load else bench.LOAD
    (options.out / "push.json").write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
