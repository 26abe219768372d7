"""The cases. Each is a line of this table and a function in one of the files next to it."""

from collections.abc import Callable
from dataclasses import dataclass

from harness.cases import compression, idle, lifecycle, long_lived, scale, streams, throughput, workers
from harness.rig import Rig


@dataclass(frozen=True)
class Case:
    """A case, and the programs that it needs in addition to the balancers."""

    about: str
    run: Callable[[Rig], None]
    programs: tuple[str, ...] = ()


CASES = {
    "P1": Case("keep-alive, 64 connections, small responses", throughput.keep_alive, ("wrk",)),
    "P2": Case("the same with 1, 256 and 1,024 connections", throughput.other_connection_counts),
    "P3": Case("bodies of 64 KiB and 1 MiB, GET and POST", throughput.bodies),
    "P4": Case("a new client connection for every request", throughput.new_connections),
    "P5": Case("TLS 1.3: keep-alive, full handshakes, bodies over HTTP/1.1 and HTTP/2", streams.encrypted, ("openssl", "h2load")),
    "P6": Case("HTTP/2, also over TLS 1.3; gRPC; bodies of 1 MiB", streams.http2, ("openssl", "h2load")),
    "P7": Case("10,000 idle client connections, also with TLS and HTTP/2", idle.connections, ("openssl",)),
    "P8": Case("1,000 and 10,000 backends, 1,000 and 100,000 routes", scale.sizes),
    "P9": Case("start, and reload under load", lifecycle.start_and_reload),
    "P10": Case("two workers on two cores; reuse of backend connections", workers.two_workers),
    "P11": Case("compressed responses: gzip, br and zstd, 4 KiB to 1 MiB", compression.responses, ("h2load",)),
    "P13": Case("WebSockets, 100 and 1,000; event streams to 1,000 clients", long_lived.messages),
}
