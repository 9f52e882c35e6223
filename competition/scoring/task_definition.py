"""A task from its table in a definition: what it is graded by, and what its answer file looks like."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from competition.core.errors import InputError, join_names
from competition.scoring.definition_tables import Definition, TaskTable
from competition.scoring.labels import PAPER, Labels, number_text
from competition.scoring.metric_table import Metric, find_metric
from competition.scoring.task import Task

_TINY = 1e-9  # a gain: a number above the lowest of its range is relevant
_ID_OF = {"id": "id", "example_id": "id", "query_id": "query_key"}


def build_task(
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
