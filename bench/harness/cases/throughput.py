"""P1 to P5: CPU per request, throughput, and latency below saturation."""

from harness.balancers import Balancer, Settings
from harness.load import Outcome, Work
from harness.rig import Rig, Running, Spot

SATURATED = ["CPU µs/request", "requests/s", "core in use, %", "memory MiB"]
OPEN_LOOP = ["p50 µs", "p99 µs"]
PER_GIB = ["CPU ms/GiB", "GiB/s", "core in use, %"]

# Sizes of bodies, with the number of connections that transfer them.
SIZES = ((64 << 10, "64 KiB", 64), (1 << 20, "1 MiB", 16))

# The rate of an open loop, as a fraction of the throughput of the round's slowest balancer at saturation.
OPEN_LOOP_RATE = 0.7


def keep_alive(rig: Rig) -> None:
    """P1. Repeated with wrk, which is well known but uses more CPU than our generator: it cannot saturate the fastest balancers."""
    compare(rig, "P1", "64 connections", Work(), rig.balancers)
    compare(rig, "P1", "64 connections, by wrk", Work(by_wrk=True), rig.balancers)


def other_connection_counts(rig: Rig) -> None:
    """P2."""
    for count in (1, 256, 1024):
        compare(rig, "P2", f"{count:,} connections", Work(connections=count), rig.balancers)


def new_connections(rig: Rig) -> None:
    """P4."""
    compare(rig, "P4", "new connections", Work(close=True), rig.peers_and_ours())


def tls(rig: Rig) -> None:
    """P5. A handshake includes opening the connection, and its request."""
    compare(rig, "P5", "TLS 1.3 keep-alive", Work(tls=True), rig.peers_and_ours())
    compare(rig, "P5", "TLS 1.3 handshakes", Work(tls=True, close=True), rig.peers_and_ours())
    for size, name, connections in SIZES:
        transfer(rig, "P5", f"TLS 1.3, HTTP/1.1: GET {name}", Work(connections, path=f"/bytes/{size}", tls=True), size)


def bodies(rig: Rig) -> None:
    """P3."""
    for size, name, connections in SIZES:
        transfer(rig, "P3", f"GET {name}", Work(connections, path=f"/bytes/{size}"), size)
        transfer(rig, "P3", f"POST {name}", Work(connections, post=size), size)


def compare(rig: Rig, case: str, name: str, work: Work, balancers: list[Balancer]) -> None:
    """Saturates each balancer, then loads all of them at a rate that the slowest can sustain."""
    with rig.backends() as backends:
        settings = Settings(backends, certificate=rig.certificate if work.tls else None)
        for number in rig.rounds(f"{case} {name}"):
            rates = []
            for balancer in balancers:
                spot = Spot(case, name, balancer.name, number)
                with rig.turn(spot, SATURATED), rig.running(balancer, settings) as running:
                    outcome = rig.saturate(running, work)
                    add_saturated(rig, spot, outcome, running)
                    rates.append(outcome.per_second())
            for balancer in balancers if rates else []:
                spot = Spot(case, name, balancer.name, number)
                with rig.turn(spot, OPEN_LOOP), rig.running(balancer, settings) as running:
                    outcome = rig.load(running, work, rate=OPEN_LOOP_RATE * min(rates)).outcome()
                    rig.add(spot, "p50 µs", outcome.latency_us["p50"])
                    rig.add(spot, "p99 µs", outcome.latency_us["p99"])


def add_saturated(rig: Rig, spot: Spot, outcome: Outcome, running: Running) -> None:
    """Records the figures of `SATURATED`."""
    busy = outcome.busy_percent(len(rig.options.balancer_cores))
    memory = running.process.memory_kib() / 1024
    values = [outcome.cpu_us_a_request(), outcome.per_second(), busy, memory]
    for figure, value in zip(SATURATED, values, strict=True):
        rig.add(spot, figure, value)


def transfer(rig: Rig, case: str, name: str, work: Work, size: int) -> None:
    """Saturates each balancer with bodies of `size` bytes."""
    with rig.backends() as backends:
        settings = Settings(backends, certificate=rig.certificate if work.tls else None)
        for number in rig.rounds(f"{case} {name}"):
            for balancer in rig.peers_and_ours():
                spot = Spot(case, name, balancer.name, number)
                with rig.turn(spot, PER_GIB), rig.running(balancer, settings) as running:
                    add_per_gib(rig, spot, rig.load(running, work).outcome(), size)


def add_per_gib(rig: Rig, spot: Spot, outcome: Outcome, size: int) -> None:
    """Records the figures of `PER_GIB` for bodies of `size` bytes."""
    gib = outcome.completed * size / 2**30
    busy = outcome.busy_percent(len(rig.options.balancer_cores))
    values = [outcome.cpu_us / 1000 / gib, gib / outcome.seconds, busy]
    for figure, value in zip(PER_GIB, values, strict=True):
        rig.add(spot, figure, value)
