"""HTTP/2 load, and HTTP/1.1 load with header fields, from nghttp2's h2load. It does not report reconnects."""

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from harness.figures import Rejected
from harness.load import Outcome
from harness.processes import Process, on_cores

# The lines that it prints at the start and the end of the measured time.
BEGIN = "Main benchmark duration is started"
END = "Main benchmark duration is over"

# A gRPC message of 13 bytes, with its prefix.
MESSAGE = b"\x00\x00\x00\x00\x0d" + b"x" * 13


@dataclass(frozen=True)
class Streams:
    """Concurrency: the number of connections, and of streams on each."""

    connections: int = 8
    each: int = 32
    tls: bool = False
    grpc: bool = False
    path: str = "/"

    def command(self, port: int, folder: Path) -> list[str]:
        """The command line; the body of gRPC calls is written to a file in the folder."""
        command = ["h2load", "-t1", f"-c{self.connections}", f"-m{self.each}"]
        if self.grpc:
            message = folder / "message"
            message.write_bytes(MESSAGE)
            command += [f"--data={message}", "-Hcontent-type: application/grpc", "-Hte: trailers"]
        return [*command, f"{'https' if self.tls else 'http'}://127.0.0.1:{port}{self.path}"]


@dataclass(frozen=True)
class Bodies:
    """GETs over HTTP/1.1, one at a time on each connection, of these paths in turn."""

    connections: int
    paths: list[str]
    coding: str

    def command(self, port: int) -> list[str]:
        """The command line."""
        urls = [f"http://127.0.0.1:{port}{path}" for path in self.paths]
        return ["h2load", "--h1", "-t1", f"-c{self.connections}", f"-Haccept-encoding: {self.coding}", *urls]


def run(command: list[str], times: tuple[float, float], cores: list[int], balancer: Process) -> Outcome:
    """Saturates a balancer; rejects a result with any error. Times are whole seconds."""
    warm_up, seconds = (max(1, round(time)) for time in times)
    timed = [command[0], f"--duration={seconds}", f"--warm-up-time={warm_up}", *command[1:]]
    with on_cores(cores):
        child = subprocess.Popen(timed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    marks = []
    said = ""
    with child:
        for line in child.stdout:
            said += line
            if line.startswith((BEGIN, END)):
                marks.append((time.monotonic(), balancer.cpu_us()))
    if len(marks) != 2:
        raise Rejected(f"h2load failed: {' '.join(said.split())[-200:]}")
    (begin, before), (end, after) = marks
    return Outcome(completed(said), end - begin, after - before, times_us(said))


def completed(said: str) -> int:
    """The number of completed requests in its output; rejected if any failed or had a status other than 200 to 299."""
    requests = counts(said, r"^requests: (.*)")
    codes = counts(said, r"^status codes: (.*)")
    bad = {name: requests.get(name, 0) for name in ("failed", "errored", "timeout")}
    bad |= {name: count for name, count in codes.items() if name != "2xx"}
    faults = [f"{count} {name}" for name, count in bad.items() if count]
    if faults or not codes.get("2xx"):
        raise Rejected(", ".join(faults) or "no response to any request")
    return codes["2xx"]


def times_us(said: str) -> dict[str, float]:
    """The least, largest and mean time of a request in its output, in microseconds."""
    heads = re.search(r"^ +(min +max .*)$", said, re.MULTILINE)
    found = re.search(r"^(?:time for request|request) *: *(.*)$", said, re.MULTILINE)
    if not (heads and found):
        raise Rejected("h2load reported no times")
    pairs = zip(heads[1].split(), found[1].split())
    return {name: microseconds(text) for name, text in pairs if name in ("min", "max", "mean")}


def microseconds(text: str) -> float:
    """Parses `19.30ms`."""
    unit = text.lstrip("0123456789.")
    return float(text.removesuffix(unit)) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def counts(said: str, line: str) -> dict[str, int]:
    """Parses `5 done, 3 failed` into names and numbers."""
    found = re.search(line, said, re.MULTILINE)
    return {name: int(count) for count, name in re.findall(r"(\d+) (\w+)", found[1] if found else "")}
