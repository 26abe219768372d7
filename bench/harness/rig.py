"""Everything that a case needs: tools, backends, one balancer at a time, and load on it."""

import http.client
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from subprocess import SubprocessError
from tempfile import TemporaryDirectory

from harness import certificate, h2load
from harness.balancers import Balancer, Settings
from harness.figures import Rejected, Results
from harness.h2load import Bodies, Streams
from harness.load import Load, Outcome, Work, wrk
from harness.options import Options
from harness.processes import Process, Program, on_cores

# How long a balancer may take from its start to its first response. Long, for 100,000 routes.
START_S = 120

# Addresses of one backend process: with a listener and an idle connection each, it needs fewer than 20,000 descriptors.
ADDRESSES_OF_A_PROCESS = 4000

# Ports to listen on, below the range of outgoing connections. Each is used once, so earlier rounds have no influence.
PORTS = itertools.chain(range(20000 + os.getpid() % 5000, 32000), range(10000, 20000))


@dataclass(frozen=True)
class Running:
    """A running balancer that serves requests."""

    balancer: Balancer
    process: Process
    port: int
    folder: Path
    # From just before its start to its first response.
    start_ms: float

@dataclass(frozen=True)
class Spot:
    """The place of a value in the table, and its round."""

    case: str
    work: str
    balancer: str
    number: int


@dataclass(frozen=True)
class Rig:
    """The options, programs and results of a run."""

    options: Options
    balancers: list[Balancer]
    tools: Path
    folder: Path
    results: Results

    def peers_and_ours(self) -> list[Balancer]:
        """All but the floor, which supports only small GETs."""
        return [balancer for balancer in self.balancers if not balancer.is_floor()]

    @cached_property
    def certificate(self) -> Path:
        """The certificate for `Settings` with TLS."""
        return certificate.make(self.folder / "certificate")

    def rounds(self, what: str) -> Iterator[int]:
        """Counts the rounds and prints the progress. In each round all balancers have a turn: A B C A B C …"""
        for number in range(self.options.rounds):
            print(f"{what}: round {number + 1} of {self.options.rounds}", file=sys.stderr, flush=True)
            yield number

    @contextmanager
    def turn(self, spot: "Spot", figures: list[str]) -> Iterator[None]:
        """A balancer's turn in a round. A failure inside is recorded as the value of all these figures, and the other
        balancers continue."""
        try:
            yield
        except (Rejected, OSError, ValueError, SubprocessError, HTTPException) as failure:
            rejection = failure if isinstance(failure, Rejected) else Rejected(repr(failure))
            print(f"{spot.case} {spot.work}: {spot.balancer} rejected: {rejection}", file=sys.stderr, flush=True)
            for figure in figures:
                self.add(spot, figure, rejection)

    def add(self, spot: "Spot", figure: str, value: float | Rejected) -> None:
        """Records a measured value."""
        self.results.add(spot.case, spot.work, figure, spot.balancer, spot.number, value)

    @contextmanager
    def backends(self, count: int = 3, bodies: Path | None = None, ports: int = 3) -> Iterator[list[str]]:
        """Starts `count` backends and yields their addresses: the first ones on `ports` different ports, the others on different
        loopback addresses. They also serve the files in the folder `bodies`."""
        addresses = [f"127.0.0.1:{free_port()}" for _ in range(min(count, ports))]
        if count > ports:
            port = free_port()
            others = range(count - ports)
            addresses += [f"127.{16 + n // 62500}.{n // 250 % 250}.{1 + n % 250}:{port}" for n in others]
        with TemporaryDirectory(dir=self.folder) as folder, ExitStack() as stack:
            for number, part in enumerate(parts(addresses, ADDRESSES_OF_A_PROCESS)):
                output = Path(folder) / f"backend-{number}.log"
                command = [str(self.tools / "bench-backend"), *(["--bodies", str(bodies)] if bodies else []), *part]
                backend = stack.enter_context(Process(Program(command), self.options.load_cores, output))
                await_(lambda: backend.said() == "ready\n", backend)
            yield addresses

    @contextmanager
    def running(self, balancer: Balancer, settings: Settings, cores: list[int] | None = None) -> Iterator[Running]:
        """Starts a balancer in a folder of its own and waits until it responds."""
        with TemporaryDirectory(dir=self.folder) as name:
            folder = Path(name)
            # Some balancers run their workers as another user.
            folder.chmod(0o755)
            ports = (free_port(), free_port())
            program = balancer.prepare(folder, settings, ports)
            begin = time.monotonic()
            output = folder / "output.log"
            with Process(program, cores or self.options.balancer_cores, output) as process:
                await_(lambda: self.responds(ports[0], settings), process)
                start_ms = (time.monotonic() - begin) * 1e3
                yield Running(balancer, process, ports[0], folder, start_ms)

    def responds(self, port: int, settings: Settings) -> bool:
        """Whether a balancer responds to one request in its configured protocol. A gRPC call must return trailers."""
        if not (settings.certificate or settings.h2c):
            return status(port) == 200
        command = [str(self.tools / "bench-load"), f"127.0.0.1:{port}", "--idle", "--connections", "1"]
        command += ["--tls"] if settings.certificate else ["--grpc" if settings.grpc else "--http2"]
        with on_cores(self.options.load_cores):
            return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0

    def load(self, running: Running, work: Work, rate: float | None = None, warm_up: float = 0) -> Load:
        """Starts a load and returns when its warm-up is over. With a rate it is an open loop."""
        command = [str(self.tools / "bench-load"), f"127.0.0.1:{running.port}", *work.arguments()]
        command += ["--seconds", str(self.options.seconds), "--warm-up", str(max(warm_up, self.options.warm_up))]
        command += ["--rate", str(rate)] if rate else []
        return Load(command, self.options.load_cores, running.process)

    def saturate(self, running: Running, work: Work) -> Outcome:
        """Sends as many requests as the balancer can handle."""
        if work.by_wrk:
            times = (self.options.warm_up, self.options.seconds)
            url = f"http://127.0.0.1:{running.port}{work.path}"
            return wrk(url, work, times, self.options.load_cores, running.process)
        return self.load(running, work).outcome()

    def saturate_bodies(self, running: Running, bodies: Bodies) -> Outcome:
        """Requests as many bodies over HTTP/1.1 as the balancer can handle."""
        times = (self.options.warm_up, self.options.seconds)
        return h2load.run(bodies.command(running.port), times, self.options.load_cores, running.process)

    def saturate_streams(self, running: Running, streams: Streams) -> Outcome:
        """Sends as many requests over HTTP/2 as the balancer can handle."""
        times = (self.options.warm_up, self.options.seconds)
        command = streams.command(running.port, running.folder)
        return h2load.run(command, times, self.options.load_cores, running.process)


class Stats:
    """The counters of the backends, read over one connection, which is counted too."""

    def __init__(self, address: str):
        self.connection = http.client.HTTPConnection(address, timeout=5)
        self.read()

    def read(self) -> dict[str, int]:
        """Connections and requests so far. Each call counts as a request."""
        self.connection.request("GET", "/stats")
        return json.load(self.connection.getresponse())


def status(port: int, path: str = "/") -> int:
    """The status of one GET on a new connection, 0 without response."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(request.encode())
            head = connection.recv(65536)
        return int(head.split(b" ", 2)[1])
    except (OSError, IndexError, ValueError):
        return 0


def await_(condition: Callable[[], bool], process: Process) -> None:
    """Waits for the condition; rejects the measurement if the process ends or takes too long."""
    end = time.monotonic() + START_S
    while not condition():
        if process.ended() or time.monotonic() > end:
            said = " ".join(process.said().replace(f"{process.output.parent}/", "").split()) or "it printed nothing"
            raise Rejected(f"did not start: {said[:200]}")
        time.sleep(0.0002)


def parts(items: list[str], size: int) -> Iterator[list[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def free_port() -> int:
    """A free port outside the range that the kernel uses for outgoing connections."""
    for port in PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Rejected("no free port")
