"""The Debian mirror of this machine, read from the configuration of apt (sources.list(5))."""

import re
from dataclasses import dataclass
from pathlib import Path

# What debootstrap can fetch from.
SCHEMES = ("http://", "https://", "file:")


@dataclass(frozen=True)
class Source:
    """One archive that apt takes binary packages from."""

    uri: str
    suite: str
    components: list[str]


def find(etc: Path = Path("/etc")) -> str | None:
    """The Debian mirror that this machine installs from; none on other systems."""
    suites = debian_suites(etc / "os-release")
    mirrors = [source.uri for source in sources(etc / "apt") if is_debian(source, suites)]
    # Third-party archives can have the same suite and component, but rarely also this folder.
    likely = [uri for uri in mirrors if uri.rstrip("/").endswith("/debian")]
    return (likely + mirrors + [None])[0]


def debian_suites(os_release: Path) -> set[str]:
    """Suites of Debian itself: the names that every release has, and the release of this machine."""
    suites = {"stable", "testing", "unstable", "sid"}
    known = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text(os_release), re.MULTILINE))
    if known.get("ID") == "debian":
        suites.add(known.get("VERSION_CODENAME", "stable"))
    return suites


def is_debian(source: Source, suites: set[str]) -> bool:
    """Whether it is the main Debian archive. The archive of security updates is not: it has no unstable suite."""
    return source.suite in suites and "main" in source.components and source.uri.startswith(SCHEMES)


def sources(apt: Path) -> list[Source]:
    """All enabled sources, in the order in which apt reads them."""
    parts = sorted((apt / "sources.list.d").glob("*"))
    found = one_line(text(apt / "sources.list"))
    for file in parts:
        if file.suffix == ".list":
            found += one_line(text(file))
        elif file.suffix == ".sources":
            found += deb822(text(file))
    return found


def one_line(content: str) -> list[Source]:
    """`deb [OPTIONS] URI SUITE COMPONENT…`"""
    lines = re.findall(r"^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)([^#\n]*)", content, re.MULTILINE)
    return [Source(uri, suite, components.split()) for uri, suite, components in lines]


def deb822(content: str) -> list[Source]:
    """Stanzas of fields; a field can have several values, also on continuation lines that begin with a blank."""
    found = []
    content = re.sub(r"^#.*\n?", "", content, flags=re.MULTILINE)
    for stanza in re.split(r"\n[ \t]*\n", content):
        pairs = re.findall(r"^([\w-]+):((?:.*\n?)(?:[ \t]+\S.*\n?)*)", stanza, re.MULTILINE)
        fields = {name.lower(): value.split() for name, value in pairs}
        if "deb" not in fields.get("types", []) or fields.get("enabled") in (["no"], ["false"]):
            continue
        for uri in fields.get("uris", []):
            found += [Source(uri, suite, fields.get("components", [])) for suite in fields.get("suites", [])]
    return found


def text(file: Path) -> str:
    """The text of a file; empty if it does not exist."""
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
