"""Tests of finding the Debian mirror in the configuration of apt."""

import unittest
from pathlib import Path
from tempfile import TemporaryDirectory

from harness import mirror

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_CODENAME=bookworm\nID=debian\n'
UBUNTU = "ID=ubuntu\nVERSION_CODENAME=noble\n"

DEB822 = """\
# made by an installer
Types: deb deb-src
# the one that is used
URIs: https://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF

Types: deb
URIs: https://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""


def found(files: dict[str, str], os_release: str = DEBIAN) -> str | None:
    """The mirror found with these files in /etc/apt."""
    with TemporaryDirectory() as name:
        etc = Path(name)
        (etc / "os-release").write_text(os_release)
        for file, content in files.items():
            (etc / "apt" / file).parent.mkdir(parents=True, exist_ok=True)
            (etc / "apt" / file).write_text(content)
        return mirror.find(etc)


class Mirror(unittest.TestCase):
    def test_is_in_a_deb822_file(self):
        self.assertEqual(found({"sources.list.d/debian.sources": DEB822}), "https://mirror.example/debian")

    def test_is_on_a_line_of_a_list(self):
        for line in (
            "deb http://mirror.example/debian bookworm main",
            "deb\thttp://mirror.example/debian/ bookworm main non-free # the nearest",
            "  deb [arch=amd64 signed-by=/usr/share/k.gpg] http://mirror.example/debian stable contrib main",
            "deb-src http://source.example/debian bookworm main\ndeb http://mirror.example/debian sid main",
            "# deb http://old.example/debian bookworm main\n\ndeb http://mirror.example/debian testing main",
        ):
            for file in ("sources.list", "sources.list.d/debian.list"):
                uri = found({file: f"{line}\n"}) or ""
                self.assertEqual(uri.rstrip("/"), "http://mirror.example/debian", line)

    def test_is_not_an_archive_of_others(self):
        others = {
            "sources.list.d/a.list": "deb https://packages.example/apt bookworm main\n",
            "sources.list.d/b.list": "deb https://docker.example/linux/debian bookworm stable\n",
            "sources.list.d/c.list": "deb https://sql.example/debian bookworm-sql main\n",
        }
        self.assertEqual(found(others | {"sources.list.d/debian.sources": DEB822}), "https://mirror.example/debian")
        self.assertIsNone(found({"sources.list.d/d.list": "deb https://docker.example/linux/debian bookworm stable\n"}))

    def test_may_have_any_path(self):
        self.assertEqual(found({"sources.list": "deb http://mirror.example/d bookworm main\n"}), "http://mirror.example/d")

    def test_is_not_one_that_is_disabled_or_that_debootstrap_cannot_read(self):
        disabled = DEB822.replace("Types: deb deb-src", "Enabled: no\nTypes: deb")
        self.assertIsNone(found({"sources.list.d/debian.sources": disabled}))
        self.assertIsNone(found({"sources.list.d/debian.sources.disabled": DEB822}))
        self.assertIsNone(found({"sources.list": "deb cdrom:[Debian]/ bookworm main\ndeb mirror+file:/m bookworm main\n"}))

    def test_is_unknown_on_other_systems(self):
        self.assertIsNone(found({"sources.list": "deb http://mirror.example/ubuntu noble main\n"}, UBUNTU))
        self.assertIsNone(found({}))
