"""Starts processes on chosen cores and measures what they consume."""

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

# How long a process may take to end after SIGTERM.
PATIENCE_S = 10


def raise_descriptor_limit() -> int:
    """Raises the descriptor limit to its maximum, for this process and all that it starts."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


@contextmanager
def on_cores(cores: list[int]) -> Iterator[None]:
    """Processes started inside run on these cores. They inherit the affinity, so no other program like taskset is involved."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class Program:
    """A program to start."""

    command: list[str]
    # In addition to the environment of this process.
    environment: dict[str, str] = field(default_factory=dict)
    # Its root directory, if not that of this machine.
    root: Path | None = None


@contextmanager
def in_root(root: Path | None) -> Iterator[None]:
    """Processes started inside have this root directory, if there is one. They inherit it, so the program `chroot` does not
    count as part of a start, and Python starts all of them in the same way."""
    if not root:
        yield
        return
    outside, before = (os.open(folder, os.O_RDONLY | os.O_DIRECTORY) for folder in ("/", "."))
    try:
        os.chroot(root)
        yield
    finally:
        # A descriptor from outside the new root leads back to the old one.
        os.fchdir(outside)
        os.chroot(".")
        os.fchdir(before)
        os.close(outside)
        os.close(before)


def inside(root: Path | None, path: Path) -> str:
    """A path as programs with this root directory see it; unchanged without one."""
    return f"/{path.relative_to(root)}" if root else str(path)


class Process:
    """A process and its children, which end with the `with` block."""

    def __init__(self, program: Program, cores: list[int], output: Path):
        self.output = output
        # Opened before chroot: the root need not have it.
        nothing = open(os.devnull, "rb")
        with nothing, output.open("wb") as sink, on_cores(cores), in_root(program.root):
            self.child = subprocess.Popen(
                program.command,
                stdin=nothing,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=os.environ | program.environment,
                cwd=inside(program.root, output.parent),
            )

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        """Ends it, first with SIGTERM. Children that outlive it are killed too, because the ports are needed again."""
        family = list(self.family())
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        for pid in family[1:]:
            # Checks that it is still a child of the ended process, not another process with the same number.
            if str(self.output.parent) in os_link(f"/proc/{pid}/cwd"):
                os.kill(pid, signal.SIGKILL)

    def ended(self) -> bool:
        """Whether it has ended."""
        return self.child.poll() is not None

    def family(self) -> Iterator[int]:
        """The process and all below it."""
        waiting = [self.child.pid]
        while waiting:
            pid = waiting.pop()
            yield pid
            for file in Path(f"/proc/{pid}/task").glob("*/children"):
                waiting += [int(child) for child in read(file).split()]

    def cpu_us(self) -> float:
        """CPU time that all its threads have used so far, in µs."""
        files = (file for pid in self.family() for file in Path(f"/proc/{pid}/task").glob("*/schedstat"))
        return sum(int((read(file) or "0").split()[0]) for file in files) / 1000

    def memory_kib(self) -> float:
        """Memory of it and its children; shared pages are divided among the processes that share them (PSS)."""
        lines = (line for pid in self.family() for line in read(Path(f"/proc/{pid}/smaps_rollup")).splitlines())
        return float(sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")))

    def said(self) -> str:
        """Its output so far."""
        return read(self.output)


def read(file: Path) -> str:
    """The text of a file; empty if it is gone, as files of processes and threads may be at any time."""
    try:
        return file.read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def os_link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
