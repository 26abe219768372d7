"""Bodies to compress: JSON, HTML and JavaScript made from a seed, and a page of Python's documentation."""

import http.client
import json
import pydoc
import random
from pathlib import Path

SEED = 7
SIZES = {"4 KiB": 4 << 10, "64 KiB": 64 << 10, "1 MiB": 1 << 20}
# The page that Python makes of the documentation in a module. Its size depends on the version of Python.
PAGE = "page.html"

VOWELS, CONSONANTS = "aeiou", "bcdfghklmnprstvw"


class Source:
    """Words as frequent as in a language (Zipf's law), and numbers that do not repeat."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.words = [self.new_word() for _ in range(800)]
        self.weights = [1 / (rank + 1) for rank in range(len(self.words))]

    def new_word(self) -> str:
        syllables = (self.random.choice(CONSONANTS) + self.random.choice(VOWELS) for _ in range(self.random.choice((1, 2, 2, 3))))
        return "".join(syllables) + self.random.choice(("", "", "n", "s", "r"))

    def text(self, count: int) -> str:
        return " ".join(self.random.choices(self.words, self.weights, k=count))

    def number(self, most: int) -> int:
        return self.random.randrange(most)

    def json(self) -> str:
        """A record of a list."""
        record = {
            "id": f"{self.random.getrandbits(64):016x}",
            "name": self.text(2),
            "created_at": f"2026-{self.number(12) + 1:02}-{self.number(28) + 1:02}T{self.number(24):02}:{self.number(60):02}:00Z",
            "price": self.number(100_000) / 100,
            "in_stock": self.number(4) > 0,
            "description": self.text(self.number(8) + 3),
            "tags": self.text(3).split(),
            "links": {"self": f"/api/v1/products/{self.number(1_000_000)}", "category": f"/api/v1/categories/{self.number(50)}"},
        }
        return json.dumps(record) + ",\n"

    def html(self) -> str:
        """A part of a page."""
        number = self.number(100_000)
        return (
            f'    <article class="card card--{self.random.choice(("small", "large"))}" id="item-{number}">\n'
            f'      <h2 class="card__title"><a href="/articles/{number}/{self.text(3).replace(" ", "-")}">{self.text(4)}</a></h2>\n'
            f'      <p class="card__text">{self.text(self.number(20) + 6)}.</p>\n'
            f'      <img class="card__image" src="/images/{self.random.getrandbits(40):010x}.webp" width="320" height="180" alt="">\n'
            "    </article>\n"
        )

    def js(self) -> str:
        """A function."""
        name, one, other = (self.text(2).title().replace(" ", "") for _ in range(3))
        return (
            f"export function {name}(options, {one.lower()}) {{\n"
            f"  const {other.lower()} = options.{one.lower()} ?? {self.number(1_000)};\n"
            f"  if (!{other.lower()} || {one.lower()}.length > {self.number(100)}) {{\n"
            f'    throw new TypeError("{self.text(5)}");\n'
            "  }\n"
            f"  return this.{self.text(1)}.map((item) => item.{self.text(1)} + {other.lower()}).filter(Boolean);\n"
            "}\n\n"
        )


def made(kind: str, size: int) -> bytes:
    """A text of this kind, cut off at this size."""
    source = Source(SEED)
    part = getattr(source, kind)
    parts, length = [], 0
    while length < size:
        parts.append(part())
        length += len(parts[-1])
    return "".join(parts).encode()[:size]


def names(size: int) -> list[str]:
    """The files of this size."""
    return [f"{size}.{kind}" for kind in ("json", "html", "js")]


def write(folder: Path) -> None:
    """Writes all bodies as files."""
    folder.mkdir()
    for size in SIZES.values():
        for name in names(size):
            (folder / name).write_bytes(made(name.rpartition(".")[2], size))
    page = pydoc.HTMLDoc()
    (folder / PAGE).write_text(page.page("http.client", page.docmodule(http.client)))
