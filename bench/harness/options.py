"""The command line."""

import argparse
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Options:
    """What to measure and how."""

    cases: list[str]
    evenkeel: list[tuple[str, str]]
    peers: list[str]
    floor: str | None
    rounds: int
    seconds: float
    warm_up: float
    logs: bool
    balancer_cores: list[int]
    load_cores: list[int]
    write: bool
    folder: Path


def parse(arguments: list[str], cases: dict[str, str]) -> Options:
    """Reads the command line; ends the process when there is a mistake in it. `cases` says what each case is."""
    names = "\n".join(f"  {name:4} {about}" for name, about in cases.items())
    parser = argparse.ArgumentParser(
        prog="bench/run",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Compares Evenkeel with other balancers on this machine, in interleaved rounds.",
        epilog=f"what can be measured:\n{names}",
    )
    add = parser.add_argument
    add("cases", nargs="*", metavar="P", default=[], help="what to measure, P1 if nothing is named; `all` for everything")
    add("--evenkeel", action="append", default=[], metavar="[NAME=]PATH",
        help="a built binary instead of a build of this tree; several are compared with each other too")
    add("--peers", default="nginx,haproxy", metavar="NAME,…",
        help="of nginx, haproxy, envoy, traefik, caddy; NAME-nolog runs one without its log (default: %(default)s)")
    add("--floor", metavar="PATH", help="a program `PATH LISTEN_PORT BACKEND_PORT…` to compare with in P1 and P2")
    add("--rounds", type=int, default=5, help="rounds of each comparison (default: %(default)s)")
    add("--seconds", type=float, default=5, help="length of one measurement (default: %(default)s)")
    add("--warm-up", type=float, default=1, help="seconds of load before each (default: %(default)s)")
    add("--logs", choices=["on", "off"], default="on", help="access logs of all of them (default: %(default)s)")
    add("--balancer-cores", type=cores, default=[0], metavar="N,…", help="cores of the balancer (default: 0)")
    add("--load-cores", type=cores, default=[1], metavar="N,…", help="cores of load and backends (default: 1)")
    add("--folder", type=Path, default=REPOSITORY / "target" / "bench", help="for builds and temporary files")
    add("--write", action="store_true", help="also write the table to docs/benchmarks.md, where other cases keep theirs")
    given = parser.parse_args(arguments)
    named = list(cases) if "all" in given.cases else given.cases or ["P1"]
    for name in named:
        if name not in cases:
            parser.error(f"{name}: there is no such case")
    if given.rounds < 1 or given.seconds <= 0 or given.warm_up <= 0:
        parser.error("rounds and times are positive")
    if set(given.balancer_cores) & set(given.load_cores):
        parser.error("the balancer shares a core with the load")
    return Options(
        cases=named,
        evenkeel=[name_and_path(text) for text in given.evenkeel],
        peers=[name for name in given.peers.split(",") if name],
        floor=given.floor and absolute(given.floor),
        rounds=given.rounds,
        seconds=given.seconds,
        warm_up=given.warm_up,
        logs=given.logs == "on",
        balancer_cores=given.balancer_cores,
        load_cores=given.load_cores,
        write=given.write,
        folder=given.folder.resolve(),
    )


def cores(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def name_and_path(text: str) -> tuple[str, str]:
    name, equals, path = text.rpartition("=")
    return (name if equals else "evenkeel", absolute(path))


def absolute(path: str) -> str:
    """Processes are started in folders of their own."""
    return str(Path(path).absolute())
