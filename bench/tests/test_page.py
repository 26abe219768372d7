"""Tests of updating docs/benchmarks.md."""

import unittest

from harness.page import merged
from harness.report import Table


def run(date: str, *rows: list[str], notes: list[str] = ()) -> tuple[Table, list[tuple[str, str]]]:
    return Table([["", "work", "ours"], *rows], list(notes)), [("date", date), ("machine", "any")]


class Page(unittest.TestCase):
    def test_rows_not_measured_again_keep_their_date(self):
        first = merged("", *run("Monday", ["P1", "a", "1"], ["P10", "b", "2"]))
        page = merged(first, *run("Tuesday", ["P1", "a", "3"]))
        self.assertLess(page.index("- date: Tuesday"), page.index("| P1 | a | 3 |"))
        self.assertLess(page.index("| P1 | a | 3 |"), page.index("- date: Monday"))
        self.assertLess(page.index("- date: Monday"), page.index("| P10 | b | 2 |"))
        self.assertNotIn("| P1 | a | 1 |", page)

    def test_a_run_without_rows_is_removed(self):
        first = merged("", *run("Monday", ["P1", "a", "1"]))
        page = merged(first, *run("Tuesday", ["P1", "a", "3"]))
        self.assertEqual(page, merged("", *run("Tuesday", ["P1", "a", "3"])))

    def test_what_another_program_measured_stays(self):
        section = "<!-- policies: begin -->\n- date: Sunday\n\n| rule | ours |\n<!-- policies: end -->\n"
        first = merged(section, *run("Monday", ["P1", "a", "1"]))
        self.assertEqual(first, merged("", *run("Monday", ["P1", "a", "1"])) + "\n" + section)
        self.assertEqual(first, merged(first, *run("Monday", ["P1", "a", "1"])))

    def test_the_sections_of_several_programs_stay(self):
        counts = "<!-- policies: begin -->\n- date: Sunday\n<!-- policies: end -->\n"
        times = "<!-- policy times: begin -->\n- date: Monday\n<!-- policy times: end -->\n"
        page = merged(f"{counts}\n{times}", *run("Monday", ["P1", "a", "1"]))
        self.assertTrue(page.endswith(f"\n{counts}\n{times}"))
        self.assertEqual(page, merged(page, *run("Monday", ["P1", "a", "1"])))

    def test_a_note_is_removed_with_the_rows_that_refer_to_it(self):
        rows = (["P1", "a", "refused [1]"], ["P2", "a", "refused [2]"])
        first = merged("", *run("Monday", *rows, notes=["one", "two"]))
        page = merged(first, *run("Tuesday", ["P1", "a", "3"]))
        self.assertNotIn("[1] one", page)
        self.assertIn("[2] two", page)
