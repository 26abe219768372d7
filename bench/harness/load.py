"""Generates load on a balancer and collects the result."""

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from harness.figures import Rejected
from harness.processes import Process, on_cores

# How long a load generator may take beyond the requested time before it is killed.
PATIENCE_S = 60


@dataclass(frozen=True)
class Work:
    """A workload: the requests, and the number of connections."""

    connections: int = 64
    path: str = "/"
    paths: Path | None = None
    post: int | None = None
    close: bool = False
    tls: bool = False
    # Whether wrk generates the load for saturation.
    by_wrk: bool = False
    # Options of `bench-load` for a load of other things than requests, which are what it then counts.
    other: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """The arguments for `bench-load`."""
        words = ["--connections", str(self.connections)]
        words += ["--paths", str(self.paths)] if self.paths else ["--path", self.path]
        words += ["--post", str(self.post)] if self.post else []
        words += ["--tls"] if self.tls else []
        words += self.other
        return words + (["--close"] if self.close else [])


@dataclass(frozen=True)
class Outcome:
    """The result of a load, and the CPU time that the balancer used meanwhile."""

    completed: int
    seconds: float
    cpu_us: float
    latency_us: dict[str, float] = field(default_factory=dict)

    def per_second(self) -> float:
        """Completed requests per second."""
        return self.completed / self.seconds

    def cpu_us_a_request(self) -> float:
        """CPU time of the balancer per completed request."""
        return self.cpu_us / self.completed

    def busy_percent(self, cores: int) -> float:
        """The share of its cores that the balancer used."""
        return self.cpu_us / 1e4 / self.seconds / cores


class Load:
    """A running load of our own generator. It has begun when this is constructed; `outcome` waits for its end."""

    def __init__(self, command: list[str], cores: list[int], balancer: Process):
        self.balancer = balancer
        with on_cores(cores):
            self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        begin = self.line()
        if begin != "begin":
            raise Rejected(f"bench-load did not start: {self.child.communicate()[1].strip() or begin}")
        self.before = balancer.cpu_us()

    def line(self) -> str:
        assert self.child.stdout
        return self.child.stdout.readline().strip()

    def outcome(self) -> Outcome:
        """Waits for the end; rejects a result with any error."""
        line = self.line()
        cpu_us = self.balancer.cpu_us() - self.before
        try:
            errors = self.child.communicate(timeout=PATIENCE_S)[1]
        finally:
            self.child.kill()
        if not line:
            raise Rejected(f"bench-load failed: {errors.strip()}")
        said = json.loads(line)
        faults = [f"{count} {name}" for name, count in said["faults"].items() if count]
        if faults or not said["answered"]:
            raise Rejected(", ".join(faults) or "no response to any request")
        return Outcome(said["answered"], said["seconds"], cpu_us, said["latency_us"])


def wrk(url: str, work: Work, times: tuple[float, float], cores: list[int], balancer: Process) -> Outcome:
    """The same load from wrk, to compare generators: whole seconds, GET, keep-alive. wrk does not report reconnects."""
    warm_up, seconds = (max(1, round(time)) for time in times)
    command = ["wrk", "-t1", f"-c{work.connections}"]
    with on_cores(cores):
        subprocess.run([*command, f"-d{warm_up}s", url], capture_output=True, check=True)
        before = balancer.cpu_us()
        said = subprocess.run([*command, f"-d{seconds}s", url], capture_output=True, check=True, text=True).stdout
    cpu_us = balancer.cpu_us() - before
    faults = re.findall(r"(?:Non-2xx|Socket errors).*", said)
    count = re.search(r"(\d+) requests in ([\d.]+)s", said)
    if faults or not count or count[1] == "0":
        raise Rejected("; ".join(faults) or "no response to any request")
    return Outcome(int(count[1]), float(count[2]), cpu_us)
