"""The command line."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# What Evenkeel can be compared with, and the word for all of them in their newest versions.
PEERS = ["nginx", "haproxy", "envoy", "traefik", "caddy"]
NEWEST = "newest"
NO_LOG = "-nolog"


@dataclass(frozen=True)
class Options:
    """What to measure and how."""

    cases: list[str]
    evenkeel: list[tuple[str, str]]
    # Names of `PEERS`, with `NO_LOG` behind those that write no access log.
    peers: list[str]
    # Whether the peers that Debian packages come from its unstable suite instead of from this machine.
    newest: bool
    # Whether the newest are fetched again although they are there.
    refresh: bool
    # The Debian mirror to fetch them from; otherwise the one of this machine.
    mirror: str | None
    # Programs of the user's own, by peer.
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
    # What is kept between runs of any checkout.
    cache: Path


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
        help=f"of {', '.join(PEERS)}; NAME{NO_LOG} runs one without its log. `{NEWEST}` is all five, with nginx and haproxy "
        f"from Debian sid; `{NEWEST},nginx,haproxy` only those two (default: %(default)s, as this machine has them)")
    for name in PEERS:
        add(f"--{name}", metavar="PATH", help=f"your own binary of {name}, instead of an installed or fetched one")
    add("--mirror", metavar="URL", help=f"the Debian mirror for `{NEWEST}` (default: the one in apt's sources)")
    add("--refresh", action="store_true", help=f"with `{NEWEST}`: fetch them again even if an earlier run has")
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
    """The peers of `--peers`, and whether they are to be the newest. A program of the user's own is compared with even
    where the list does not name it."""
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
    """The program of a peer, whether it writes a log or not."""
    return peer.removesuffix(NO_LOG)


def cache() -> Path:
    """Where programs keep what can be fetched again (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # Relative paths are invalid there, and to be ignored.
    folder = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return folder / "evenkeel-bench"


def cores(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def name_and_path(text: str) -> tuple[str, str]:
    name, equals, path = text.rpartition("=")
    return (name if equals else "evenkeel", absolute(path))


def absolute(path: str) -> str:
    """Processes are started in folders of their own."""
    return str(Path(path).absolute())
