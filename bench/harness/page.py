"""docs/benchmarks.md: a list of facts and a table for each run, the newest first. Of an older run stays what no newer one
has measured."""

import re

from harness.report import Table, markdown

INTRO = """\
# Benchmarks

<!-- Written by `bench/run --write`: measure again instead of editing. -->

Medians of interleaved rounds, with the least and the most of them. A ratio is taken within each round; below 1 is
less than the other. Figures of different machines, or of different runs, do not compare; a difference under 5% is
noise. [bench/README.md](../bench/README.md) says what each line means and how to repeat it. Where there are several
tables, each is of another run, which the list above it describes.
"""

# What a run begins with.
FIRST_FACT = "- date: "


def merged(old: str, made: Table, facts: list[tuple[str, str]]) -> str:
    """The page with a run in it. All rows of its cases in older runs are gone."""
    cases = {line[0] for line in made.lines[1:]}
    runs = re.split(f"^(?={FIRST_FACT})", old, flags=re.MULTILINE)[1:]
    kept = [without(run, cases) for run in runs]
    return "\n".join([INTRO, markdown(made, facts), *(run for run in kept if run)])


def without(run: str, cases: set[str]) -> str:
    """A run without the rows of some cases, and without notes that nothing refers to any more; empty when nothing is left."""
    lines = run.rstrip().splitlines()
    lines = [line for line in lines if not is_row(line) or line.removeprefix("| ").split(" | ")[0] not in cases]
    rows = [line for line in lines if is_row(line)]
    if not rows:
        return ""
    table = "\n".join(rows)
    lines = [line for line in lines if not (note := re.match(r"\[\d+\]", line)) or note[0] in table]
    return "\n".join(lines).rstrip() + "\n"


def is_row(line: str) -> bool:
    """Whether it is one of the table, but not of its head."""
    return line.startswith("| P")
