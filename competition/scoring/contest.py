"""What a competition is: its labels, its fields of text, its tasks, and how outputs become answers.

A `Contest` is made from a definition, a TOML file that `scoring/definition.py` reads. Whatever
depends on labels, locales or tasks asks these objects; no other module knows the names of any.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from competition.core.errors import InputError, pluralize, unknown_name
from competition.core.lazy_pandas import pd
from competition.scoring.metric_table import Metric

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

PAPER = "paper"  # the gains that a contest ranks by, see `Labels.gains`


@dataclass(frozen=True, eq=False)
class Labels:
    """What rows are labelled with: classes, or numbers of a range.

    Attributes:
        names: of the classes, in the order of their probabilities; empty where labels are numbers.
        values: the number of each class, ascending, as a rating has it; empty where classes have
            no order.
        gains: by protocol, the gain of each class in 0..1; the first protocol is PAPER, whose
            gains are learned and ranked by.
        lowest: the smallest number of a range.
        highest: the greatest.
        exponential: whether the gain of a number x is `2 ** x - 1` instead of x.
        meanings: of classes, for people who review them.
        letters: short names of classes in files and tables.
    """

    names: tuple[str, ...]
    values: tuple[float, ...] = ()
    gains: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    lowest: float = 0.0
    highest: float = 1.0
    exponential: bool = False
    meanings: Mapping[str, str] = field(default_factory=dict)
    letters: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of classes, 0 where labels are numbers."""
        return len(self.names)

    @property
    def are_classes(self) -> bool:
        """True where a label is one of some classes."""
        return bool(self.names)

    @property
    def are_numbers(self) -> bool:
        """True where a label has a number, so that rows can be rated."""
        return bool(self.values) or not self.names

    def codes(self, labels: pd.Series) -> Codes:
        """Return labels as indices into `names`, `(rows,)`; -1 where a label is unknown."""
        codes = {label: code for code, label in enumerate(self.names)}
        return np.array([codes.get(label, -1) for label in labels], np.int64)

    def numbers(self, labels: pd.Series) -> Array:
        """Return the number of each label, `(rows,)`; NaN where the label is unknown."""
        if self.names:
            return np.asarray(labels.map(dict(zip(self.names, self.values, strict=True))), float)

        return np.asarray(pd.to_numeric(labels, errors="coerce"), np.float64)

    def gain(self, labels: pd.Series, protocol: str = PAPER) -> Array:
        """Return the gain of each label in 0..1, `(rows,)`; NaN where the label is unknown."""
        if self.names:
            gains = dict(zip(self.names, self.gains[protocol], strict=True))
            return np.asarray(labels.map(gains), np.float64)

        return self.gain_of_number(self.numbers(labels))

    def gain_of_number(self, numbers: Array) -> Array:
        """Return the gain of numbers of a range, 0..1, of any shape."""
        if not self.exponential:
            return (numbers - self.lowest) / (self.highest - self.lowest)

        # 2^x - 1 (Burges et al. 2005), over its greatest value.
        gains: Array = (2**numbers - 2**self.lowest) / (2**self.highest - 2**self.lowest)
        return gains

    def levels(self, numbers: Array) -> Codes:
        """Return the index of the class whose number is nearest to each number, `(rows,)`; a tie goes to the lower."""
        return np.searchsorted(self.middles, numbers, side="left").astype(np.int64)

    @property
    def middles(self) -> Array:
        """The middles between the numbers of neighbouring classes, `(classes - 1,)`."""
        numbers = np.array(self.values)
        return np.asarray((numbers[1:] + numbers[:-1]) / 2, np.float64)

    def expected_gain(self, probabilities: Array) -> Array:
        """Return the expected gain of class probabilities `(rows, classes)`, `(rows,)`."""
        expected: Array = probabilities @ np.array(self.gains[PAPER])
        return expected

    def expected_number(self, probabilities: Array) -> Array:
        """Return the expected number of class probabilities `(rows, classes)`, `(rows,)`."""
        expected: Array = probabilities @ np.array(self.values)
        return expected

    def check_protocol(self, protocol: str) -> None:
        """Refuse a protocol of gains that the contest does not have."""
        if protocol not in self.gains:
            raise unknown_name("protocol", protocol, self.gains)


@dataclass(frozen=True)
class Task:
    """One question of the contest and the file that answers it.

    Attributes:
        name: such as `task1`.
        kind: `rank` the rows of a query, `classify` rows, or `rate` them with a number.
        metric: what it is graded by.
        classes: the answers of a classification task in words, the majority first where that was
            declared; empty for other tasks.
        keys: our columns that identify a row of the answer file.
        header: the columns of the answer file as they are written: the keys, then `answers`.
        positive: the label that is told from all others; None where every label is a class.
        labels: of the contest.
        locales: by which scores are shown, too.
        by_rows: whether intervals are over rows instead of queries, since folds are of rows.
        relevant_from: the least gain of a row that is relevant.
    """

    name: str
    kind: Literal["rank", "classify", "rate"]
    metric: Metric
    classes: tuple[str, ...]
    keys: tuple[str, ...]
    header: tuple[str, ...]
    positive: str | None = None
    labels: Labels = field(repr=False, compare=False, default_factory=lambda: Labels(()))
    locales: tuple[str, ...] = ()
    by_rows: bool = False
    relevant_from: float = 0.0

    @property
    def ranks(self) -> bool:
        """True where the answer is an order."""
        return self.kind == "rank"

    def count_units(self, count: int) -> str:
        """Return how many queries, or rows, a score is of, in words."""
        return pluralize(count, "row") if self.by_rows else pluralize(count, "query", "queries")

    @property
    def answers(self) -> tuple[str, ...]:
        """The columns of the answer: none where the order is the answer, several for probabilities."""
        return self.header[len(self.keys) :]

    @property
    def words(self) -> tuple[str, ...]:
        """How answers that are one of some are written, by their index; empty for numbers and orders."""
        return self.labels.names if self.metric.reads == "level" else self.classes

    @property
    def file(self) -> str:
        """The name of the answer file."""
        return f"{self.name}.csv"

    def truth(self, examples: pd.DataFrame) -> Codes:
        """Return the class of each example as an index into `classes`, `(rows,)`; -1 where it is unknown."""
        if self.positive is None:
            return self.labels.codes(examples["label"])

        # A column of its own: some rows say this much of their label and no more.
        codes = examples[self.positive].astype("boolean").astype("Int64").fillna(-1)
        return np.asarray(codes, dtype=np.int64)


@dataclass(frozen=True)
class Kind:
    """A kind of prediction: the columns it writes, the tasks that they answer, and the one that it is made for.

    Attributes:
        name: as recipes write it.
        role: what the outputs are: `classes` (a probability of each label), `gain` (the expected
            gain), `positive` (the probability of one label), `rating` (a number), or `score` (an
            order alone).
        outputs: the columns.
        tasks: that the outputs answer.
        primary: the task that it is made for.
        labels: of the contest.
        positive: the label of the role `positive`.
    """

    name: str
    role: Literal["classes", "gain", "positive", "rating", "score"]
    outputs: tuple[str, ...]
    tasks: tuple[str, ...]
    primary: str
    labels: Labels = field(repr=False, compare=False)
    positive: str = ""

    @property
    def is_classes(self) -> bool:
        """True where the outputs are probabilities of all labels, which sum to 1."""
        return self.role == "classes"

    @property
    def is_number(self) -> bool:
        """True where a row has one number that is no probability: a gain, a rating or a score."""
        return self.role in ("gain", "rating", "score")

    @property
    def targets(self) -> int:
        """How many numbers a row's target has: a distribution over classes, or one number."""
        if self.is_classes:
            return len(self.labels)
        return 2 if self.role == "positive" else 1

    def values(self, outputs: pd.DataFrame) -> Array:
        """Return the columns of the outputs, `(rows, outputs)`."""
        return outputs[list(self.outputs)].to_numpy(np.float64)

    def numeric_target(self, examples: pd.DataFrame) -> Array:
        """Return the target of each example, `(rows,)`: a class index, a gain or a rating in 0..1; NaN if unknown."""
        if self.role == "gain":
            return self.labels.gain(examples["label"])
        if self.role == "rating":
            return self.to_unit(self.labels.numbers(examples["label"]))

        if self.role == "positive":
            known = examples[self.positive].astype("boolean").astype("Int64").fillna(-1)
            codes = np.asarray(known, dtype=np.int64)
        else:
            codes = self.labels.codes(examples["label"])
        return np.where(codes < 0, np.nan, codes.astype(np.float64))

    def hard_target(self, examples: pd.DataFrame) -> Array:
        """Return the target of examples whose label is known: a distribution or a number, `(rows, targets)`."""
        target = self.numeric_target(examples)
        return target[:, None] if self.is_number else np.eye(self.targets)[target.astype(np.int64)]

    def targets_from_classes(self, probabilities: Array) -> Array:
        """Return probabilities of all labels `(rows, classes)` as targets of this kind, `(rows, targets)`."""
        if self.role == "gain":
            return self.labels.expected_gain(probabilities)[:, None]
        if self.role == "rating":
            return self.to_unit(self.labels.expected_number(probabilities))[:, None]

        # The classes: anything else, the positive.
        if self.role == "positive":
            positive = probabilities[:, [self.labels.names.index(self.positive)]]
            return np.hstack([1 - positive, positive])

        return probabilities

    def to_unit(self, numbers: Array) -> Array:
        """Return ratings as models learn them: 0 for the lowest, 1 for the highest."""
        return (numbers - self.labels.lowest) / (self.labels.highest - self.labels.lowest)

    def from_unit(self, units: Array) -> Array:
        """Return what a model of ratings says in 0..1 as ratings."""
        return self.labels.lowest + units * (self.labels.highest - self.labels.lowest)


@dataclass(frozen=True)
class Locale:
    """A market: its name in files, its language, and whether a character of its script says as much as a word."""

    name: str
    language: str = ""
    dense: bool = False


@dataclass(frozen=True)
class Source:
    """Where the rows of a contest lie, and which of their columns is what.

    Attributes:
        layout: `esci` where a reader of its own knows the files, else `tables`.
        rows: the file of all rows; empty where training and test rows are apart, or the file is
            named at import.
        train: the file of the training rows.
        test: the file of the test rows; empty where there are none.
        products: the files that describe products, joined by product_id; none where the rows do.
            The first is the catalogue; in the others, a product may have several rows.
        delimiter: between the cells of CSV files; empty for what each file shows.
        encoding: of the CSV files.
        columns: our name of a column -> the names that it may have in the files, the first of
            which is there.
    """

    layout: Literal["esci", "tables"] = "tables"
    rows: str = ""
    train: str = ""
    test: str = ""
    products: tuple[str, ...] = ()
    delimiter: str = ""
    encoding: str = "utf-8"
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def names(self, column: str) -> tuple[str, ...]:
        """Return what a column of ours may be called in the files."""
        return self.columns.get(column, (column,))


@dataclass(frozen=True)
class Found:
    """What the data of a workspace say where a definition leaves it open."""

    labels: tuple[str, ...] = ()
    locales: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Contest:
    """A competition as its definition states it.

    Attributes:
        name: of the definition.
        description: a sentence.
        labels: what rows are labelled with.
        tasks: by name, in the order in which they are shown.
        fields: of text, of a product, in the order in which models read them; the first is its
            name.
        categories: the fields that name one of many, such as a brand: compared whole, and learned
            as embeddings.
        field_orders: name -> the fields in an order that recipes may ask for; the first is read by
            default.
        locales: the markets; empty where there is one.
        source: where rows come from.
        folds: whether a fold holds whole queries, or rows, where test queries are training queries.
        raters: columns of labels by single people.
    """

    name: str
    description: str
    labels: Labels
    tasks: Mapping[str, Task]
    fields: tuple[str, ...]
    categories: tuple[str, ...]
    field_orders: Mapping[str, tuple[str, ...]]
    locales: tuple[Locale, ...]
    source: Source
    folds: Literal["queries", "rows"] = "queries"
    raters: tuple[str, ...] = ()
    # Makes the contest anew with what the data say; None where the definition leaves nothing open.
    complete: Callable[[Found], Contest] | None = None

    # --- tasks and kinds ---

    def task(self, name: str) -> Task:
        """Return a task; raises InputError for a name that the contest does not have."""
        if name not in self.tasks:
            raise unknown_name("task", name, self.tasks)
        return self.tasks[name]

    @property
    def ranking(self) -> Task | None:
        """The first task that ranks, if any does."""
        return next((task for task in self.tasks.values() if task.ranks), None)

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """The kinds of prediction, by name."""
        tasks = self.tasks
        ranks = tuple(name for name, task in tasks.items() if task.ranks)
        rates = tuple(name for name, task in tasks.items() if task.kind == "rate")
        whole = [t.name for t in tasks.values() if t.kind == "classify" and t.positive is None]
        kinds: list[Kind] = []

        if self.labels.are_classes:
            # Probabilities of labels answer everything that a label answers.
            numbers = self.labels.are_numbers
            answered = tuple(name for name in tasks if numbers or name not in rates)
            columns = tuple(f"p_{label}" for label in self.labels.names)
            primary = [*whole, *rates, *ranks, *tasks][0]
            kinds.append(Kind("classes", "classes", columns, answered, primary, self.labels))
        if ranks:
            kinds.append(Kind("gain", "gain", ("gain",), ranks, ranks[0], self.labels))
        for task in tasks.values():
            if task.positive is not None:
                name = task.positive
                answered = tuple(each.name for each in tasks.values() if each.positive == name)
                columns = (f"p_{name}",)
                kinds.append(
                    Kind(name, "positive", columns, answered, answered[0], self.labels, name)
                )
        if rates:
            answered = (*rates, *ranks)
            kinds.append(Kind("rating", "rating", ("rating",), answered, rates[0], self.labels))
        if ranks:
            kinds.append(Kind("score", "score", ("score",), ranks, ranks[0], self.labels))
        return {kind.name: kind for kind in kinds}

    def kind(self, name: str) -> Kind:
        """Return a kind of prediction; raises InputError for one that the contest does not have."""
        if name not in self.kinds:
            raise InputError(
                f"The competition {self.name!r} has no kind {name!r} of prediction: it has {', '.join(self.kinds)}."
            )
        return self.kinds[name]

    def answer_kind(self, task: str) -> Kind:
        """Return the kind of prediction that answers just this task."""
        asked = self.task(task)
        if asked.ranks:
            return self.kinds["score"]
        if asked.kind == "rate":
            return self.kinds["rating"]
        return self.kinds[asked.positive or "classes"]

    @property
    def default_kind(self) -> str:
        """The kind of prediction of a recipe that names none."""
        preferred = ("classes", "rating", "gain")
        return next(name for name in preferred if name in self.kinds)

    def representative(self, role: str) -> Task | None:
        """Return the first task that ranks (`rank`), tells labels (`classify`), or one of them apart (`positive`)."""
        fits: dict[str, Callable[[Task], bool]] = {
            "rank": lambda task: task.ranks,
            "classify": lambda task: not task.ranks and task.positive is None,
            "positive": lambda task: task.positive is not None,
        }
        return next((task for task in self.tasks.values() if fits[role](task)), None)

    @property
    def audited_task(self) -> str:
        """The task by whose runs labels are audited."""
        return self.kinds["classes"].primary if self.labels.are_classes else ""

    def split_run(self, name: str) -> tuple[str, str]:
        """Split `blend-task1` into the ensemble and the task; any other name into itself and nothing."""
        stem, _, suffix = name.rpartition("-")
        return (stem, suffix) if stem and suffix in self.tasks else (name, "")

    # --- columns ---

    @property
    def locale_names(self) -> tuple[str, ...]:
        """The names of the locales; one empty name where there are none."""
        return tuple(locale.name for locale in self.locales) or ("",)

    @property
    def languages(self) -> dict[str, str]:
        """The language of each locale that has one, as HTML names it."""
        return {locale.name: locale.language for locale in self.locales if locale.language}

    @property
    def texts(self) -> tuple[str, ...]:
        """The fields that are no categories: the name of a product, and what else describes it."""
        return tuple(name for name in self.fields if name not in self.categories)

    @property
    def positives(self) -> tuple[str, ...]:
        """The labels that a task tells from all others; examples have a column of each."""
        named = (task.positive for task in self.tasks.values() if task.positive is not None)
        return tuple(dict.fromkeys(named))

    @property
    def example_columns(self) -> tuple[str, ...]:
        """The columns of the table of examples."""
        own = () if self.source.layout == "esci" else ("id", "query_key", *self.raters)
        return (
            "example_id", "query_id", "query", "locale", "product_id", "label", *self.positives,
            "split", *self.tasks, *own,
        )  # fmt: skip

    @property
    def product_columns(self) -> tuple[str, ...]:
        """The columns of the table of products."""
        return ("locale", "product_id", *self.fields)

    @property
    def has_queries_apart(self) -> bool:
        """True where a fold holds whole queries."""
        return self.folds == "queries"

    def completed(self, found: Found) -> Contest:
        """Return the contest with what the data say where its definition leaves it open."""
        return self.complete(found) if self.complete is not None else self


def number_text(value: float) -> str:
    """Return a number as a label: `3` and `2.33`, so that `3.0` and `3` are one class."""
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(float(value))
