"""Processes on cores of their own, and what they consume."""

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# How long a process may take to end when it is asked to.
PATIENCE_S = 10


def raise_descriptor_limit() -> int:
    """Takes as many descriptors as the system gives, for this process and all that it starts."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


@contextmanager
def on_cores(cores: list[int]) -> Iterator[None]:
    """What is started within runs on these cores: set here and inherited, so that no other program comes between."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Process:
    """A process with its children, which ends with the `with` block."""

    def __init__(self, command: list[str], cores: list[int], output: Path, environment: dict[str, str] | None = None):
        self.output = output
        with on_cores(cores), output.open("wb") as sink:
            self.child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=os.environ | (environment or {}),
                cwd=output.parent,
            )

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        """Ends it, gently at first. Children that outlive it are ended too: the ports are needed again."""
        family = list(self.family())
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        for pid in family[1:]:
            # Still a child of the process that was ended, not a stranger with its number.
            if str(self.output.parent) in os_link(f"/proc/{pid}/cwd"):
                os.kill(pid, signal.SIGKILL)

    def ended(self) -> bool:
        """Whether it is gone."""
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
        """What it and its children occupy, shared pages divided among those who share them."""
        lines = (line for pid in self.family() for line in read(Path(f"/proc/{pid}/smaps_rollup")).splitlines())
        return float(sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")))

    def said(self) -> str:
        """All that it has printed."""
        return read(self.output)


def read(file: Path) -> str:
    """A file's text; empty when it is gone, as files of processes and threads may be at any time."""
    try:
        return file.read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def os_link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
