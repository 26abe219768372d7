"""The balancers: how each is started and which config it gets. The configs are the templates in `bench/peers`."""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from harness.processes import Program, inside

PEERS = Path(__file__).resolve().parents[1] / "peers"


@dataclass(frozen=True)
class Settings:
    """What a balancer is to be set up for."""

    backends: list[str]
    routes: list[str] = field(default_factory=list)
    workers: int = 1
    connections: int = 8000
    probe_interval: str = "10s"
    # The folder of `certificate.make` when clients speak TLS, HTTP/1.1 or HTTP/2 as they choose.
    certificate: Path | None = None
    # Whether clients speak HTTP/2 without TLS, and nothing else.
    h2c: bool = False
    # Whether backends speak HTTP/2 without TLS and answer gRPC calls.
    grpc: bool = False


@dataclass(frozen=True)
class Kind:
    """One program: its templates, the first of which it is started with, and its command."""

    templates: list[str]
    command: list[str]
    version: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    routes: bool = False
    # Flags of its templates that hold from a version on.
    since: dict[str, tuple[int, ...]] = field(default_factory=dict)


KINDS = {
    "evenkeel": Kind(
        ["evenkeel.yaml"], ["{program}", "run", "-c", "{config}"], ["--version"], routes=True
    ),
    "nginx": Kind(
        ["nginx.conf"],
        ["{program}", "-p", "{folder}", "-e", "{folder}/error.log", "-c", "{config}"],
        ["-v"],
        routes=True,
        since={"http2on": (1, 25, 1)},
    ),
    "haproxy": Kind(["haproxy.cfg", "haproxy.map"], ["{program}", "-f", "{config}"], ["-v"], routes=True),
    "envoy": Kind(
        ["envoy.yaml"],
        ["{program}", "-c", "{config}", "--concurrency", "{workers}", "--log-level", "error", "--use-dynamic-base-id"],
        ["--version"],
    ),
    "traefik": Kind(
        ["traefik.yaml", "traefik-routes.yaml"],
        ["{program}", "--configFile={config}"],
        ["version"],
        {"GOMAXPROCS": "{workers}"},
    ),
    "caddy": Kind(
        ["Caddyfile"],
        ["{program}", "run", "--adapter", "caddyfile", "--config", "{config}"],
        ["version"],
        {"GOMAXPROCS": "{workers}", "HOME": "{folder}"},
    ),
    "floor": Kind([], ["{program}", "{listen_port}", "{backend_ports}"], []),
}


@dataclass(frozen=True)
class Balancer:
    """One column of the table."""

    name: str
    kind: Kind
    program: str
    logs: bool
    ours: bool = False
    # As it says itself.
    version: str = ""
    # Whose program it is, where the version does not tell.
    origin: str = ""
    # The folder that is its root directory (chroot(2)), if it is not the one of this machine. `program` is a path in it.
    root: Path | None = None

    def is_floor(self) -> bool:
        """Whether it only shows how cheap it could be: it can do no more than small GETs."""
        return not self.kind.templates

    def prepare(self, folder: Path, settings: Settings, ports: tuple[int, int]) -> Program:
        """Writes its config files to `folder`; what to start it with."""
        values = self.values(folder, settings, ports)
        for template in self.kind.templates:
            self.render(template, folder / template, values, settings)
        command = []
        for word in self.kind.command:
            filled = fill(word, values, "{%s}")
            # The only word that is several.
            command += filled.split() if word == "{backend_ports}" else [filled]
        environment = {name: fill(value, values, "{%s}") for name, value in self.kind.environment.items()}
        return Program(command, environment, self.root)

    def values(self, folder: Path, settings: Settings, ports: tuple[int, int]) -> dict[str, str]:
        config = folder / self.kind.templates[0] if self.kind.templates else folder
        return {
            "program": self.program,
            "folder": inside(self.root, folder),
            "config": inside(self.root, config),
            "listen": f"127.0.0.1:{ports[0]}",
            "listen_host": "127.0.0.1",
            "listen_port": str(ports[0]),
            "admin": f"127.0.0.1:{ports[1]}",
            "workers": str(settings.workers),
            "connections": str(settings.connections),
            "kept": str(max(4096, len(settings.backends))),
            "probe_interval": settings.probe_interval,
            "certificate": inside(self.root, settings.certificate) if settings.certificate else "",
            "backend_ports": " ".join(address.rpartition(":")[2] for address in settings.backends),
        }

    def render(self, template: str, target: Path, values: dict[str, str], settings: Settings) -> None:
        """Fills a template. A line that begins with `%logs` or another of the flags is for that case only, with `%nologs`
        for any other; several have to hold together. One with `%backend` or `%route` is written once for each."""
        flags = {
            "logs": self.logs,
            "routed": bool(settings.routes),
            "tls": settings.certificate is not None,
            "h2c": settings.h2c,
            "grpc": settings.grpc,
        }
        flags |= {name: numbers(self.version) >= version for name, version in self.kind.since.items()}
        flags |= {f"no{name}": not holds for name, holds in flags.items()}
        lines = []
        for line in (PEERS / template).read_text().splitlines():
            marks, rest = marked(line, [*flags, "backend", "route"])
            if not all(flags.get(mark, True) for mark in marks):
                continue
            if "backend" in marks:
                lines += [fill(rest, values | backend) for backend in backends(settings)]
            elif "route" in marks:
                lines += [fill(rest, values | {"path": path}) for path in settings.routes]
            else:
                lines.append(fill(rest, values))
        target.write_text("\n".join(lines) + "\n")


def version_in(said: str) -> str:
    """The version in what a program prints when it is asked for it, `?` where there is none."""
    found = re.search(r"(?<![\w.])v?(\d+\.\d+[\w.+-]*)", said)
    return found[1] if found else "?"


def numbers(version: str) -> tuple[int, ...]:
    """`1.30.6-2` as numbers that compare. A version that is not known compares as the newest."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else (sys.maxsize,)


def marked(line: str, known: list[str]) -> tuple[list[str], str]:
    """The marks that a line begins with, and what is behind them."""
    marks = []
    while (mark := re.match(r"%(\w+) ?", line)) and mark[1] in known:
        marks.append(mark[1])
        line = line[mark.end() :]
    return marks, line


def backends(settings: Settings) -> list[dict[str, str]]:
    parts = [(address, *address.split(":")) for address in settings.backends]
    return [
        {"address": address, "host": host, "port": port, "number": str(number)}
        for number, (address, host, port) in enumerate(parts)
    ]


def fill(text: str, values: dict[str, str], mark: str = "{{%s}}") -> str:
    """Puts values where their names are marked. Other braces stay as they are."""
    for name, value in values.items():
        text = text.replace(mark % name, value)
    return text
