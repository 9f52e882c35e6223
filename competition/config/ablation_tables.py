"""Tables of ablations: TOML files whose rows are recipes that differ in some keys.

    recipe = "c1"            # that the rows vary
    compare = "first"        # each row with the first; "before": with the row before it
    cumulative = false       # true: a row keeps what the rows above it set

    [keys]                   # of every row
    epochs = 3

    [[row]]
    name = "plain"

    [[row]]
    name = "r-drop"
    set = { r_drop = 0.5 }

`"@first"` as the value of a key that names a run is the run of the first row with the same seed. The tables of the
paper, with its figures (cross-validated on the full data with InfoXLM-large), and others lie in `tables/`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from competition.core.errors import InputError, unknown_name
from competition.core.toml_files import StrictModel, build_model, read_toml

TABLES = Path(__file__).parent / "tables"
FIRST_ROW = "@first"  # a run to learn from: that of the table's first row with the same seed
ROLES = ("classify", "rank", "positive")  # see `Contest.representative`

# Keys that name a run whose audit training follows.
_AUDITS = ("drop_noise_from", "weight_noise_from", "relabel_noise_from")


class AblationRow(StrictModel):
    """The keys in which a row differs, and the published score where there is one."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=60)
    set: dict[str, Any] = Field(default_factory=dict)
    paper: float | None = None
    # Of the recipe `pretrained`, whose encoder the row then starts from.
    pretraining: dict[str, Any] | None = None
    paper_mlm: float | None = None
    # Role of the task -> published difference to the first row.
    paper_minus: dict[str, float] = Field(default_factory=dict)


class AblationTable(StrictModel):
    """A table of rows, each a recipe of its own."""

    description: str = ""
    number: int | None = None  # in the paper; None for one that is not of it
    recipe: str
    tasks: tuple[
        str, ...
    ] = ()  # or roles of tasks, the paper's first; empty: all that the rows answer
    compare: Literal["before", "first"] = "before"
    cumulative: bool = False
    keys: dict[str, Any] = Field(default_factory=dict)
    row: tuple[AblationRow, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _rows_fit_together(self) -> "AblationTable":
        names = [row.name for row in self.row]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two rows are called {twice!r}")
        if FIRST_ROW in (self.keys | self.row[0].set).values():
            raise ValueError(f"the first row cannot learn from {FIRST_ROW!r}, which is itself")
        if any("seed" in keys for keys in (self.keys, *(row.set for row in self.row))):
            raise ValueError(
                "all rows have the same seeds, as many as --seeds says: leave out `seed`"
            )
        return self

    @property
    def rows(self) -> tuple[AblationRow, ...]:
        """The rows, each with all keys in which it differs from the recipe."""
        rows = []
        keys = self.keys
        pretraining: dict[str, Any] = {}

        for row in self.row:
            changes = keys | row.set
            of_encoder = None if row.pretraining is None else pretraining | row.pretraining
            rows.append(row.model_copy(update={"set": changes, "pretraining": of_encoder}))
            if self.cumulative:
                keys = changes
                pretraining = of_encoder or pretraining
        return tuple(rows)

    @property
    def to_first(self) -> bool:
        """True where each row is compared with the first one."""
        return self.compare == "first"

    @property
    def learns(self) -> bool:
        """True where rows learn from the run of the first one: from its audit, or as from a teacher."""
        return any(FIRST_ROW in row.set.values() for row in self.row)

    @property
    def audits(self) -> bool:
        """True where rows follow the audit of the first one."""
        return any(row.set.get(key) == FIRST_ROW for row in self.row for key in _AUDITS)


@dataclass(frozen=True)
class NamedTable:
    """A table, and where it is from."""

    name: str
    source: Path
    table: AblationTable
    own: bool  # a user's, not one that comes with the package

    @property
    def prefix(self) -> str:
        """What the names of its runs begin with; those of the package share the runs of equal rows."""
        return f"ablate-{self.name}" if self.own else "ablate"


def table_names() -> list[str]:
    """Return the names of the tables that come with the package."""
    return sorted(path.stem for path in TABLES.glob("*.toml"))


def load_table(name: str) -> NamedTable:
    """Read a table by its name, or a file.

    Raises:
        InputError: there is no such table or file, it is called like a table of the package, or a
            key in it is wrong.
    """
    if name in table_names():
        path = TABLES / f"{name}.toml"
        return NamedTable(name, path, build_model(AblationTable, read_toml(path), path), own=False)

    path = Path(name)
    if path.suffix != ".toml":
        raise unknown_name("table", name, [*table_names(), "a file NAME.toml"])
    if not path.is_file():
        raise InputError(f"There is no file {path}: name one, or a table of the package.")
    if path.stem in table_names():
        raise InputError(f"{path} is called like a table of the package: rename the file.")
    return NamedTable(path.stem, path, build_model(AblationTable, read_toml(path), path), own=True)
