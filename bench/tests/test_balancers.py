"""Templates of configs, and the command line."""

import re
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory

from harness import options
from harness.balancers import KINDS, Balancer, Settings

SETTINGS = Settings(["127.0.0.1:7001", "127.0.0.2:7001"], routes=["/one", "/two"], workers=2)


def rendered(name: str, logs: bool, settings: Settings = SETTINGS) -> dict[str, str]:
    with TemporaryDirectory() as folder:
        Balancer(name, KINDS[name], name, logs).prepare(Path(folder), settings, (8001, 9001))
        return {file.name: file.read_text() for file in Path(folder).iterdir()}


class Templates(unittest.TestCase):
    def test_every_mark_is_filled(self):
        for name in KINDS:
            for logs in (True, False):
                for file, text in rendered(name, logs).items():
                    with self.subTest(file=file, logs=logs):
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

    def test_the_floor_gets_ports(self):
        floor = Balancer("floor", KINDS["floor"], "/bin/floor", False)
        command, _ = floor.prepare(Path("/nowhere"), SETTINGS, (8001, 9001))
        self.assertEqual(command, ["/bin/floor", "8001", "7001", "7001"])


class CommandLine(unittest.TestCase):
    def test_builds_have_names(self):
        given = options.parse(["P1", "--evenkeel", "new=/a/b", "--evenkeel", "/c"], {"P1": ""})
        self.assertEqual(given.evenkeel, [("new", "/a/b"), ("evenkeel", "/c")])

    def test_all_is_every_case(self):
        self.assertEqual(options.parse(["all"], {"P1": "", "P2": ""}).cases, ["P1", "P2"])
