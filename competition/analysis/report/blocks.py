"""The blocks of which sections consist. The template draws each kind of block; nothing here knows HTML."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from competition.scoring.intervals import Estimate


@dataclass(frozen=True)
class ReportCell:
    """One cell of a table."""

    text: str
    order: float | None = None  # the sort key of the column; None: the text
    detail: str = ""  # small text behind the text
    # low, value, high of a drawn interval, as shares of the width
    interval: tuple[float, float, float] | None = None
    zero: float | None = None  # where a line marks 0 behind the interval, as a share of the width
    marks: tuple[str, ...] = ()  # short words about the text, such as `submitted`
    heading: bool = False  # of its row
    label: int = -1  # an index into the labels, whose color the cell has; -1: none


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    number: bool = False  # aligned to the right
    choice: bool = False  # rows can be filtered by its values
    wide: bool = False  # long text


@dataclass(frozen=True)
class Table:
    """Rows that can be sorted and filtered; a `folded` table is closed at first."""

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
    detail: str = ""
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
    """A chart as SVG."""

    kind: ClassVar[str] = "figure"
    title: str
    svg: str
    alt_text: str  # what it shows, for a screen reader
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
    """A sentence, and the command that makes what is missing."""

    kind: ClassVar[str] = "note"
    text: str
    command: str = ""


@dataclass(frozen=True)
class RankedProduct:
    """A product in a ranking."""

    label: int  # an index into the labels
    title: str
    product_id: str


@dataclass(frozen=True)
class Ranking:
    """A query and its products, best first."""

    query: str
    language: str
    choices: Sequence[str]  # what it can be filtered by, in the order of `Rankings.choices`
    score: float
    products: Sequence[RankedProduct]


@dataclass(frozen=True)
class Rankings:
    """Queries with their products, as a run ranks them."""

    kind: ClassVar[str] = "rankings"
    title: str
    metric: str
    choices: Sequence[str]  # names
    rankings: Sequence[Ranking]
    note: str = ""


Block = Table | Matrix | Multiples | Note | Rankings


@dataclass(frozen=True)
class Section:
    """What belongs together and can be linked to."""

    id: str
    title: str
    lead: str
    blocks: Sequence[Block] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """A question of the reader, and the sections that answer it."""

    id: str
    title: str
    sections: Sequence[Section]


def text(value: object) -> ReportCell:
    """Return a cell of text, sorted as text."""
    return ReportCell(str(value))


def number(value: float | None, form: str = ",.0f") -> ReportCell:
    """Return a cell with a number, or a dash for None and NaN, which is sorted last."""
    if value is None or value != value:
        return ReportCell("–", float("-inf"))
    return ReportCell(format(value, form), float(value))


def estimate(
    value: Estimate | None, sign: str = "", scale: tuple[float, float] | None = None
) -> ReportCell:
    """Return a cell with a score and its interval.

    Args:
        value: the score; the cell is empty for None and NaN.
        sign: "+" for differences.
        scale: the least and the greatest value of the column; the interval is drawn between them.
    """
    if value is None or value.value != value.value:
        return ReportCell("", float("-inf"))

    score, _, interval = format(value, sign).partition(" ")
    if scale is None or not value.has_interval:
        return ReportCell(score, value.value, interval)

    least, greatest = scale
    width = (greatest - least) or 1.0
    low, middle, high, zero = (
        (each - least) / width for each in (value.low, value.value, value.high, 0.0)
    )
    return ReportCell(
        score, value.value, interval, (low, middle, high), zero if 0 <= zero <= 1 else None
    )


def scale_of(values: Iterable[Estimate], include: float | None = None) -> tuple[float, float]:
    """Return the least and the greatest end of intervals, and of `include`; (0, 1) where there is none."""
    ends = [end for each in values if each.has_interval for end in (each.low, each.high)]
    if include is not None:
        ends.append(include)
    return (min(ends), max(ends)) if ends else (0.0, 1.0)


def tint(value: float, greatest: float) -> int:
    """Return a tint from -4 to 4 for a value from -greatest to greatest; only 0 has tint 0."""
    if not value or not greatest:
        return 0
    level = min(4, 1 + int(3.999 * abs(value) / greatest))
    return level if value > 0 else -level
