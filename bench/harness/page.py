"""Updates docs/benchmarks.md: the conditions and a table of each run, newest first. Older runs keep only the rows that no
newer run has measured."""

import re

from harness.report import Table, markdown

INTRO = """\
# Benchmarks

<!-- Written by `bench/run --write`: measure again instead of editing. -->

Medians of interleaved rounds, with minimum and maximum. A ratio is taken within each round; below 1 means less than
the other. Figures of different machines or different runs are not comparable; a difference under 5% is
noise. [bench/README.md](../bench/README.md) explains each line and how to repeat the measurement. Each table is from one
run, described by the list above it.
"""

# The start of a run.
FIRST_FACT = "- date: "
# What `bench/policies` and `benches/policies` write.
POLICIES = re.compile("<!-- (policies|policy times): begin -->.*?<!-- \\1: end -->\n*", re.DOTALL)


def merged(old: str, made: Table, facts: list[tuple[str, str]]) -> str:
    """The page with a new run added. Rows of its cases are removed from older runs."""
    cases = {line[0] for line in made.lines[1:]}
    policies = [section[0].rstrip() + "\n" for section in POLICIES.finditer(old)]
    runs = re.split(f"^(?={FIRST_FACT})", POLICIES.sub("", old), flags=re.MULTILINE)[1:]
    kept = [without(run, cases) for run in runs]
    parts = [INTRO, markdown(made, facts), *(run for run in kept if run)]
    return "\n".join([*parts, *policies])


def without(run: str, cases: set[str]) -> str:
    """A run without the rows of some cases and without notes that are no longer referred to; empty if no row is left."""
    lines = run.rstrip().splitlines()
    lines = [line for line in lines if not is_row(line) or line.removeprefix("| ").split(" | ")[0] not in cases]
    rows = [line for line in lines if is_row(line)]
    if not rows:
        return ""
    table = "\n".join(rows)
    lines = [line for line in lines if not (note := re.match(r"\[\d+\]", line)) or note[0] in table]
    return "\n".join(lines).rstrip() + "\n"


def is_row(line: str) -> bool:
    """Whether it is a row of the table, not its header."""
    return line.startswith("| P")
