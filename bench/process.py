"""Child processes, and what they cost: CPU time and memory as the kernel counted them."""

import itertools
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, List, Optional, Sequence, Union

Command = Sequence[Union[str, Path]]


# The launcher, once it is compiled; see cost.c for why there has to be one.
LAUNCHER = Path("cost")
NUMBERS = itertools.count()


class Failed(Exception):
    """A command ended with an error."""


@dataclass
class Cost:
    """Of a process with all children that it waited for."""

    cpu_seconds: float = 0.0
    peak_rss_bytes: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.cpu_seconds + other.cpu_seconds,
            max(self.peak_rss_bytes, other.peak_rss_bytes),
        )


class Child:
    """A process whose standard error is kept in a file, to show if it fails."""

    def __init__(
        self,
        command: Command,
        folder: Path,
        stdin: Optional[IO[bytes]] = None,
        stdout: Union[int, IO[bytes]] = subprocess.DEVNULL,
    ) -> None:
        self.name = str(command[0])
        self.log = folder / f"{Path(self.name).name}.stderr"
        self.cost = folder / f"cost-{next(NUMBERS)}.json"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(word) for word in [LAUNCHER, self.cost, *command]],
                cwd=folder,
                stdin=stdin or subprocess.DEVNULL,
                stdout=stdout,
                stderr=log,
            )

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def wait(self) -> Cost:
        """Waits for its end. A recorder that Ctrl-C ended may say so in its exit status."""
        code = self.process.wait()
        if code not in (0, 128 + signal.SIGINT):
            raise Failed(f"{self.name} ended with {code}:\n{self.log.read_text(errors='replace')}")
        return Cost(**json.loads(self.cost.read_text()))

    def kill(self) -> None:
        """Ends it if it has not ended."""
        if self.process.poll() is None:
            self.interrupt()
            self.process.wait()


def run(command: Command, folder: Path, output: Optional[Path] = None) -> Cost:
    """Runs a command to its end, with its output in a file."""
    return pipe([command], folder, output)


def pipe(commands: List[Command], folder: Path, output: Optional[Path] = None) -> Cost:
    """Runs a pipeline to its end, with the output of the last command in a file."""
    children: List[Child] = []
    upstream: Optional[IO[bytes]] = None
    with open(output or os.devnull, "wb") as out:
        for command in commands:
            last = command is commands[-1]
            child = Child(command, folder, upstream, out if last else subprocess.PIPE)
            if upstream:
                upstream.close()
            upstream = child.process.stdout
            children.append(child)
    costs = [child.wait() for child in children]
    return sum(costs, Cost())


def read(command: Command) -> str:
    """Standard output of a command."""
    words = [str(word) for word in command]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def sleep_until(moment: float) -> None:
    """Sleeps until a moment of time.monotonic()."""
    time.sleep(max(0.0, moment - time.monotonic()))
