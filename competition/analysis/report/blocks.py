"""What a section of the page is made of. The template draws each kind of block; nothing here knows HTML."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from competition.scoring.metrics import Estimate


@dataclass(frozen=True)
class ReportCell:
    """One cell of a table."""

    text: str
    order: float | None = None  # what the column is sorted by; by the text where there is none
    faint: str = ""  # said behind the text, in small
    interval: tuple[float, float, float] | None = (
        None  # low, value, high to be drawn, as shares of the width
    )
    strong: bool = False
    label: int = -1  # which label's color it has


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    number: bool = False  # aligned to the right
    choice: bool = False  # rows can be chosen by its values
    wide: bool = False  # long text, which needs room


@dataclass(frozen=True)
class Table:
    """Rows that can be sorted and filtered; `folded` ones are shown when asked for."""

    kind: ClassVar[str] = "table"
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[ReportCell]]
    note: str = ""
    folded: bool = False


@dataclass(frozen=True)
class MatrixCell:
    """One cell of a matrix: its tint from -4 to 4, 0 for none."""

    text: str
    faint: str = ""
    level: int = 0


@dataclass(frozen=True)
class Matrix:
    """Named rows by named columns."""

    kind: ClassVar[str] = "matrix"
    title: str
    corner: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[MatrixCell]]]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A chart: SVG made here, with what it shows in words."""

    kind: ClassVar[str] = "figure"
    title: str
    svg: str
    words: str
    note: str = ""


@dataclass(frozen=True)
class Multiples:
    """Small figures or matrices side by side, with one legend."""

    kind: ClassVar[str] = "multiples"
    title: str
    items: Sequence[Figure | Matrix]
    legend: Sequence[str] = ()  # names of the series, in the order of their colors
    note: str = ""


@dataclass(frozen=True)
class Note:
    """A sentence, and the command that brings what is missing."""

    kind: ClassVar[str] = "note"
    text: str
    command: str = ""


@dataclass(frozen=True)
class RankedProduct:
    """A product in a ranking."""

    label: int  # an index into LABELS
    title: str
    product_id: str


@dataclass(frozen=True)
class Ranking:
    """A query and its products, best first."""

    query: str
    query_id: str
    language: str
    locale: str
    score: float
    products: Sequence[RankedProduct]


@dataclass(frozen=True)
class Rankings:
    """Queries and how a run ranks them."""

    kind: ClassVar[str] = "rankings"
    title: str
    rankings: Sequence[Ranking]
    note: str = ""


Block = Table | Matrix | Multiples | Note | Rankings


@dataclass(frozen=True)
class Section:
    """A part of the page that can be linked to."""

    id: str
    title: str
    lead: str
    blocks: Sequence[Block] = field(default_factory=list)


# --- cells
# -------------------------------------------------------------------------------------------------------


def text(value: object) -> ReportCell:
    """Words, sorted as words."""
    return ReportCell(str(value))


def number(value: float | None, form: str = ",.0f") -> ReportCell:
    """A number; a dash where there is none, which is sorted last."""
    return (
        ReportCell("–", float("-inf"))
        if value is None or value != value
        else ReportCell(format(value, form), float(value))
    )


def estimate(
    value: Estimate | None, sign: str = "", scale: tuple[float, float] | None = None
) -> ReportCell:
    """A score with its interval; drawn over `scale`, the least and the greatest value of the column, if given."""
    if value is None or value.value != value.value:
        return ReportCell("", float("-inf"))
    said, _, interval = format(value, sign).partition(" ")
    drawn = None
    if scale is not None and value.has_interval:
        width = (scale[1] - scale[0]) or 1.0
        low, middle, high = (
            (each - scale[0]) / width for each in (value.low, value.value, value.high)
        )
        drawn = (low, middle, high)
    return ReportCell(said, value.value, interval, drawn)


def tint(value: float, most: float) -> int:
    """-4 to 4 for a value from -most to most; what is not 0 has a tint."""
    if not value or not most:
        return 0
    level = min(4, 1 + int(3.999 * abs(value) / most))
    return level if value > 0 else -level
