"""Tests of the Debian sid root, with a debootstrap that only creates folders."""

import io
import os
import unittest
from contextlib import redirect_stderr
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from harness import sid

MIRROR = "http://me:secret@mirror.example/debian"

# Fakes of debootstrap: one records its arguments and creates a program in the root, which is the argument before the
# last; the other fails.
WORKS = """\
echo "$@" >>"$0.calls"
for word; do root=$target; target=$word; done
mkdir -p "$root/usr/sbin"
echo "run $(wc -l <"$0.calls")" >"$root/usr/sbin/nginx"
"""
FAILS = """\
echo "I: Retrieving InRelease"
echo "E: Failed getting release file http://me:secret@mirror.example/debian/dists/sid/Release" >&2
exit 1
"""


class Root(unittest.TestCase):
    def setUp(self):
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.bin, self.cache = Path(folder.name) / "bin", Path(folder.name) / "cache" / "bench"
        self.bin.mkdir()
        path = mock.patch.dict(os.environ, {"PATH": f"{self.bin}:{os.environ['PATH']}"})
        path.start()
        self.addCleanup(path.stop)

    def debootstrap(self, script: str) -> None:
        program = self.bin / "debootstrap"
        program.write_text(f"#!/bin/sh\n{script}")
        program.chmod(0o755)

    def calls(self) -> list[str]:
        file = self.bin / "debootstrap.calls"
        return file.read_text().splitlines() if file.exists() else []

    def lay(self, *packages: str, mirror: str | None = MIRROR, again: bool = False) -> Path:
        with redirect_stderr(io.StringIO()):
            return sid.lay(self.cache, list(packages), mirror, again)

    def test_is_made_with_the_packages_and_the_mirror(self):
        self.debootstrap(WORKS)
        root = self.lay("haproxy", "nginx")
        self.assertEqual((root / "usr/sbin/nginx").read_text(), "run 1\n")
        self.assertRegex(self.calls()[0], rf"^--variant=minbase --include=haproxy,nginx sid {self.cache}/sid-\S+ {MIRROR}$")
        self.assertEqual(root.stat().st_mode & 0o777, 0o755)

    def test_is_made_once_unless_a_package_is_missing_or_it_is_wanted_again(self):
        self.debootstrap(WORKS)
        first = self.lay("haproxy", "nginx")
        self.assertEqual(self.lay("nginx", mirror=None), first)
        self.assertEqual(len(self.calls()), 1)
        self.lay("nginx", "other")
        self.assertEqual(len(self.calls()), 2)
        self.lay("nginx", again=True)
        self.assertEqual((first / "usr/sbin/nginx").read_text(), "run 3\n")
        self.assertEqual({file.name for file in self.cache.iterdir()}, {"sid", "debootstrap.log"})

    def test_a_failure_reports_the_reason_and_keeps_the_old_root(self):
        self.debootstrap(WORKS)
        root = self.lay("nginx")
        self.debootstrap(FAILS)
        with self.assertRaisesRegex(sid.NotMade, "E: Failed getting release file http://mirror.example/.*--mirror URL") as caught:
            self.lay("nginx", again=True)
        log = self.cache / "debootstrap.log"
        self.assertIn(str(log), str(caught.exception))
        self.assertNotIn("secret", str(caught.exception) + log.read_text())
        self.assertEqual((root / "usr/sbin/nginx").read_text(), "run 1\n")
        self.assertEqual({file.name for file in self.cache.iterdir()}, {"sid", "debootstrap.log"})

    def test_without_a_mirror_it_asks_for_one(self):
        with self.assertRaisesRegex(sid.NotMade, "no Debian mirror .* --mirror URL"):
            self.lay("nginx", mirror=None)

    def test_an_unwritable_cache_is_reported(self):
        self.cache.parent.write_text("a file where the folder should be")
        with self.assertRaisesRegex(sid.NotMade, f"cannot write to {self.cache}: .* XDG_CACHE_HOME"):
            self.lay("nginx")
