"""The newest packages of Debian: a root file system of its unstable suite, from which programs are started by chroot(2)."""

import os
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

SUITE = "sid"

# Says in a root which packages it was made with. It is written last: a root without it is not complete.
STAMP = "bench-packages"

# How much of what debootstrap has printed is shown when it fails.
LAST_LINES = 5


class NotMade(Exception):
    """Why there is no root, and what to do about it."""


def lay(cache: Path, packages: list[str], mirror: str | None, again: bool) -> Path:
    """The folder of a root with these packages: the one of an earlier run, unless it lacks some or is wanted `again`."""
    root = cache / SUITE
    if not again and set(packages) <= set(made_with(root)):
        print(f"newest: Debian {SUITE} of {age(root)}, from {root} (--refresh fetches it again)", file=sys.stderr)
        return root
    if not mirror:
        raise NotMade("no Debian mirror in /etc/apt/sources.list or sources.list.d: name one with --mirror URL")
    print(f"newest: fetching Debian {SUITE} into {root}, which takes about a minute", file=sys.stderr, flush=True)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f"{SUITE}-", dir=cache))
    except OSError as error:
        raise NotMade(f"cannot write to {cache}: {error.strerror}; XDG_CACHE_HOME names another folder") from error
    try:
        # For those that give up root's rights.
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
    # Where Debian keeps programs of root, which is not on everybody's path.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    with log.open("wb") as sink:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment, check=False)
    if done.returncode != 0:
        said = log.read_text(errors="replace")
        # It refers to this file, which goes with the root.
        details = root / "debootstrap" / "debootstrap.log"
        said += details.read_text(errors="replace") if details.exists() else ""
        log.write_text(without_password(said))
        last = " / ".join(without_password(said).strip().splitlines()[-LAST_LINES:])
        raise NotMade(
            f"debootstrap could not fetch Debian {SUITE} from {without_password(mirror)}: {last} (all of it: {log}). "
            "Use another mirror with --mirror URL, another folder with XDG_CACHE_HOME, or binaries of your own with "
            "--nginx PATH and --haproxy PATH"
        )


def made_with(root: Path) -> list[str]:
    """The packages that it was made with; none where there is no complete root."""
    try:
        return (root / STAMP).read_text().split()
    except OSError:
        return []


def age(root: Path) -> str:
    """The day on which it was made."""
    return datetime.fromtimestamp((root / STAMP).stat().st_mtime, UTC).strftime("%Y-%m-%d")


def remove(root: Path) -> None:
    """Deletes a root, and nothing that is mounted in it: an interrupted debootstrap can leave such a thing behind."""
    if not root.exists():
        return
    for folder in ("proc", "sys"):
        if os.path.ismount(root / folder):
            subprocess.run(["umount", "--lazy", str(root / folder)], check=False)
    subprocess.run(["rm", "-rf", "--one-file-system", str(root)], check=False)


def without_password(text: str) -> str:
    """A text whose URLs do not tell what a mirror is to be logged in to with."""
    return re.sub(r"//[^/@\s]*@", "//", text)
