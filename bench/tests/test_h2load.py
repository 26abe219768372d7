"""Tests of parsing the output of h2load."""

import unittest

from harness.figures import Rejected
from harness.h2load import completed, times_us

SAID = """
finished in 2.00s, 80720.00 req/s, 27.14MB/s
requests: 161720 total, 161720 started, 161720 done, {good} succeeded, {failed} failed, {errored} errored, 0 timeout
status codes: {good} 2xx, 0 3xx, {failed} 4xx, 0 5xx
"""


class Completed(unittest.TestCase):
    def test_counts_completed_requests(self):
        self.assertEqual(completed(SAID.format(good=161720, failed=0, errored=0)), 161720)

    def test_one_error_rejects_the_result(self):
        for failed, errored, said in ((1, 0, "1 failed, 1 4xx"), (0, 2, "2 errored")):
            with self.assertRaisesRegex(Rejected, said):
                completed(SAID.format(good=5, failed=failed, errored=errored))

    def test_a_result_without_responses_is_rejected(self):
        for text in (SAID.format(good=0, failed=0, errored=0), "nonsense"):
            with self.assertRaisesRegex(Rejected, "no response to any request"):
                completed(text)


class Times(unittest.TestCase):
    def test_reads_the_times_of_requests_whatever_their_units(self):
        said = """
                     min         max         mean         sd        +/- sd
time for request:      730us     19.30ms       1.05s      2.11ms    85.23%
time for connect:      104us       160us       126us        25us    75.00%
"""
        self.assertEqual(times_us(said), {"min": 730, "max": 19300, "mean": 1050000})

    def test_output_without_times_is_rejected(self):
        with self.assertRaisesRegex(Rejected, "no times"):
            times_us("nonsense")
