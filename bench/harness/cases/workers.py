"""P10: scaling to two workers, and reuse of backend connections."""

from dataclasses import replace

from harness.balancers import Balancer, Settings
from harness.figures import Rejected
from harness.load import Work
from harness.rig import Rig, Spot, Stats

TWO = "two workers, two cores"
FIGURES = ["CPU µs/request", "requests/s", "CPU ÷ that of one worker"]
REUSE = "backend connections reused, %"

# A low rate: most connections are idle, and idle connections may get closed or lost.
RATE = 100


def two_workers(rig: Rig) -> None:
    """P10."""
    with rig.backends() as backends:
        stats = Stats(backends[0])
        for number in rig.rounds("P10"):
            for balancer in rig.peers_and_ours():
                one_and_two(rig, balancer, number, Settings(backends))
            for balancer in rig.peers_and_ours():
                reuse(rig, balancer, number, Settings(backends, workers=2, probe_interval="1h"), stats)


def two_cores(rig: Rig) -> list[int]:
    """The balancer's cores, completed by one of the load's."""
    return (rig.options.balancer_cores + rig.options.load_cores)[:2]


def one_and_two(rig: Rig, balancer: Balancer, number: int, settings: Settings) -> None:
    """CPU per request with one worker on one core and with two on two, both at saturation."""
    spot = Spot("P10", TWO, balancer.name, number)
    with rig.turn(spot, FIGURES):
        with rig.running(balancer, settings, rig.options.balancer_cores[:1]) as running:
            one = rig.load(running, Work()).outcome()
        with rig.running(balancer, replace(settings, workers=2), two_cores(rig)) as running:
            two = rig.load(running, Work()).outcome()
        rig.add(spot, "CPU µs/request", two.cpu_us_a_request())
        rig.add(spot, "requests/s", two.per_second())
        rig.add(spot, "CPU ÷ that of one worker", two.cpu_us_a_request() / one.cpu_us_a_request())


def reuse(rig: Rig, balancer: Balancer, number: int, settings: Settings, stats: Stats) -> None:
    """The share of backend requests, at a steady rate, that were sent on an existing connection."""
    spot = Spot("P10", f"{RATE} requests/s", balancer.name, number)
    with rig.turn(spot, [REUSE]), rig.running(balancer, settings, two_cores(rig)) as running:
        load = rig.load(running, Work(), rate=RATE)
        before = stats.read()
        load.outcome()
        after = stats.read()
        # One of them is the first request for the counters.
        requests = after["requests"] - before["requests"] - 1
        opened = after["connections"] - before["connections"]
        if requests <= 0:
            raise Rejected("no request reached the backends")
        rig.add(spot, REUSE, 100 * (1 - opened / requests))
