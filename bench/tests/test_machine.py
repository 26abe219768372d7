"""Tests of choosing programs and of the errors when one is missing."""

import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from harness import machine, options
from harness.balancers import KINDS, Balancer


@contextmanager
def program(script: str) -> Iterator[str]:
    """The path of a shell script."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "program-9.9"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        yield str(file)


def peer(name: str, root: Path | None, *arguments: str) -> Balancer:
    return machine.peer(options.parse(list(arguments), {"P1": ""}), name, root)


class Peers(unittest.TestCase):
    def test_come_from_the_root_a_wheel_or_the_user(self):
        root = Path("/cache/sid")
        nginx = peer("nginx-nolog", root)
        self.assertEqual((nginx.program, nginx.root, nginx.origin, nginx.logs), ("/usr/sbin/nginx", root, "Debian sid", False))
        caddy = peer("caddy", root, "--folder", "/f")
        self.assertEqual((caddy.program, caddy.root, caddy.origin), ("/f/venv/bin/caddy", None, ""))
        for name in ("nginx", "caddy"):
            own = peer(name, root, f"--{name}", "/own")
            self.assertEqual((own.program, own.root, own.origin, own.logs), ("/own", None, "own binary", True))

    def test_files_of_a_run_are_where_a_root_sees_them(self):
        given = options.parse(["--folder", "/f"], {"P1": ""})
        inside, outside = peer("nginx", Path("/cache/sid")), peer("nginx", None)
        self.assertEqual(machine.scratch(given, [outside, inside]), Path("/cache/sid/tmp"))
        self.assertEqual(machine.scratch(given, [outside]), Path("/f"))

    def test_the_newest_need_root_and_it_says_so(self):
        given = options.parse(["--peers", "newest"], {"P1": ""})
        with mock.patch("os.geteuid", return_value=1000), self.assertRaisesRegex(machine.Missing, "needs root.*--nginx PATH"):
            machine.newest_root(given, ["haproxy", "nginx"])


class Version(unittest.TestCase):
    def test_the_version_is_not_taken_from_the_program_path(self):
        with program('echo "$0  version: 0a1b/1.40.0/Clean"') as path:
            self.assertEqual(machine.version(Balancer("envoy", KINDS["envoy"], path, True)), "1.40.0")

    def test_a_program_that_cannot_be_started_is_reported(self):
        with program("") as path:
            Path(path).write_bytes(b"\x7fELF not really")
            with self.assertRaisesRegex(machine.Missing, f"nginx: could not start `{path} -v`: .*format"):
                machine.version(Balancer("nginx", KINDS["nginx"], path, True))
            for wrong in (str(Path(path).parent), "/nowhere/nginx"):
                with self.assertRaisesRegex(machine.Missing, f"nginx: {wrong} is not an executable file"):
                    machine.version(Balancer("nginx", KINDS["nginx"], wrong, True))

    def test_the_page_shows_version_and_origin(self):
        given = options.parse(["--evenkeel", "/e"], {"P1": ""})
        found = [
            Balancer("evenkeel", KINDS["evenkeel"], "/e", True, ours=True, version="0.1.0"),
            Balancer("nginx", KINDS["nginx"], "/usr/sbin/nginx", True, version="1.30.6", origin="Debian sid"),
            Balancer("haproxy", KINDS["haproxy"], "/usr/sbin/haproxy", True, version="2.6.12-1"),
        ]
        versions = dict(machine.facts(given, found))["versions"]
        self.assertEqual(versions, "evenkeel 0.1.0, nginx 1.30.6 (Debian sid), haproxy 2.6.12-1")
