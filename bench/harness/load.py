"""Load on a balancer, and what it shows."""

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from harness.figures import Refused
from harness.processes import Process, on_cores

# What a load may take beyond the time it was asked for before it is given up.
PATIENCE_S = 60


@dataclass(frozen=True)
class Work:
    """What is asked for, and on how many connections."""

    connections: int = 64
    path: str = "/"
    paths: Path | None = None
    post: int | None = None
    close: bool = False
    tls: bool = False
    # Whether wrk makes it where the balancer is to be saturated.
    by_wrk: bool = False

    def arguments(self) -> list[str]:
        """As `bench-load` understands it."""
        words = ["--connections", str(self.connections)]
        words += ["--paths", str(self.paths)] if self.paths else ["--path", self.path]
        words += ["--post", str(self.post)] if self.post else []
        words += ["--tls"] if self.tls else []
        return words + (["--close"] if self.close else [])


@dataclass(frozen=True)
class Outcome:
    """What a load showed, and what the balancer consumed meanwhile."""

    answered: int
    seconds: float
    cpu_us: float
    latency_us: dict[str, float] = field(default_factory=dict)

    def per_second(self) -> float:
        """Requests answered a second."""
        return self.answered / self.seconds

    def cpu_us_a_request(self) -> float:
        """CPU time of the balancer for each request answered."""
        return self.cpu_us / self.answered

    def busy_percent(self, cores: int) -> float:
        """How much of its cores the balancer used."""
        return self.cpu_us / 1e4 / self.seconds / cores


class Load:
    """A running load of our own generator; what is done between `begun` and `outcome` happens under it."""

    def __init__(self, command: list[str], cores: list[int], balancer: Process):
        self.balancer = balancer
        with on_cores(cores):
            self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        begin = self.line()
        if begin != "begin":
            raise Refused(f"no load: {self.child.communicate()[1].strip() or begin}")
        self.before = balancer.cpu_us()

    def line(self) -> str:
        assert self.child.stdout
        return self.child.stdout.readline().strip()

    def outcome(self) -> Outcome:
        """Waits for the end; refuses a result with any fault."""
        line = self.line()
        cpu_us = self.balancer.cpu_us() - self.before
        try:
            errors = self.child.communicate(timeout=PATIENCE_S)[1]
        finally:
            self.child.kill()
        if not line:
            raise Refused(f"the load failed: {errors.strip()}")
        said = json.loads(line)
        faults = [f"{count} {name}" for name, count in said["faults"].items() if count]
        if faults or not said["answered"]:
            raise Refused(", ".join(faults) or "nothing answered")
        return Outcome(said["answered"], said["seconds"], cpu_us, said["latency_us"])


def wrk(url: str, work: Work, times: tuple[float, float], cores: list[int], balancer: Process) -> Outcome:
    """The same load from wrk, to compare generators: whole seconds, GET, keep-alive. It does not tell when a connection
    was opened anew."""
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
        raise Refused("; ".join(faults) or "nothing answered")
    return Outcome(int(count[1]), float(count[2]), cpu_us)
