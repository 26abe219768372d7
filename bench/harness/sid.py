"""Creates a root file system of Debian's unstable suite, whose programs are started with chroot(2)."""

import os
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

SUITE = "sid"

# File in a root that lists its packages. It is written last: a root without it is incomplete.
STAMP = "bench-packages"

# How many lines of debootstrap's output are shown when it fails.
LAST_LINES = 5


class NotMade(Exception):
    """Why no root could be created, and what to do about it."""


def lay(cache: Path, packages: list[str], mirror: str | None, again: bool) -> Path:
    """Returns a root with these packages: that of an earlier run, unless packages are missing or `again` is set."""
    root = cache / SUITE
    if not again and set(packages) <= set(made_with(root)):
        print(f"newest: Debian {SUITE} of {age(root)}, from {root} (--refresh fetches it again)", file=sys.stderr)
        return root
    if not mirror:
        raise NotMade("no Debian mirror in /etc/apt/sources.list or sources.list.d: pass one with --mirror URL")
    print(f"newest: fetching Debian {SUITE} into {root}, which takes about a minute", file=sys.stderr, flush=True)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f"{SUITE}-", dir=cache))
    except OSError as error:
        raise NotMade(f"cannot write to {cache}: {error.strerror}; choose another folder with XDG_CACHE_HOME") from error
    try:
        # For programs that drop root privileges.
        part.chmod(0o755)
        fetch(part, packages, mirror, cache / "debootstrap.log")
        (part / STAMP).write_text("\n".join(packages) + "\n")
        remove(root)
        part.rename(root)
    finally:
        remove(part)
    return root


def fetch(root: Path, packages: list[str], mirror: str, log: Path) -> None:
    """Runs debootstrap."""
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", SUITE, str(root), mirror]
    # Where Debian installs programs for root; often not in PATH.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    with log.open("wb") as sink:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment, check=False)
    if done.returncode != 0:
        said = log.read_text(errors="replace")
        # Its output refers to this file, which is removed with the root.
        details = root / "debootstrap" / "debootstrap.log"
        said += details.read_text(errors="replace") if details.exists() else ""
        log.write_text(without_password(said))
        last = " / ".join(without_password(said).strip().splitlines()[-LAST_LINES:])
        raise NotMade(
            f"debootstrap could not fetch Debian {SUITE} from {without_password(mirror)}: {last} (full log: {log}). "
            "Use another mirror with --mirror URL, another folder with XDG_CACHE_HOME, or your own binaries with "
            "--nginx PATH and --haproxy PATH"
        )


def made_with(root: Path) -> list[str]:
    """The packages of a root; none if it is missing or incomplete."""
    try:
        return (root / STAMP).read_text().split()
    except OSError:
        return []


def age(root: Path) -> str:
    """The date on which it was created."""
    return datetime.fromtimestamp((root / STAMP).stat().st_mtime, UTC).strftime("%Y-%m-%d")


def remove(root: Path) -> None:
    """Deletes a root, but nothing mounted in it: an interrupted debootstrap can leave mounts behind."""
    if not root.exists():
        return
    for folder in ("proc", "sys"):
        if os.path.ismount(root / folder):
            subprocess.run(["umount", "--lazy", str(root / folder)], check=False)
    subprocess.run(["rm", "-rf", "--one-file-system", str(root)], check=False)


def without_password(text: str) -> str:
    """Removes user names and passwords from URLs in a text."""
    return re.sub(r"//[^/@\s]*@", "//", text)
