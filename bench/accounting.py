"""The kernel's accounting of BPF run time, which costs two readings of a clock a run: it is as a
measurement needs it, whatever it was before, and is so again after."""

import contextlib
from pathlib import Path
from typing import Iterator

STATS = Path("/proc/sys/kernel/bpf_stats_enabled")


@contextlib.contextmanager
def accounting(on: bool) -> Iterator[None]:
    """With it on or, as Linux starts, off; what enables it itself has it on nevertheless."""
    before = STATS.read_text()
    try:
        STATS.write_text(str(int(on)))
        yield
    finally:
        STATS.write_text(before)
