"""P7: memory of client connections that sent one request and are idle."""

import json
import subprocess
import time

from harness.balancers import Settings
from harness.figures import Rejected
from harness.processes import on_cores
from harness.rig import Rig, Running, Spot

COUNT = 10_000
FIGURE = "memory KiB/connection"

# More than `COUNT`, because nginx begins to close idle connections when only a sixteenth is left.
ALLOWED = 12_000

# How long a balancer may take to free memory that only requests need.
SETTLE_S = 2


# The protocols, with the options of `bench-load` for them.
KINDS = {"HTTP/1.1": [], "TLS": ["--tls"], "HTTP/2 over TLS": ["--tls", "--http2"]}


def connections(rig: Rig) -> None:
    """P7. The kernel's memory for a socket is the same for all and is not counted."""
    for kind, words in KINDS.items():
        compare(rig, f"{COUNT:,} connections, {kind}", words)


def compare(rig: Rig, work: str, words: list[str]) -> None:
    with rig.backends() as backends:
        certificate = rig.certificate if "--tls" in words else None
        settings = Settings(backends, connections=ALLOWED, certificate=certificate)
        for number in rig.rounds(f"P7 {work}"):
            for balancer in rig.peers_and_ours():
                spot = Spot("P7", work, balancer.name, number)
                with rig.turn(spot, [FIGURE]), rig.running(balancer, settings) as running:
                    rig.add(spot, FIGURE, memory_of_idle(rig, running, words) / COUNT)


def memory_of_idle(rig: Rig, running: Running, words: list[str]) -> float:
    """Memory of all connections together, in KiB."""
    command = [str(rig.tools / "bench-load"), f"127.0.0.1:{running.port}", "--idle", "--connections", str(COUNT), *words]
    before = running.process.memory_kib()
    pipe = subprocess.PIPE
    with on_cores(rig.options.load_cores):
        load = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    with load:
        begun = load.stdout.readline()
        time.sleep(SETTLE_S)
        after = running.process.memory_kib()
        ended, errors = load.communicate("")
    for line in (begun, ended):
        if not line or json.loads(line)["open"] != COUNT:
            raise Rejected(errors.strip() or f"{line.strip()} of {COUNT}")
    return after - before
