"""P11: CPU per MiB of compressed responses, and their size."""

import http.client

from harness import corpus
from harness.balancers import Settings
from harness.figures import Rejected
from harness.h2load import Bodies
from harness.rig import Rig, Running, Spot

CODINGS = ("gzip", "br", "zstd")
FIGURES = ["CPU ms/MiB", "size, % of the body", "MiB/s", "memory MiB", "core in use, %"]
CONNECTIONS = 16


def responses(rig: Rig) -> None:
    """P11. A work is three bodies of one size in turn, or the page."""
    folder = rig.folder / "bodies"
    corpus.write(folder)
    works = [(name, corpus.names(size)) for name, size in corpus.SIZES.items()]
    with rig.backends(bodies=folder) as backends:
        for coding in CODINGS:
            for name, files in works:
                for place, framing in (("bodies", "with length"), ("chunked", "chunked")):
                    compare(rig, f"{coding}, {name}, {framing}", backends, Bodies(CONNECTIONS, paths(place, files), coding))
            page = Bodies(CONNECTIONS, paths("bodies", [corpus.PAGE]), coding)
            compare(rig, f"{coding}, page of documentation", backends, page)


def paths(place: str, files: list[str]) -> list[str]:
    return [f"/{place}/{file}" for file in files]


def compare(rig: Rig, name: str, backends: list[str], bodies: Bodies) -> None:
    """Saturates each balancer that has the coding."""
    settings = Settings(backends, coding=bodies.coding)
    files = [rig.folder / "bodies" / path.rpartition("/")[2] for path in bodies.paths]
    size = sum(file.stat().st_size for file in files)
    for number in rig.rounds(f"P11 {name}"):
        for balancer in rig.peers_and_ours():
            if bodies.coding not in balancer.kind.codings:
                continue
            spot = Spot("P11", name, balancer.name, number)
            with rig.turn(spot, FIGURES), rig.running(balancer, settings) as running:
                encoded = sum(encoded_size(running, path, bodies.coding) for path in bodies.paths)
                outcome = rig.saturate_bodies(running, bodies)
                mib = outcome.completed * size / len(files) / 2**20
                busy = outcome.busy_percent(len(rig.options.balancer_cores))
                memory = running.process.memory_kib() / 1024
                values = [outcome.cpu_us / 1000 / mib, encoded / size * 100, mib / outcome.seconds, memory, busy]
                for figure, value in zip(FIGURES, values, strict=True):
                    rig.add(spot, figure, value)


def encoded_size(running: Running, path: str, coding: str) -> int:
    """The size of one response; rejected if it is not compressed with this coding."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=5)
    try:
        connection.request("GET", path, headers={"Accept-Encoding": coding})
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200 or response.getheader("Content-Encoding") != coding:
        raise Rejected(f"{path} is not compressed: {response.status}, Content-Encoding {response.getheader('Content-Encoding')}")
    return len(body)
