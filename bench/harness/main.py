"""The sequence of a run: install and build, measure case by case, print the table."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from harness import machine, options, page, report
from harness.balancers import Balancer
from harness.cases import CASES
from harness.figures import Results
from harness.processes import raise_descriptor_limit
from harness.report import Table
from harness.rig import Rig

PAGE = options.REPOSITORY / "docs" / "benchmarks.md"


def main(arguments: list[str]) -> int:
    """Runs the comparison and returns the exit code of the process."""
    chosen = options.parse(arguments, {name: case.about for name, case in CASES.items()})
    chosen.folder.mkdir(parents=True, exist_ok=True)
    try:
        programs = {program for name in chosen.cases for program in CASES[name].programs}
        balancers, tools = machine.prepare(chosen, programs)
    except (machine.Missing, subprocess.CalledProcessError) as error:
        print(f"bench/run: {error}", file=sys.stderr)
        return 1
    missing = set(chosen.balancer_cores + chosen.load_cores) - os.sched_getaffinity(0)
    if missing:
        absent = ", ".join(map(str, sorted(missing)))
        print(f"bench/run: core {absent} is not available: choose others with --balancer-cores and --load-cores", file=sys.stderr)
        return 1
    raise_descriptor_limit()
    facts = machine.facts(chosen, balancers)
    print(f"versions: {dict(facts)['versions']}", file=sys.stderr)
    # This script must not run on the balancer's cores.
    os.sched_setaffinity(0, chosen.load_cores)
    written = PAGE.read_text() if PAGE.exists() else ""
    results = Results()
    table = Table([])
    with TemporaryDirectory(dir=machine.scratch(chosen, balancers)) as folder:
        rig = Rig(chosen, balancers, tools, Path(folder), results)
        for name in measured(rig, chosen.cases):
            table = report.table(results, *names(balancers))
            if chosen.write and len(table.lines) > 1:
                PAGE.write_text(page.merged(written, table, facts))
            print(f"{name}: done", file=sys.stderr)
    print("\n".join(f"{name}: {value}" for name, value in facts))
    print(f"\n{report.text(table)}" if table.lines else "\nnothing was measured")
    return 0


def names(balancers: list[Balancer]) -> tuple[list[str], list[str]]:
    """The names of our builds and of the others, which are the columns."""
    ours = [balancer.name for balancer in balancers if balancer.ours]
    return ours, [balancer.name for balancer in balancers if not balancer.ours]


def measured(rig: Rig, chosen: list[str]) -> Iterator[str]:
    """Yields each case when it has been measured. An interrupt ends the run early and keeps the results so far."""
    for name in chosen:
        try:
            CASES[name].run(rig)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            yield name
            return
        yield name
