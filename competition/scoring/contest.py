"""What a competition is: its labels, its tasks, its fields of text and its files.

A `Contest` is made from a definition, a TOML file that `scoring/definition.py` reads. Whatever
depends on labels, locales or tasks asks these objects; no other module knows the names of any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from competition.core.errors import InputError, unknown_name
from competition.scoring.labels import Labels
from competition.scoring.task import Kind, Task


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
