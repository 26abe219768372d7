"""Measured values and their statistics: medians, ranges, ratios per round. Not the measuring itself."""

from dataclasses import dataclass, field
from statistics import median


class Rejected(Exception):
    """Why a result is rejected."""


@dataclass
class Row:
    """One figure of one workload: for each balancer, one value or rejection per round."""

    case: str
    work: str
    figure: str
    values: dict[str, dict[int, float | Rejected]] = field(default_factory=dict)

    def cell(self, balancer: str, notes: list[str]) -> str:
        """Median and range, or the number of a note with the reason if any round was rejected."""
        rounds = self.values.get(balancer, {})
        rejected = [value for value in rounds.values() if isinstance(value, Rejected)]
        if not rejected:
            return spread(list(rounds.values()))
        note = f"{balancer}, {self.case}, {self.work}, in {len(rejected)} of {len(rounds)} rounds: {rejected[0]}"
        if note not in notes:
            notes.append(note)
        return f"rejected [{notes.index(note) + 1}]"

    def ratio(self, one: str, other: str) -> str:
        """Median and range of the ratios of each round; empty for figures that are percentages or ratios themselves."""
        if "%" in self.figure or "÷" in self.figure:
            return ""
        pairs = [(value, self.values.get(other, {}).get(number)) for number, value in self.values.get(one, {}).items()]
        if not all(isinstance(value, float) for pair in pairs for value in pair):
            return "–"
        return spread([value / base for value, base in pairs if base > 0])


@dataclass
class Results:
    """All rows, in the order in which they were first measured."""

    rows: dict[tuple[str, str, str], Row] = field(default_factory=dict)

    def add(self, case: str, work: str, figure: str, balancer: str, number: int, value: float | Rejected) -> None:
        """Adds the value of a round."""
        row = self.rows.setdefault((case, work, figure), Row(case, work, figure))
        row.values.setdefault(balancer, {})[number] = value if isinstance(value, Rejected) else float(value)


def spread(values: list[float]) -> str:
    """`median (min–max)`, each with three significant digits."""
    if not values:
        return "–"
    middle, least, most = (short(value) for value in (median(values), min(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({least}–{most})"


def short(value: float) -> str:
    """A number with three significant digits, and all digits before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
