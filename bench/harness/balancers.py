"""The balancers: how each is started, and its config, rendered from the templates in `bench/peers`."""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from harness.processes import Program, inside

PEERS = Path(__file__).resolve().parents[1] / "peers"


@dataclass(frozen=True)
class Settings:
    """Parameters for the config of a balancer."""

    backends: list[str]
    routes: list[str] = field(default_factory=list)
    workers: int = 1
    connections: int = 8000
    probe_interval: str = "10s"
    # The folder of `certificate.make` if clients use TLS, with HTTP/1.1 or HTTP/2 as they choose.
    certificate: Path | None = None
    # Whether clients use only HTTP/2 without TLS.
    h2c: bool = False
    # Whether backends use HTTP/2 without TLS and serve gRPC calls.
    grpc: bool = False
    # Whether clients open WebSockets and event streams.
    interactive: bool = False
    # The coding with which responses are compressed, at the default level of each balancer.
    coding: str = ""


@dataclass(frozen=True)
class Kind:
    """One program: its command and its templates; the first template is the config passed to the command."""

    templates: list[str]
    command: list[str]
    version: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    routes: bool = False
    # Template flags that are set from a version on.
    since: dict[str, tuple[int, ...]] = field(default_factory=dict)
    # The codings that its template has.
    codings: tuple[str, ...] = ()


KINDS = {
    "evenkeel": Kind(
        ["evenkeel.yaml"], ["{program}", "run", "-c", "{config}"], ["--version"], routes=True,
        codings=("gzip", "br", "zstd"),
    ),
    "nginx": Kind(
        ["nginx.conf"],
        ["{program}", "-p", "{folder}", "-e", "{folder}/error.log", "-c", "{config}"],
        ["-v"],
        routes=True,
        since={"http2on": (1, 25, 1)},
        codings=("gzip", "br"),
    ),
    "haproxy": Kind(["haproxy.cfg", "haproxy.map"], ["{program}", "-f", "{config}"], ["-v"], routes=True, codings=("gzip",)),
    "envoy": Kind(
        ["envoy.yaml"],
        ["{program}", "-c", "{config}", "--concurrency", "{workers}", "--log-level", "error", "--use-dynamic-base-id"],
        ["--version"],
        codings=("gzip", "br", "zstd"),
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
    # As the program reports it.
    version: str = ""
    # Where the program comes from, if the version does not show it.
    origin: str = ""
    # Its root directory (chroot(2)), if not that of this machine. `program` is a path inside it.
    root: Path | None = None

    def is_floor(self) -> bool:
        """Whether it is only the lower bound for CPU cost: it supports small GETs only."""
        return not self.kind.templates

    def prepare(self, folder: Path, settings: Settings, ports: tuple[int, int]) -> Program:
        """Writes its config files to `folder` and returns the program to start."""
        values = self.values(folder, settings, ports)
        for template in self.kind.templates:
            self.render(template, folder / template, values, settings)
        command = []
        for word in self.kind.command:
            filled = fill(word, values, "{%s}")
            # The only word that expands to several arguments.
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
        """Renders a template. A line that begins with `%logs` or another flag is kept only if the flag is set, one with
        `%nologs` only if it is not; several flags are combined with AND. A line with `%backend` or `%route` is
        repeated for each of them."""
        flags = {
            "logs": self.logs,
            "routed": bool(settings.routes),
            "tls": settings.certificate is not None,
            "h2c": settings.h2c,
            "grpc": settings.grpc,
            "interactive": settings.interactive,
        }
        flags |= {coding: settings.coding == coding for coding in ("gzip", "br", "zstd")}
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
    """The version in the output of a program's version command, `?` if there is none."""
    found = re.search(r"(?<![\w.])v?(\d+\.\d+[\w.+-]*)", said)
    return found[1] if found else "?"


def numbers(version: str) -> tuple[int, ...]:
    """`1.30.6-2` as a comparable tuple. An unknown version compares as the newest."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else (sys.maxsize,)


def marked(line: str, known: list[str]) -> tuple[list[str], str]:
    """The marks at the start of a line, and the rest of the line."""
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
    """Replaces marked names by their values. Other braces stay as they are."""
    for name, value in values.items():
        text = text.replace(mark % name, value)
    return text
