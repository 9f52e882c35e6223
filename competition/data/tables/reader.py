"""From the files of a contest of the user's own to examples and products."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from competition.core.console import console
from competition.core.errors import InputError, did_you_mean, join_names, short_repr
from competition.core.lazy import pd
from competition.data.tables.columns import (
    Rows,
    has_locales,
    lacks_columns,
    read_products,
    read_rows,
)
from competition.data.tables.files import find_file, row_files
from competition.data.tables.labels import normalise_labels, number_or_text
from competition.data.tables.products import join_products, tell_repeated_apart
from competition.data.tables.row_ids import add_ids
from competition.scoring.contest import Contest


def read_tables(
    root: Path, contest: Contest, called: Mapping[str, str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return examples and products, with the columns of `store` as far as the files have them (not yet checked).

    Args:
        root: the folder of the files that the definition names, or one file of all rows.
        contest: whose definition says which column is what.
        called: our name of a column -> its name in the files, before the definition's.

    Raises:
        InputError: a file is missing or unreadable, lacks a column that is needed, or a row lacks
            what it must have.
    """
    parts = [read_rows(path, split, contest, called) for path, split in row_files(root, contest)]
    rows = pd.concat([part.frame for part in parts], ignore_index=True).fillna("")
    seen = {column for part in parts for column in part.columns}
    catalogues = []
    for name in contest.source.products:
        path = find_file(root, name)
        catalogue, columns = read_products(path, contest, called)
        catalogues.append(catalogue)
        seen.update(columns)
    for column in called.values():
        if column not in seen:
            raise InputError(
                f"{root} lacks the column {column!r}{did_you_mean(column, seen)} of --map: it has "
                f"{join_names(sorted(seen))}."
            )
    _check_columns(seen, parts, contest, called)
    _check_fields(rows, catalogues, parts, contest, called)

    rows["label"] = normalise_labels(rows, parts, contest)
    trained = rows.loc[rows["split"] == "train", "label"].unique()
    if len(trained) == 1:
        raise InputError(
            f"{parts[0].path}: all training rows have the label {short_repr(trained[0])}: bring rows of others, too."
        )
    for rater in contest.raters:
        rows[rater] = rows[rater].map(number_or_text).replace("", pd.NA)
    add_ids(rows, parts, contest)

    products = join_products(rows, catalogues, contest)
    rows, products = tell_repeated_apart(rows, products)
    for positive in contest.positives:
        rows[positive] = (rows["label"] == positive).astype("boolean").mask(rows["label"].isna())
    return rows.assign(**dict.fromkeys(contest.tasks, True)), products


def _check_columns(
    seen: Collection[str], parts: Sequence[Rows], contest: Contest, called: Mapping[str, str]
) -> None:
    """Refuse files of which none has a column that the definition names."""
    folded = {column.strip().casefold() for column in seen}
    needs_locale = has_locales(contest)
    for name, theirs in contest.source.columns.items():
        is_read = name not in called and (name != "locale" or needs_locale)
        if is_read and not any(column.casefold() in folded for column in theirs):
            raise lacks_columns(parts[0].path, [name], sorted(seen), contest, called)


def _check_fields(
    rows: pd.DataFrame,
    catalogues: Sequence[pd.DataFrame],
    parts: Sequence[Rows],
    contest: Contest,
    called: Mapping[str, str],
) -> None:
    """Refuse files without the first field, and rows that name no product of a catalogue of its own."""
    first = contest.fields[0]
    part = parts[0]
    if not any(first in table for table in (rows, *catalogues)):
        columns = [*part.columns, *(str(name) for each in catalogues for name in each)]
        raise lacks_columns(part.path, [first], columns, contest, called)
    if catalogues and "product_id" not in rows:
        raise lacks_columns(part.path, ["product_id"], part.columns, contest, called)

    described = {name for each in catalogues for name in each}
    for name in contest.fields:
        for part in parts:
            if name in rows and name not in part.frame and name not in described:
                raise lacks_columns(part.path, [name], part.columns, contest, called)
    absent = [name for name in contest.fields if name not in rows and name not in described]
    if absent:
        console.print(f"No file has {join_names(absent)}: left out.")
