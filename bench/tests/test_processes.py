"""Tests of root directories of processes."""

import os
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.processes import in_root, inside


class Roots(unittest.TestCase):
    def test_a_path_is_named_as_a_program_there_sees_it(self):
        self.assertEqual(inside(Path("/cache/sid"), Path("/cache/sid/tmp/run")), "/tmp/run")
        self.assertEqual(inside(None, Path("/cache/sid/tmp/run")), "/cache/sid/tmp/run")
        with self.assertRaises(ValueError):
            inside(Path("/cache/sid"), Path("/tmp/run"))

    @unittest.skipUnless(os.geteuid() == 0, "chroot(2) needs root")
    def test_a_root_is_left_again_after_a_failure_too(self):
        before = (os.getcwd(), os.stat("/").st_ino)
        with TemporaryDirectory() as folder:
            (Path(folder) / "only").touch()
            try:
                with in_root(Path(folder)):
                    seen = os.listdir("/")
                    raise ValueError
            except PermissionError:
                self.skipTest("chroot(2) is not allowed here")
            except ValueError:
                self.assertEqual(seen, ["only"])
        self.assertEqual((os.getcwd(), os.stat("/").st_ino), before)

    def test_without_a_root_nothing_changes(self):
        with in_root(None):
            self.assertTrue(Path(__file__).exists())
