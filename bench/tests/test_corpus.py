"""Tests of the bodies to compress."""

import unittest
import zlib

from harness import corpus


class Bodies(unittest.TestCase):
    def test_a_seed_makes_the_same_text_each_time(self):
        for kind in ("json", "html", "js"):
            self.assertEqual(corpus.made(kind, 4096), corpus.made(kind, 4096))

    def test_a_body_has_its_size_and_compresses_like_a_real_one(self):
        for kind in ("json", "html", "js"):
            with self.subTest(kind=kind):
                body = corpus.made(kind, 64 << 10)
                self.assertEqual(len(body), 64 << 10)
                ratio = len(body) / len(zlib.compress(body, 6))
                self.assertTrue(4 < ratio < 6, ratio)
