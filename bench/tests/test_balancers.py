"""Templates of configs, and the command line."""

import itertools
import re
import shutil
import subprocess
import unittest
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from harness import certificate, options
from harness.balancers import KINDS, Balancer, Settings

SETTINGS = Settings(["127.0.0.1:7001", "127.0.0.2:7001"], routes=["/one", "/two"], workers=2)
TLS = replace(SETTINGS, certificate=Path("/certs"))
GRPC = replace(SETTINGS, h2c=True, grpc=True)


def rendered(name: str, logs: bool, settings: Settings = SETTINGS) -> dict[str, str]:
    with TemporaryDirectory() as folder:
        Balancer(name, KINDS[name], name, logs).prepare(Path(folder), settings, (8001, 9001))
        return {file.name: file.read_text() for file in Path(folder).iterdir()}


class Templates(unittest.TestCase):
    def test_every_mark_is_filled(self):
        for name in KINDS:
            for logs, settings in itertools.product((True, False), (SETTINGS, TLS, GRPC)):
                for file, text in rendered(name, logs, settings).items():
                    with self.subTest(file=file, logs=logs, settings=settings):
                        self.assertEqual(re.findall(r"\{\{|^%(?!\[)\w+ ", text, re.MULTILINE), [])

    def test_every_backend_is_there_and_so_is_the_address_to_listen_on(self):
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

    def test_only_a_balancer_that_speaks_tls_has_a_certificate(self):
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

    def test_the_floor_gets_ports(self):
        floor = Balancer("floor", KINDS["floor"], "/bin/floor", False)
        command, _ = floor.prepare(Path("/nowhere"), SETTINGS, (8001, 9001))
        self.assertEqual(command, ["/bin/floor", "8001", "7001", "7001"])


class Certificate(unittest.TestCase):
    @unittest.skipUnless(shutil.which("openssl"), "openssl is installed by a run that needs it")
    def test_its_key_is_of_p256(self):
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
