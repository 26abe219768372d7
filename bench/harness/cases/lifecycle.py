"""P9: time from start to first response, and the latency of requests during a reload."""

import os
import signal
import time

from harness.balancers import Balancer, Settings
from harness.figures import Rejected
from harness.load import Work
from harness.rig import Rig, Running, Spot

MANY = 1_000
START = "start to first response, ms"
SLOWEST_BEFORE = "slowest request without a reload, ms"
RELOAD = ["reload, ms", SLOWEST_BEFORE, "slowest request with a reload, ms"]

# Requests per second during the reload: one every 0.5 ms detects any relevant pause.
RATE = 2_000

# What Evenkeel logs after a reload, and how long that may take.
DONE = '"msg":"Reloaded"'
RELOAD_S = 10


def start_and_reload(rig: Rig) -> None:
    """P9."""
    with rig.backends(2 * MANY) as backends:
        for number in rig.rounds("P9"):
            for balancer in rig.peers_and_ours():
                start(rig, balancer, number, "3 backends", Settings(backends[:3]))
            for balancer in rig.balancers:
                if balancer.kind.routes:
                    start(rig, balancer, number, f"{MANY:,} backends and routes", many(backends[:MANY], "a"))
                if balancer.ours:
                    reload(rig, balancer, number, backends)


def many(backends: list[str], name: str) -> Settings:
    return Settings(backends, [f"/{name}{route:04}" for route in range(MANY)])


def start(rig: Rig, balancer: Balancer, number: int, work: str, settings: Settings) -> None:
    """Time from the start of the process to the first response from a backend."""
    spot = Spot("P9", work, balancer.name, number)
    with rig.turn(spot, [START]), rig.running(balancer, settings) as running:
        rig.add(spot, START, running.start_ms)


def reload(rig: Rig, balancer: Balancer, number: int, backends: list[str]) -> None:
    """Replaces all backends and all routes while requests arrive at a steady rate."""
    spot = Spot("P9", f"{MANY:,} backends and routes", balancer.name, number)
    with rig.turn(spot, RELOAD), rig.running(balancer, many(backends[:MANY], "a")) as running:
        quiet = rig.load(running, Work(), rate=RATE).outcome()
        rig.add(spot, SLOWEST_BEFORE, quiet.latency_us["max"] / 1000)
        load = rig.load(running, Work(), rate=RATE)
        took_ms = exchange(running, many(backends[MANY:], "b"))
        rig.add(spot, "reload, ms", took_ms)
        rig.add(spot, "slowest request with a reload, ms", load.outcome().latency_us["max"] / 1000)


def exchange(running: Running, settings: Settings) -> float:
    """Activates another config; returns the ms from the signal to the log line."""
    template = running.balancer.kind.templates[0]
    config = running.folder / template
    # The listen addresses stay.
    kept = [line for line in config.read_text().splitlines() if line.startswith(("listen:", "admin:"))]
    ports = tuple(int(line.rpartition(":")[2]) for line in kept)
    running.balancer.prepare(running.folder, settings, ports)
    begin = time.monotonic()
    os.kill(running.process.child.pid, signal.SIGHUP)
    while DONE not in running.process.said():
        if time.monotonic() - begin > RELOAD_S:
            raise Rejected(f"no reload within {RELOAD_S} s")
        time.sleep(0.0005)
    return (time.monotonic() - begin) * 1e3
