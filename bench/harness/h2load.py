"""Load over HTTP/2, from nghttp2's h2load. It does not tell when it had to connect again."""

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from harness.figures import Refused
from harness.load import Outcome
from harness.processes import Process, on_cores

# What it prints at the ends of the time that counts.
BEGIN = "Main benchmark duration is started"
END = "Main benchmark duration is over"

# A message of 13 bytes behind its length, as gRPC frames it.
MESSAGE = b"\x00\x00\x00\x00\x0d" + b"x" * 13


@dataclass(frozen=True)
class Streams:
    """Requests at a time: so many on each of so many connections."""

    connections: int = 8
    each: int = 32
    tls: bool = False
    grpc: bool = False

    def command(self, port: int, folder: Path) -> list[str]:
        """What to start; the body of gRPC calls goes to a file in the folder."""
        command = ["h2load", "-t1", f"-c{self.connections}", f"-m{self.each}"]
        if self.grpc:
            message = folder / "message"
            message.write_bytes(MESSAGE)
            command += [f"--data={message}", "-Hcontent-type: application/grpc", "-Hte: trailers"]
        return [*command, f"{'https' if self.tls else 'http'}://127.0.0.1:{port}/"]


def run(command: list[str], times: tuple[float, float], cores: list[int], balancer: Process) -> Outcome:
    """Saturates a balancer; refuses a result with any fault. Times are whole seconds."""
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
        raise Refused(f"the load failed: {' '.join(said.split())[-200:]}")
    (begin, before), (end, after) = marks
    return Outcome(answered(said), end - begin, after - before)


def answered(said: str) -> int:
    """How many requests were answered, by what it printed; refused if one was not, or not with a status of 200 to 299."""
    requests = counts(said, r"^requests: (.*)")
    codes = counts(said, r"^status codes: (.*)")
    bad = {name: requests.get(name, 0) for name in ("failed", "errored", "timeout")}
    bad |= {name: count for name, count in codes.items() if name != "2xx"}
    faults = [f"{count} {name}" for name, count in bad.items() if count]
    if faults or not codes.get("2xx"):
        raise Refused(", ".join(faults) or "nothing answered")
    return codes["2xx"]


def counts(said: str, line: str) -> dict[str, int]:
    """`5 done, 3 failed` as names and numbers."""
    found = re.search(line, said, re.MULTILINE)
    return {name: int(count) for count, name in re.findall(r"(\d+) (\w+)", found[1] if found else "")}
