"""The command line."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# The supported peers, and the word for all of them in their newest versions.
PEERS = ["nginx", "haproxy", "envoy", "traefik", "caddy"]
NEWEST = "newest"
NO_LOG = "-nolog"


@dataclass(frozen=True)
class Options:
    """What to measure and how."""

    cases: list[str]
    evenkeel: list[tuple[str, str]]
    # Names from `PEERS`, with the suffix `NO_LOG` for those without access log.
    peers: list[str]
    # Whether the peers that Debian packages are taken from its unstable suite instead of this machine.
    newest: bool
    # Whether the newest versions are fetched again.
    refresh: bool
    # The Debian mirror to fetch them from; by default that of this machine.
    mirror: str | None
    # The user's own binaries, by peer.
    programs: dict[str, str]
    floor: str | None
    rounds: int
    seconds: float
    warm_up: float
    logs: bool
    balancer_cores: list[int]
    load_cores: list[int]
    write: bool
    folder: Path
    # Files kept between runs, shared by all checkouts.
    cache: Path


def parse(arguments: list[str], cases: dict[str, str]) -> Options:
    """Parses the command line; exits on a mistake. `cases` has the description of each case."""
    names = "\n".join(f"  {name:4} {about}" for name, about in cases.items())
    parser = argparse.ArgumentParser(
        prog="bench/run",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Compares Evenkeel with other balancers on this machine, in interleaved rounds.",
        epilog=f"cases:\n{names}",
    )
    add = parser.add_argument
    add("cases", nargs="*", metavar="P", default=[], help="cases to measure, or `all` (default: P1)")
    add("--evenkeel", action="append", default=[], metavar="[NAME=]PATH",
        help="a binary to measure instead of a build of this tree; several are also compared with each other")
    add("--peers", default="nginx,haproxy", metavar="NAME,…",
        help=f"any of {', '.join(PEERS)}; NAME{NO_LOG} runs one without access log. `{NEWEST}` is all five, with nginx and haproxy "
        f"from Debian sid; `{NEWEST},nginx,haproxy` only those two (default: %(default)s, as installed on this machine)")
    for name in PEERS:
        add(f"--{name}", metavar="PATH", help=f"your own {name} binary instead of an installed or fetched one")
    add("--mirror", metavar="URL", help=f"the Debian mirror for `{NEWEST}` (default: the one in apt's sources)")
    add("--refresh", action="store_true", help=f"with `{NEWEST}`: fetch them again even if an earlier run has done so")
    add("--floor", metavar="PATH", help="a program `PATH LISTEN_PORT BACKEND_PORT…` to compare with in P1, P2 and P8")
    add("--rounds", type=int, default=5, help="rounds of each comparison (default: %(default)s)")
    add("--seconds", type=float, default=5, help="length of one measurement (default: %(default)s)")
    add("--warm-up", type=float, default=1, help="seconds of load before each measurement (default: %(default)s)")
    add("--logs", choices=["on", "off"], default="on", help="access logs of all balancers (default: %(default)s)")
    add("--balancer-cores", type=cores, default=[0], metavar="N,…", help="cores of the balancer (default: 0)")
    add("--load-cores", type=cores, default=[1], metavar="N,…", help="cores of load and backends (default: 1)")
    add("--folder", type=Path, default=REPOSITORY / "target" / "bench", help="for builds and temporary files")
    add("--write", action="store_true", help="also write the table to docs/benchmarks.md; rows of other cases stay")
    given = parser.parse_args(arguments)
    named = list(cases) if "all" in given.cases else given.cases or ["P1"]
    for name in named:
        if name not in cases:
            parser.error(f"unknown case {name}: use {', '.join(cases)} or all")
    if given.rounds < 1 or given.seconds <= 0 or given.warm_up <= 0:
        parser.error("--rounds, --seconds and --warm-up must be positive")
    if set(given.balancer_cores) & set(given.load_cores):
        parser.error("--balancer-cores and --load-cores must not share a core")
    programs = {name: absolute(path) for name in PEERS if (path := getattr(given, name))}
    peers, newest = named_peers(given.peers, programs, parser)
    if not newest and (given.mirror or given.refresh):
        parser.error(f"--mirror and --refresh only apply to `--peers {NEWEST}`")
    return Options(
        cases=named,
        evenkeel=[name_and_path(text) for text in given.evenkeel],
        peers=peers,
        newest=newest,
        refresh=given.refresh,
        mirror=given.mirror,
        programs=programs,
        floor=given.floor and absolute(given.floor),
        rounds=given.rounds,
        seconds=given.seconds,
        warm_up=given.warm_up,
        logs=given.logs == "on",
        balancer_cores=given.balancer_cores,
        load_cores=given.load_cores,
        write=given.write,
        folder=given.folder.resolve(),
        cache=cache(),
    )


def named_peers(text: str, programs: dict[str, str], parser: argparse.ArgumentParser) -> tuple[list[str], bool]:
    """The peers of `--peers`, and whether to use their newest versions. Peers with a binary of the user's own are added even
    if the list does not name them."""
    words = [word for word in text.split(",") if word]
    names = [word for word in words if word != NEWEST]
    for name in names:
        if kind(name) not in PEERS:
            parser.error(f"--peers: {name} is not one of {', '.join(PEERS)} or {NEWEST}")
    newest = NEWEST in words
    if newest and not names:
        names = list(PEERS)
    return names + [name for name in programs if name not in map(kind, names)], newest


def kind(peer: str) -> str:
    """The program of a peer, with or without log."""
    return peer.removesuffix(NO_LOG)


def cache() -> Path:
    """The cache folder (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The specification requires relative paths to be ignored.
    folder = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return folder / "evenkeel-bench"


def cores(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def name_and_path(text: str) -> tuple[str, str]:
    name, equals, path = text.rpartition("=")
    return (name if equals else "evenkeel", absolute(path))


def absolute(path: str) -> str:
    """An absolute path, because each process is started in its own folder."""
    return str(Path(path).absolute())
