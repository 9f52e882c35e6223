"""Definitions: the TOML files that say what a competition is, read into a `Contest`.

Definitions that come with the package lie in `contests/`; a workspace names one of them or a file
of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from competition.core.errors import InputError, did_you_mean, join_names, short_repr
from competition.core.toml_files import StrictModel, build_model, read_toml
from competition.scoring.contest import (
    PAPER,
    Contest,
    Found,
    Labels,
    Locale,
    Source,
    Task,
    number_text,
)
from competition.scoring.metric_table import Metric, find_metric

BUILT_IN = Path(__file__).parent / "contests"
ESCI = "esci"  # the competition of a workspace that names none
MOST_CLASSES = 20  # that are found in training rows; more distinct numbers are a range

# What every definition may map to a column of its files, beside its fields.
KEY_COLUMNS = ("id", "query", "query_id", "product_id", "label", "locale", "split")
# Columns of the tables of examples and of products, and what pre-training adds to the latter.
_RESERVED = ("example_id", "query_key", "copies", *KEY_COLUMNS)
_KINDS = ("classes", "gain", "rating", "score")  # of predictions, see `Contest.kinds`
_TINY = 1e-9  # a gain: a number above the lowest of its range is relevant
_ID_OF = {"id": "id", "example_id": "id", "query_id": "query_key"}


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


def built_in_names() -> list[str]:
    """Return the names of the definitions that come with the package."""
    return sorted(path.stem for path in BUILT_IN.glob("*.toml"))


def load_contest(name: str, folder: Path | None = None) -> Contest:
    """Return the contest of a definition.

    Args:
        name: of a definition that comes with the package, or the path of a file.
        folder: where a relative path starts.

    Raises:
        InputError: there is none, or a key of it is wrong.
    """
    known = built_in_names()
    if name in known:
        return _read_built_in(name)

    path = (folder or Path()) / Path(name).expanduser()
    if name and path.is_dir():
        raise InputError(f"{path} is a folder: name the definition in it, a .toml file.")
    if name.endswith(".toml") and not path.exists():
        raise InputError(f"The definition {path} is missing.")
    if not path.is_file():
        raise InputError(
            f"There is no competition {name!r}{did_you_mean(name, known)}: known are {', '.join(known)}, "
            "or give the path of a definition, a .toml file."
        )
    return _read_contest(path)


@cache
def _read_built_in(name: str) -> Contest:
    """Return the contest of a definition of the package, which is read once: readers and workspaces share it."""
    return _read_contest(BUILT_IN / f"{name}.toml")


def _read_contest(path: Path) -> Contest:
    return build_contest(path.stem, build_model(Definition, read_toml(path), path), path)


def build_contest(name: str, definition: Definition, source: Path | str) -> Contest:
    """Return the contest that a definition describes; what it leaves open waits for `Contest.completed`."""
    labels = definition.labels
    is_open = not (labels.names or labels.levels or labels.range)
    is_esci = definition.files.layout == "esci"
    contest = _contest(name, definition, source)
    if is_esci and not is_open:
        return contest

    def complete(found: Found) -> Contest:
        filled = labels
        if is_open and found.labels:
            filled = labels.model_copy(update=_levels_of(found.labels, source))
        fields = tuple(field for field in definition.fields if field in found.fields)
        locales = definition.locales
        if locales is True:
            locales = {locale: LocaleTable() for locale in found.locales if locale}

        changes = {
            "labels": filled,
            "fields": fields or definition.fields,
            "categories": tuple(field for field in definition.categories if field in fields),
            "field_orders": {
                order: tuple(field for field in names if field in fields)
                for order, names in definition.field_orders.items()
            },
            "locales": locales,
        }
        return _contest(name, definition.model_copy(update=changes), source)

    return replace(contest, complete=complete)


def _levels_of(found: tuple[str, ...], source: Path | str) -> dict[str, object]:
    """Return the keys of `[labels]` that hold the labels of the training rows."""
    try:
        numbers = sorted({float(label) for label in found})
    except ValueError:
        if len(found) > MOST_CLASSES:
            raise InputError(
                f"{source}: the training rows have {len(found):,} different labels: name those that there are with "
                '`names = ["…"]` in [labels].'
            ) from None
        return {"names": tuple(sorted(found))}

    if len(numbers) > MOST_CLASSES:
        return {"range": (numbers[0], numbers[-1])}
    return {"levels": tuple(numbers)}


def _contest(name: str, definition: Definition, source: Path | str) -> Contest:
    labels = _labels(definition, source)
    columns = {ours: _names(theirs) for ours, theirs in definition.columns.items()}
    locales = definition.locales if isinstance(definition.locales, dict) else {}
    files = definition.files.model_dump() | {"products": _names(definition.files.products)}
    return Contest(
        name,
        definition.description,
        labels,
        {
            task: _task(task, table, definition, labels, columns, source)
            for task, table in definition.tasks.items()
        },
        definition.fields,
        definition.categories,
        definition.field_orders or {"declared": definition.fields},
        tuple(Locale(each, table.language, table.dense) for each, table in locales.items()),
        Source(**files, columns=columns),
        definition.folds,
        definition.labels.raters,
    )


def _names(given: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return one name or several as several; none where it is empty."""
    return tuple(filter(None, (given,) if isinstance(given, str) else given))


def _labels(definition: Definition, source: Path | str) -> Labels:
    """Return the labels, their gains over the greatest."""
    table = definition.labels
    # What the data have yet to say stands for two classes.
    is_open = not (table.names or table.levels or table.range)
    levels = (0.0, 1.0) if is_open else table.levels
    levels = tuple(sorted(levels))
    names = table.names or tuple(number_text(level) for level in levels)
    values = levels or (tuple(map(float, range(len(names)))) if table.ordered else ())
    exponential = table.gains == "exponential"
    lowest, highest = table.range or (min(values, default=0.0), max(values, default=1.0))
    if not names:
        return Labels((), (), {}, lowest, highest, exponential)

    gains: dict[str, tuple[float, ...]] = {}
    if isinstance(table.gains, dict):
        gains[PAPER] = _table_of(table.gains, names, source)
    elif values:
        raw = [2**value - 1 if exponential else value for value in values]
        # Only differences count where a level is below 0.
        gains[PAPER] = tuple(gain - min(0.0, *raw) for gain in raw)
    elif any(task.kind == "rank" for task in definition.tasks.values()):
        raise InputError(
            f"{source}: a ranking needs to know what each label is worth: write "
            f"`gains = {{ {', '.join(f'{name} = …' for name in names)} }}` in [labels], or `ordered = true`."
        )
    else:
        gains[PAPER] = (0.0,) * len(names)
    for protocol, others in table.other_gains.items():
        gains[protocol] = _table_of(others, names, source)

    most = max(gains[PAPER]) or 1.0
    scaled = {key: tuple(gain / most for gain in each) for key, each in gains.items()}
    for what, given in (("meanings", table.meanings), ("letters", table.letters)):
        if given and len(given) != len(names):
            raise InputError(f"{source}: labels.{what} must name each of {join_names(names)}.")
    letters = dict(zip(names, table.letters or (name[:2] for name in names), strict=True))
    return Labels(
        names, values, scaled, lowest, highest, exponential, dict(table.meanings), letters
    )


def _table_of(
    gains: Mapping[str, float], names: tuple[str, ...], source: Path | str
) -> tuple[float, ...]:
    """Return a gain for each label; raises InputError where one is missing, unknown or below 0."""
    for name in (*gains, *names):
        if name not in names or name not in gains:
            raise InputError(
                f"{source}: labels.gains must have a number for each of {join_names(names)}: "
                f"{short_repr(name)} is {'unknown' if name in gains else 'missing'}."
            )
    if min(gains.values()) < 0:
        raise InputError(f"{source}: labels.gains must be 0 or more.")
    return tuple(float(gains[name]) for name in names)


def _task(
    name: str,
    table: TaskTable,
    definition: Definition,
    labels: Labels,
    columns: Mapping[str, tuple[str, ...]],
    source: Path | str,
) -> Task:
    """Return a task; raises InputError where it does not go with the labels."""
    where = f"{source}: tasks.{name}"
    classes: tuple[str, ...] = ()
    if table.kind == "classify":
        classes = labels.names
        if table.positive is not None:
            if table.positive not in labels.names:
                raise InputError(
                    f"{where}.positive = {table.positive!r} is not a label: known are {join_names(labels.names)}."
                )
            classes = table.words or (f"no_{table.positive}", table.positive)
        if table.words and len(table.words) != len(classes):
            raise InputError(f"{where}.words must be {len(classes)}, one for each class.")
        classes = table.words or classes
        if labels.lowest < labels.highest and not labels.names and definition.labels.range:
            raise InputError(
                f"{where}: labels are numbers of a range, which can be rated or ranked."
            )
    elif table.positive is not None or table.words:
        raise InputError(f"{where}: positive and words are for tasks that classify.")
    if table.kind == "rate" and not labels.are_numbers:
        raise InputError(
            f"{where}: labels have no numbers to rate by: write `ordered = true` in [labels], or levels."
        )

    metric = _metric(table, labels, where)
    keys, header = _answer_columns(table, metric, classes, definition, columns, where)
    return Task(
        name,
        table.kind,
        metric,
        classes,
        keys,
        header,
        table.positive,
        labels,
        tuple(definition.locales) if isinstance(definition.locales, dict) else (),
        definition.folds == "rows" and table.kind != "rank",
        _relevant_from(table, labels, where),
    )


def _answer_columns(
    table: TaskTable,
    metric: Metric,
    classes: tuple[str, ...],
    definition: Definition,
    columns: Mapping[str, tuple[str, ...]],
    where: str,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return our columns that name a row of the answer file, and all columns as they are written.

    Raises:
        InputError: no column names a row, or the others are not those of an answer.
    """
    by_class = metric.reads == "probabilities"
    default: tuple[str, ...] = ("query", "product_id") if table.kind == "rank" else ("id", "label")
    if by_class and len(classes) > 2:
        default = ("id",)
    header = table.answer or default

    is_esci = definition.files.layout == "esci"
    known = [_key(column, columns, is_esci) for column in header]
    first = known.index(None) if None in known else len(known)
    keys = tuple(key for key in known[:first] if key is not None)
    answers = header[first:]
    if by_class and not answers:
        answers = classes
    counts = {1} if not by_class else {1, 2} if len(classes) == 2 else {len(classes)}
    if table.kind == "rank":
        counts = {0, 1}
    if not keys or len(answers) not in counts:
        last = "a column for each class" if by_class and len(classes) > 2 else "that of the answer"
        raise InputError(
            f"{where}.answer = {list(header)} must be the columns that name a row (id, query, query_id, product_id, "
            f"as they are called in the files), and last {last}."
        )
    return keys, (*header[:first], *answers)


def _metric(table: TaskTable, labels: Labels, where: str) -> Metric:
    """Return the metric of a task; raises InputError where it is none, or one of other tasks or labels."""
    try:
        metric = find_metric(table.metric)
    except InputError as error:
        raise InputError(f"{where}.metric: {error}") from None

    if metric.task != table.kind:
        raise InputError(
            f"{where}: the metric {metric.name} is for kind = {metric.task!r}, not {table.kind!r}."
        )
    if metric.reads == "level" and not labels.are_classes:
        raise InputError(
            f"{where}: {metric.name} compares levels: write `levels = […]` in [labels]."
        )
    return metric


def _relevant_from(table: TaskTable, labels: Labels, where: str) -> float:
    """Return the least gain of a relevant row: that of the label `relevant`, else the least above 0."""
    if table.relevant is None:
        return min((gain for gain in labels.gains.get(PAPER, ()) if gain > 0), default=_TINY)

    if not labels.are_classes:
        return float(labels.gain_of_number(np.array([table.relevant], np.float64))[0])
    text = table.relevant if isinstance(table.relevant, str) else number_text(table.relevant)
    if text not in labels.names:
        raise InputError(
            f"{where}.relevant = {table.relevant!r} is not a label: known are {join_names(labels.names)}."
        )
    return labels.gains[PAPER][labels.names.index(text)]


def _key(column: str, columns: Mapping[str, tuple[str, ...]], is_esci: bool) -> str | None:
    """Return our column of a name in an answer file; None where it names no row."""
    theirs = {name: ours for ours, names in columns.items() for name in names}
    ours = theirs.get(column, column)
    if ours not in ("id", "example_id", "query", "query_id", "product_id"):
        return None

    # Ids as they stand in the files; those of ESCI are numbers, which examples hold as they are.
    return ours if is_esci else _ID_OF.get(ours, ours)
