"""Tests of figures and the table."""

import unittest

from harness import report
from harness.figures import Rejected, Results, short, spread


def results(**values: list) -> Results:
    made = Results()
    for balancer, rounds in values.items():
        for number, value in enumerate(rounds):
            made.add("P1", "work", "CPU", balancer, number, value)
    return made


class Figures(unittest.TestCase):
    def test_a_spread_is_the_median_with_the_range(self):
        self.assertEqual(spread([3.0, 1.0, 2.0]), "2.00 (1.00–3.00)")
        self.assertEqual(spread([3.0]), "3.00")
        self.assertEqual(spread([]), "–")

    def test_a_number_has_three_significant_digits(self):
        self.assertEqual([short(value) for value in (0.123, 12.34, 123.4, 12345)], ["0.12", "12.3", "123", "12,345"])

    def test_ratios_are_taken_round_by_round(self):
        table = report.table(results(ours=[1, 20, 3], nginx=[2, 20, 12]), ["ours"], ["nginx"])
        self.assertEqual(table.lines[0][-1], "ours ÷ nginx")
        self.assertEqual(table.lines[1][-1], "0.50 (0.25–1.00)")

    def test_one_rejected_round_rejects_the_figure_and_its_ratios(self):
        table = report.table(results(ours=[1, 2], nginx=[2, Rejected("3 status")]), ["ours"], ["nginx"])
        self.assertEqual(table.lines[1][3:], ["1.50 (1.00–2.00)", "rejected [1]", "–"])
        self.assertEqual(table.notes, ["nginx, P1, work, in 1 of 2 rounds: 3 status"])
        self.assertIn("[1] nginx", report.text(table))
        self.assertIn("[1] nginx", report.markdown(table, [("date", "today")]))

    def test_two_builds_are_compared_with_each_other(self):
        table = report.table(results(base=[4], new=[2], nginx=[8]), ["base", "new"], ["nginx"])
        self.assertEqual(table.lines[0][6:], ["base ÷ nginx", "new ÷ nginx", "new ÷ base"])
        self.assertEqual(table.lines[1][6:], ["0.50", "0.25", "0.50"])

    def test_unmeasured_values_have_no_figure(self):
        table = report.table(results(ours=[1]), ["ours"], ["nginx"])
        self.assertEqual(table.lines[1][3:], ["1.00", "–", "–"])
