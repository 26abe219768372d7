"""P8: whether a request costs more with many backends and routes."""

from harness.balancers import Balancer, Settings
from harness.load import Work
from harness.rig import Rig, Spot

# Backends and routes. The largest numbers are not combined, so that the cost or failure of each is visible.
SIZES = [(10, 10), (1_000, 1_000), (10_000, 1_000), (10, 100_000)]
FIGURES = ["CPU µs/request", "requests/s", "memory MiB", "CPU ÷ that of 10 and 10"]

# The sizes of the floor, which takes backends on different ports of one address only, and ignores routes.
FLOOR_SIZES = SIZES[:2]

# How many of the routes are requested.
PATHS = 1_000

# Backends per second of warm-up, so that each has a connection when measuring begins.
BACKENDS_A_SECOND = 2_000


def sizes(rig: Rig) -> None:
    """P8. All sizes are measured in each round, so that their ratios can be taken."""
    floors = [balancer for balancer in rig.balancers if balancer.is_floor()]
    balancers = [balancer for balancer in rig.balancers if balancer.kind.routes]
    ports = max(backends for backends, _ in FLOOR_SIZES) if floors else 0
    with rig.backends(max(backends for backends, _ in SIZES), ports=ports) as backends:
        for number in rig.rounds("P8"):
            small: dict[str, float] = {}
            for size in SIZES:
                for balancer in balancers + (floors if size in FLOOR_SIZES else []):
                    measure(rig, balancer, number, size, backends, small)


def measure(
    rig: Rig, balancer: Balancer, number: int, size: tuple[int, int], backends: list[str], small: dict[str, float]
) -> None:
    """Measures one balancer with a config of one size. `small` keeps the cost of a request with the first size."""
    count, routes = size
    paths = [f"/r{route:06}" for route in range(routes)]
    settings = Settings(backends[:count], paths, connections=count + 2_000, probe_interval="1h")
    spot = Spot("P8", f"{count:,} backends, {routes:,} routes", balancer.name, number)
    with rig.turn(spot, FIGURES), rig.running(balancer, settings) as running:
        asked = running.folder / "paths.txt"
        asked.write_text("".join(f"{path}/item\n" for path in paths[:: max(1, routes // PATHS)]))
        load = rig.load(running, Work(paths=asked), warm_up=count / BACKENDS_A_SECOND)
        outcome = load.outcome()
        cost = outcome.cpu_us_a_request()
        rig.add(spot, "CPU µs/request", cost)
        rig.add(spot, "requests/s", outcome.per_second())
        rig.add(spot, "memory MiB", running.process.memory_kib() / 1024)
        if size == SIZES[0]:
            small[balancer.name] = cost
        elif balancer.name in small:
            rig.add(spot, "CPU ÷ that of 10 and 10", cost / small[balancer.name])
