"""P13: CPU per message of WebSockets, and per event of event streams."""

from harness.balancers import Settings
from harness.load import Work
from harness.rig import Rig, Spot

TUNNELS = (100, 1_000)
STREAMS = 1_000

# More than two connections for each tunnel or stream.
ALLOWED = 8_000


def messages(rig: Rig) -> None:
    """P13."""
    for count in TUNNELS:
        compare(rig, f"{count:,} WebSockets", "message", Work(connections=count, other=("--ping-pong",)))
    compare(rig, f"{STREAMS:,} event streams", "event", Work(connections=STREAMS, other=("--events",)))


def compare(rig: Rig, name: str, unit: str, work: Work) -> None:
    """Measures what one message costs, which crosses the balancer once. WebSockets saturate it; events come at a fixed rate."""
    figures = [f"CPU µs/{unit}", f"{unit}s/s", "core in use, %", "memory MiB"]
    with rig.backends() as backends:
        settings = Settings(backends, connections=ALLOWED, interactive=True)
        for number in rig.rounds(f"P13 {name}"):
            for balancer in rig.peers_and_ours():
                spot = Spot("P13", name, balancer.name, number)
                with rig.turn(spot, figures), rig.running(balancer, settings) as running:
                    outcome = rig.load(running, work).outcome()
                    busy = outcome.busy_percent(len(rig.options.balancer_cores))
                    memory = running.process.memory_kib() / 1024
                    values = [outcome.cpu_us_a_request(), outcome.per_second(), busy, memory]
                    for figure, value in zip(figures, values, strict=True):
                        rig.add(spot, figure, value)
