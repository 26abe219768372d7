"""Tests of the config templates and the command line."""

import io
import itertools
import os
import re
import shutil
import subprocess
import unittest
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from harness import certificate, options
from harness.balancers import KINDS, Balancer, Settings, numbers, version_in

SETTINGS = Settings(["127.0.0.1:7001", "127.0.0.2:7001"], routes=["/one", "/two"], workers=2)
TLS = replace(SETTINGS, certificate=Path("/certs"))
BR = replace(SETTINGS, coding="br")
GRPC = replace(SETTINGS, h2c=True, grpc=True)


def rendered(name: str, logs: bool, settings: Settings = SETTINGS, version: str = "") -> dict[str, str]:
    with TemporaryDirectory() as folder:
        Balancer(name, KINDS[name], name, logs, version=version).prepare(Path(folder), settings, (8001, 9001))
        return {file.name: file.read_text() for file in Path(folder).iterdir()}


class Templates(unittest.TestCase):
    def test_every_placeholder_is_replaced(self):
        for name in KINDS:
            for logs, settings in itertools.product((True, False), (SETTINGS, TLS, GRPC, BR)):
                for file, text in rendered(name, logs, settings).items():
                    with self.subTest(file=file, logs=logs, settings=settings):
                        self.assertEqual(re.findall(r"\{\{|^%(?!\[)\w+ ", text, re.MULTILINE), [])

    def test_config_has_every_backend_and_the_listen_address(self):
        for name in KINDS:
            text = "".join(rendered(name, True).values())
            for part in ("127.0.0.2", "8001") if text else ():
                self.assertIn(part, text, name)

    def test_only_a_balancer_with_logs_has_an_access_log(self):
        for name in KINDS:
            self.assertNotIn("access.log", "".join(rendered(name, False).values()), name)

    def test_routes_are_written_once_each(self):
        for name in ("evenkeel", "nginx", "haproxy"):
            text = "".join(rendered(name, True).values())
            self.assertEqual((text.count("/one"), text.count("/two")), (1, 1), name)

    def test_only_a_balancer_with_tls_has_a_certificate(self):
        for name in KINDS:
            with_it, without = ("".join(rendered(name, True, settings).values()) for settings in (TLS, SETTINGS))
            self.assertEqual("/certs/" in with_it, bool(with_it), name)
            self.assertNotIn(".pem", without, name)

    def test_every_balancer_speaks_http2_to_backends_of_grpc_only(self):
        words = {"evenkeel": "h2c://127.0.0.2", "nginx": "grpc_pass", "haproxy": "127.0.0.2:7001 proto h2",
            "envoy": "http2_protocol_options", "traefik": "h2c://127.0.0.2", "caddy": "h2c://127.0.0.2"}
        for name, word in words.items():
            with_it, without = ("".join(rendered(name, True, settings).values()) for settings in (GRPC, SETTINGS))
            self.assertIn(word, with_it, name)
            self.assertNotIn(word, without, name)

    def test_nginx_enables_http2_as_its_version_requires(self):
        for settings in (TLS, GRPC):
            for version, ways in (("1.22.1", (1, 0)), ("1.25.0", (1, 0)), ("1.25.1", (0, 1)), ("1.30.6-2", (0, 1)), ("?", (0, 1))):
                text = rendered("nginx", True, settings, version)["nginx.conf"]
                said = (len(re.findall(r"listen .* http2 ", text)), text.count(" http2 on;"))
                self.assertEqual(said, ways, version)
            self.assertNotIn("http2", re.sub("#.*", "", rendered("nginx", True)["nginx.conf"]))

    def test_peers_pass_websockets_and_events_on_where_they_do_not_by_default(self):
        words = {"nginx": "$http_upgrade", "envoy": "upgrade_type: websocket", "haproxy": "http-no-delay"}
        for name, word in words.items():
            for interactive in (True, False):
                text = "".join(rendered(name, True, replace(SETTINGS, interactive=interactive)).values())
                self.assertEqual(word in text, interactive, name)

    def test_a_balancer_with_a_root_gets_paths_inside_it(self):
        with TemporaryDirectory() as root:
            folder = Path(root) / "tmp" / "run"
            folder.mkdir(parents=True)
            for name in ("nginx", "haproxy"):
                balancer = Balancer(name, KINDS[name], f"/usr/sbin/{name}", True, root=Path(root))
                program = balancer.prepare(folder, replace(TLS, certificate=folder / "certs"), (8001, 9001))
                text = "".join((folder / template).read_text() for template in balancer.kind.templates)
                with self.subTest(name=name):
                    self.assertEqual((program.command[0], program.root), (f"/usr/sbin/{name}", Path(root)))
                    self.assertIn(f"/tmp/run/{name}.c", " ".join(program.command))
                    self.assertIn(" /tmp/run/certs/", text)
                    self.assertNotIn(root, text + " ".join(program.command))

    def test_the_floor_gets_ports(self):
        floor = Balancer("floor", KINDS["floor"], "/bin/floor", False)
        command = floor.prepare(Path("/nowhere"), SETTINGS, (8001, 9001)).command
        self.assertEqual(command, ["/bin/floor", "8001", "7001", "7001"])


class Versions(unittest.TestCase):
    def test_the_version_is_found_in_the_output_of_each_program(self):
        for said, version in (
            ("nginx version: nginx/1.30.6\n", "1.30.6"),
            ("HAProxy version 3.2.26-1 2026/10/14 - https://haproxy.org/\nStatus: long-term\n", "3.2.26-1"),
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17\n", "2.6.12-1+deb12u4"),
            ("HAProxy version 3.5-dev2-a1b2c3 2026/10/17\n", "3.5-dev2-a1b2c3"),
            ("\n  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL\n", "1.40.0"),
            ("Version:      3.7.15\nCodename:     langres\nGo version:   go1.26.9\n", "3.7.15"),
            ("v2.11.7 h1:yj0Y4fYZGPkSvibBJ1sTWE33xC0fxztVyXEW5iIdUT4=\n", "2.11.7"),
            ("2.11.4\n", "2.11.4"),
            ("evenkeel 0.1.0\n", "0.1.0"),
            ("no idea\n", "?"),
        ):
            self.assertEqual(version_in(said), version)

    def test_versions_compare_by_number(self):
        self.assertLess(numbers("1.9.15"), numbers("1.25.1"))
        self.assertLess(numbers("1.25"), numbers("1.25.1-2+deb12u1"))
        self.assertGreater(numbers("?"), numbers("99.0"))


class Certificate(unittest.TestCase):
    @unittest.skipUnless(shutil.which("openssl"), "openssl is installed by a run that needs it")
    def test_the_key_is_p256(self):
        with TemporaryDirectory() as folder:
            made = certificate.make(Path(folder) / "certificate")
            said = subprocess.check_output(["openssl", "x509", "-in", made / "both.pem", "-noout", "-text"], text=True)
            self.assertIn("NIST CURVE: P-256", said)
            self.assertIn("PRIVATE KEY", (made / "both.pem").read_text())


class CommandLine(unittest.TestCase):
    def test_builds_have_names(self):
        given = options.parse(["P1", "--evenkeel", "new=/a/b", "--evenkeel", "/c"], {"P1": ""})
        self.assertEqual(given.evenkeel, [("new", "/a/b"), ("evenkeel", "/c")])

    def test_a_program_is_found_from_any_folder(self):
        given = options.parse(["--evenkeel", "new=target/a", "--floor", "b"], {"P1": ""})
        self.assertEqual((given.evenkeel, given.floor), ([("new", f"{Path.cwd()}/target/a")], f"{Path.cwd()}/b"))

    def test_all_is_every_case(self):
        self.assertEqual(options.parse(["all"], {"P1": "", "P2": ""}).cases, ["P1", "P2"])

    def test_newest_is_every_peer_or_the_listed_ones(self):
        for text, peers, newest in (
            ("newest", ["nginx", "haproxy", "envoy", "traefik", "caddy"], True),
            ("newest,haproxy-nolog", ["haproxy-nolog"], True),
            ("envoy,newest", ["envoy"], True),
            ("envoy", ["envoy"], False),
            ("", [], False),
        ):
            given = options.parse(["--peers", text], {"P1": ""})
            self.assertEqual((given.peers, given.newest), (peers, newest), text)
        self.assertEqual(options.parse([], {"P1": ""}).peers, ["nginx", "haproxy"])

    def test_a_binary_of_the_users_own_is_compared_with(self):
        given = options.parse(["--envoy", "e", "--nginx", "/n", "--peers", "nginx-nolog"], {"P1": ""})
        self.assertEqual(given.programs, {"nginx": "/n", "envoy": f"{Path.cwd()}/e"})
        self.assertEqual(given.peers, ["nginx-nolog", "envoy"])

    def test_mistakes_are_reported(self):
        for arguments, said in (
            (["--peers", "nginx,apache"], "apache is not one of nginx, haproxy, envoy, traefik, caddy or newest"),
            (["--peers", "newest-nolog"], "newest-nolog is not one of"),
            (["--refresh"], "only apply to `--peers newest`"),
            (["--peers", "nginx", "--mirror", "http://localhost/debian"], "only apply to `--peers newest`"),
        ):
            with redirect_stderr(io.StringIO()) as errors, self.assertRaises(SystemExit):
                options.parse(arguments, {"P1": ""})
            self.assertIn(said, errors.getvalue())

    def test_the_cache_is_the_users_and_outside_of_the_repository(self):
        for base, folder in (("/var/c", "/var/c/evenkeel-bench"), ("", "/h/.cache/evenkeel-bench"), ("c", "/h/.cache/evenkeel-bench")):
            with mock.patch.dict(os.environ, {"XDG_CACHE_HOME": base, "HOME": "/h"}):
                self.assertEqual(options.parse([], {"P1": ""}).cache, Path(folder))
