"""The order of things: install and build, measure case by case, show the table."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from harness import machine, options, report
from harness.cases import CASES
from harness.figures import Results
from harness.processes import raise_descriptor_limit
from harness.rig import Rig

PAGE = options.REPOSITORY / "docs" / "benchmarks.md"


def main(arguments: list[str]) -> int:
    """Runs the comparison; the exit code of the process."""
    chosen = options.parse(arguments, {name: case.about for name, case in CASES.items()})
    chosen.folder.mkdir(parents=True, exist_ok=True)
    try:
        balancers, tools = machine.prepare(chosen)
    except (machine.Missing, subprocess.CalledProcessError) as error:
        print(f"bench/run: {error}", file=sys.stderr)
        return 1
    raise_descriptor_limit()
    facts = machine.facts(chosen, balancers)
    # What this script does itself is not to disturb the balancer.
    os.sched_setaffinity(0, chosen.load_cores)
    results = Results()
    with TemporaryDirectory(dir=chosen.folder) as folder:
        rig = Rig(chosen, balancers, tools, Path(folder), results)
        measure(rig, chosen.cases)
    ours = [balancer.name for balancer in balancers if balancer.ours]
    others = [balancer.name for balancer in balancers if not balancer.ours]
    made = report.table(results, ours, others)
    print("\n".join(f"{name}: {value}" for name, value in facts))
    print(f"\n{report.text(made)}")
    if chosen.write:
        PAGE.write_text(report.markdown(made, facts))
    return 0


def measure(rig: Rig, names: list[str]) -> None:
    """Case by case. When it is interrupted, what was measured so far is shown."""
    for name in names:
        case = CASES[name]
        if case.run is None:
            print(f"{name}: {case.about}", file=sys.stderr)
            continue
        try:
            case.run(rig)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return
