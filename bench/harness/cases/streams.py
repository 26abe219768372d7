"""P5 and P6: CPU, throughput and fairness over HTTP/2."""

from harness.balancers import Settings
from harness.cases.throughput import PER_GIB, SATURATED, add_per_gib, add_saturated, tls
from harness.h2load import Streams
from harness.rig import Rig, Spot

REQUEST_TIMES = ["mean request, ms", "slowest request, ms"]


def http2(rig: Rig) -> None:
    """P6. Clients speak HTTP/2, backends HTTP/1.1; with gRPC both HTTP/2."""
    compare(rig, "HTTP/2", Streams())
    compare(rig, "HTTP/2 over TLS 1.3", Streams(tls=True))
    compare(rig, "gRPC", Streams(grpc=True))
    bodies(rig, "P6", "HTTP/2", tls=False)


def encrypted(rig: Rig) -> None:
    """P5. HTTP/1.1 and HTTP/2 over TLS."""
    tls(rig)
    bodies(rig, "P5", "TLS 1.3, HTTP/2", tls=True)


def bodies(rig: Rig, case: str, protocol: str, tls: bool) -> None:
    """Responses of 1 MiB on 4 connections of 4 streams. All requests begin alike and are worth the same, so the slowest one shows
    how evenly a balancer shares its time among connections and streams."""
    size = 1 << 20
    streams = Streams(connections=4, each=4, tls=tls, path=f"/bytes/{size}")
    name = f"{protocol}: GET 1 MiB"
    with rig.backends() as backends:
        settings = Settings(backends, certificate=rig.certificate if tls else None, h2c=not tls)
        for number in rig.rounds(f"{case} {name}"):
            for balancer in rig.peers_and_ours():
                spot = Spot(case, name, balancer.name, number)
                with rig.turn(spot, [*PER_GIB, *REQUEST_TIMES]), rig.running(balancer, settings) as running:
                    outcome = rig.saturate_streams(running, streams)
                    add_per_gib(rig, spot, outcome, size)
                    for figure, word in zip(REQUEST_TIMES, ("mean", "max"), strict=True):
                        rig.add(spot, figure, outcome.latency_us[word] / 1e3)


def compare(rig: Rig, name: str, streams: Streams) -> None:
    """Saturates each balancer."""
    with rig.backends() as backends:
        certificate = rig.certificate if streams.tls else None
        settings = Settings(backends, certificate=certificate, h2c=not streams.tls, grpc=streams.grpc)
        for number in rig.rounds(f"P6 {name}"):
            for balancer in rig.peers_and_ours():
                spot = Spot("P6", name, balancer.name, number)
                with rig.turn(spot, SATURATED), rig.running(balancer, settings) as running:
                    add_saturated(rig, spot, rig.saturate_streams(running, streams), running)
