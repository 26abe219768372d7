"""P9: from the start to the first answer, and what a reload does to those who are asking."""

import os
import signal
import time

from harness.balancers import Balancer, Settings
from harness.figures import Refused
from harness.load import Work
from harness.rig import Rig, Running, Spot

MANY = 1_000
START = "start to first answer, ms"
SLOWEST_BEFORE = "slowest request without a reload, ms"
RELOAD = ["reload, ms", SLOWEST_BEFORE, "slowest request with a reload, ms"]

# Requests a second while it reloads: one every 0.5 ms sees a pause of any length that matters.
RATE = 2_000

# What Evenkeel writes when a reload is in force, and how long that may take.
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
    """From the start of the process to its first answer, of a backend."""
    spot = Spot("P9", work, balancer.name, number)
    with rig.turn(spot, [START]), rig.running(balancer, settings) as running:
        rig.add(spot, START, running.start_ms)


def reload(rig: Rig, balancer: Balancer, number: int, backends: list[str]) -> None:
    """Exchanges all backends and all routes while requests come in at a steady rate."""
    spot = Spot("P9", f"{MANY:,} backends and routes", balancer.name, number)
    with rig.turn(spot, RELOAD), rig.running(balancer, many(backends[:MANY], "a")) as running:
        quiet = rig.load(running, Work(), rate=RATE).outcome()
        rig.add(spot, SLOWEST_BEFORE, quiet.latency_us["max"] / 1000)
        load = rig.load(running, Work(), rate=RATE)
        took_ms = exchange(running, many(backends[MANY:], "b"))
        rig.add(spot, "reload, ms", took_ms)
        rig.add(spot, "slowest request with a reload, ms", load.outcome().latency_us["max"] / 1000)


def exchange(running: Running, settings: Settings) -> float:
    """Puts another config in force; ms from the signal to the line that says so."""
    template = running.balancer.kind.templates[0]
    config = running.folder / template
    # The addresses that it listens on stay.
    kept = [line for line in config.read_text().splitlines() if line.startswith(("listen:", "admin:"))]
    ports = tuple(int(line.rpartition(":")[2]) for line in kept)
    running.balancer.prepare(running.folder, settings, ports)
    begin = time.monotonic()
    os.kill(running.process.child.pid, signal.SIGHUP)
    while DONE not in running.process.said():
        if time.monotonic() - begin > RELOAD_S:
            raise Refused(f"no reload within {RELOAD_S} s")
        time.sleep(0.0005)
    return (time.monotonic() - begin) * 1e3
