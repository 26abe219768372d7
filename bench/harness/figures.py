"""What was measured, and what follows from it: medians, ranges, ratios round by round. Knows nothing of how."""

from dataclasses import dataclass, field
from statistics import median


class Refused(Exception):
    """Why a result does not count."""


@dataclass
class Row:
    """One figure of one piece of work: for each balancer, one value or refusal a round."""

    case: str
    work: str
    figure: str
    values: dict[str, dict[int, float | Refused]] = field(default_factory=dict)

    def cell(self, balancer: str, notes: list[str]) -> str:
        """Median and range; or the number of the note that says why there is none. One refused round is enough for it."""
        rounds = self.values.get(balancer, {})
        refused = [value for value in rounds.values() if isinstance(value, Refused)]
        if not refused:
            return spread(list(rounds.values()))
        note = f"{balancer}, {self.case}, {self.work}, in {len(refused)} of {len(rounds)} rounds: {refused[0]}"
        if note not in notes:
            notes.append(note)
        return f"refused [{notes.index(note) + 1}]"

    def ratio(self, one: str, other: str) -> str:
        """Median and range of the ratios of each round; none of what is a part or a ratio itself."""
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

    def add(self, case: str, work: str, figure: str, balancer: str, number: int, value: float | Refused) -> None:
        """Adds the value of a round."""
        row = self.rows.setdefault((case, work, figure), Row(case, work, figure))
        row.values.setdefault(balancer, {})[number] = value if isinstance(value, Refused) else float(value)


def spread(values: list[float]) -> str:
    """`median (least–most)`, each with three digits that count."""
    if not values:
        return "–"
    middle, least, most = (short(value) for value in (median(values), min(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({least}–{most})"


def short(value: float) -> str:
    """A number with three digits that count, and all digits before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
