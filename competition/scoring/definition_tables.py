"""The tables of a definition, the TOML file of a competition, as they are typed and checked."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from competition.core.errors import did_you_mean
from competition.core.toml_files import StrictModel

# What every definition may map to a column of its files, beside its fields.
KEY_COLUMNS = ("id", "query", "query_id", "product_id", "label", "locale", "split")
# Columns of the tables of examples and of products, and what pre-training adds to the latter.
_RESERVED = ("example_id", "query_key", "copies", *KEY_COLUMNS)
_KINDS = ("classes", "gain", "rating", "score")  # of predictions, see `Contest.kinds`


class FilesTable(StrictModel):
    """`[files]`: where the rows lie in the folder that is imported."""

    layout: Literal["esci", "tables"] = "tables"
    rows: str = ""  # all rows in one file; may be left out where import names the file itself
    train: str = ""
    test: str = ""
    # Joined by product_id: one file, or the catalogue and then files that add fields to it.
    products: str | tuple[str, ...] = ()
    delimiter: str = Field("", max_length=1)  # empty: what each file shows
    encoding: str = "utf-8"


class LabelsTable(StrictModel):
    """`[labels]`: classes by `names` or numeric `levels`, or any number of a `range`.

    With none of them, the classes are the labels of the training rows. `gains` is what a label is
    worth to a ranking: its number, `2 ** number - 1`, or a table of all labels.
    """

    names: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()
    range: tuple[float, float] | None = None
    ordered: bool = False  # whether names rise: the first is 0, the next 1
    gains: Literal["linear", "exponential"] | dict[str, float] = "linear"
    other_gains: dict[str, dict[str, float]] = Field(default_factory=dict)  # protocol -> gains
    letters: tuple[str, ...] = ()  # a short name for each
    meanings: dict[str, str] = Field(default_factory=dict)
    raters: tuple[str, ...] = ()  # columns of the labels that single people gave

    @model_validator(mode="after")
    def _one_way(self) -> LabelsTable:
        ways = [name for name in ("names", "levels", "range") if getattr(self, name)]
        if len(ways) > 1:
            raise ValueError(f"of {' and '.join(ways)} there can be one")
        for way in ("names", "levels"):
            values = getattr(self, way)
            if values and (len(set(values)) < len(values) or len(values) < 2):
                raise ValueError(f"{way} must be two or more, each once")
        if self.range and self.range[0] >= self.range[1]:
            raise ValueError("range is the lowest and the highest number, in this order")
        return self


class LocaleTable(StrictModel):
    """A locale of `[locales]`."""

    language: str = ""
    dense: bool = False  # a character of its script says as much as a word


class TaskTable(StrictModel):
    """A task of `[tasks]`.

    `answer` holds the columns of the answer file: those that name a row, and last the answer. A
    ranking without an answer is the order of the file's rows. A metric of probabilities takes one
    column for two classes, that of the second, or a column for each class; where none is named,
    they are called as the classes are. `positive` is the label that is told from all others, and
    `words` how the two answers are written.
    """

    kind: Literal["rank", "classify", "rate"]
    metric: str
    answer: tuple[str, ...] = ()
    positive: str | None = None
    words: tuple[str, ...] = ()
    # The least label that MAP, MRR, precision and recall take as relevant.
    relevant: float | str | None = None


class Definition(StrictModel):
    """A definition, a TOML file of a competition."""

    description: str = ""
    fields: tuple[str, ...] = Field(min_length=1)  # of a product's text; the first is its name
    categories: tuple[str, ...] = ()  # the fields that name one of many, such as a brand
    field_orders: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    folds: Literal["queries", "rows"] = "queries"
    files: FilesTable = Field(default_factory=FilesTable)
    columns: dict[str, str | tuple[str, ...]] = Field(default_factory=dict)
    locales: bool | dict[str, LocaleTable] = False  # true: those that the rows have
    labels: LabelsTable = Field(default_factory=LabelsTable)
    tasks: dict[str, TaskTable] = Field(min_length=1)

    @field_validator("fields", "categories")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("a name is duplicated")
        return names

    @model_validator(mode="after")
    def _names_are_free(self) -> Definition:
        for name in (*self.fields, *self.tasks):
            if name in _RESERVED or not name.isidentifier():
                raise ValueError(f"{name!r} cannot be the name of a field or task")
        for task in self.tasks.values():
            if task.positive in (*_RESERVED, *_KINDS, *self.tasks):
                raise ValueError(f"the positive label cannot be called {task.positive!r}")
        return self

    @model_validator(mode="after")
    def _names_are_fields(self) -> Definition:
        strangers = [name for name in self.categories if name not in self.fields]
        if strangers:
            raise ValueError(f"the category {strangers[0]!r} is not one of the fields")
        if not set(self.fields) - set(self.categories):
            raise ValueError("one field must be no category: what describes a product")

        for name, order in self.field_orders.items():
            if sorted(order) != sorted(self.fields):
                raise ValueError(f"the order {name!r} must hold each field once")

        known = (*KEY_COLUMNS, *self.fields)
        for name in self.columns:
            if name not in known:
                raise ValueError(f"columns has the unknown key {name!r}{did_you_mean(name, known)}")
        return self
