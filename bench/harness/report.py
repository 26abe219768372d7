"""Formats the results as a table, for a terminal and as Markdown."""

from dataclasses import dataclass, field

from harness.figures import Results


@dataclass
class Table:
    """Lines of cells, the header first, and the notes that some cells refer to."""

    lines: list[list[str]]
    notes: list[str] = field(default_factory=list)

    def numbered_notes(self) -> list[str]:
        """The notes with their numbers."""
        return [f"[{number}] {note}" for number, note in enumerate(self.notes, 1)]


def table(results: Results, ours: list[str], others: list[str]) -> Table:
    """A line for each figure: the value of each balancer, then the ratio of each of our builds to each other balancer."""
    pairs = [(one, other) for one in ours for other in others]
    pairs += [(one, ours[0]) for one in ours[1:]]
    made = Table([["", "work", "figure", *ours, *others, *(f"{one} ÷ {other}" for one, other in pairs)]])
    for row in results.rows.values():
        cells = [row.cell(name, made.notes) for name in ours + others]
        ratios = [row.ratio(one, other) for one, other in pairs]
        made.lines.append([row.case, row.work, row.figure, *cells, *ratios])
    return made


def text(made: Table) -> str:
    """The table in columns. Cells that repeat the line above are left empty."""
    lines = made.lines
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    shown = []
    before = ["", ""]
    for line in lines:
        cells = list(line)
        if cells[:2] == before:
            cells[:2] = ["", ""]
        before = line[:2]
        shown.append("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip())
    return "\n".join(shown + made.numbered_notes())


def markdown(made: Table, facts: list[tuple[str, str]]) -> str:
    """One run: its conditions, then the table."""
    head, *rest = made.lines
    lines = [
        *(f"- {name}: {value}" for name, value in facts),
        "",
        f"| {' | '.join(head)} |",
        f"|{' --- |' * len(head)}",
        *(f"| {' | '.join(line)} |" for line in rest),
        "",
        *(f"{note}  " for note in made.numbered_notes()),
    ]
    return "\n".join(lines).rstrip() + "\n"
