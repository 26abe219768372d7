"""P6: CPU per request and throughput over HTTP/2."""

from harness.balancers import Settings
from harness.cases.throughput import SATURATED, add_saturated
from harness.h2load import Streams
from harness.rig import Rig, Spot


def http2(rig: Rig) -> None:
    """P6. Clients speak HTTP/2, backends HTTP/1.1; with gRPC both HTTP/2."""
    compare(rig, "HTTP/2", Streams())
    compare(rig, "HTTP/2 over TLS 1.3", Streams(tls=True))
    compare(rig, "gRPC", Streams(grpc=True))


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
