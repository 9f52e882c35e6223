"""The rows and products of one file by our names of its columns, each cell as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from competition.core.errors import (
    InputError,
    did_you_mean,
    join_names,
    pluralize,
    short_repr,
    unknown_name,
)
from competition.core.foreign_parquet import as_text
from competition.core.lazy import pd
from competition.data.folds import normalise
from competition.data.tables.files import read_table
from competition.scoring.contest import Contest, Found
from competition.scoring.definition import built_in_names
from competition.scoring.definition_tables import KEY_COLUMNS
from competition.scoring.labels import number_text

_SPLITS = {"train": "train", "training": "train", "test": "test"}


def parse_map(pairs: Sequence[str], contest: Contest, names: Sequence[str] = ()) -> dict[str, str]:
    """Return our name of a column -> its name in the file, from `--map`.

    Args:
        pairs: such as `query=search term`, or several with commas between.
        contest: whose columns may be named.
        names: those of ours that are read, all unless given.

    Raises:
        InputError: a pair has no `=`, begins with no name of ours, or one is there twice.
    """
    known = names or (*KEY_COLUMNS, *contest.fields)
    ours = {alias: name for name in known for alias in (name, *contest.source.names(name))}
    example = contest.source.names(contest.fields[0])[0]

    called: dict[str, str] = {}
    for text in pairs:
        pieces = text.split(",")
        # A comma may stand in the name of a column.
        for pair in pieces if all("=" in piece for piece in pieces) else [text]:
            name, sign, column = pair.partition("=")
            if not sign or not column:
                raise InputError(
                    f"--map {short_repr(pair)} names no column: write it as {example}=NAME."
                )
            if name not in ours:
                raise unknown_name("column to read", name, ours)
            # Two names may mean one column, such as `title` and `product_title`.
            if ours[name] in called:
                raise InputError(f"--map names the column {name!r} twice.")
            called[ours[name]] = column
    return called


@dataclass(frozen=True)
class Rows:
    """The rows of one file, by our names.

    Attributes:
        frame: `query`, `label`, `split`, and as far as they are there the other columns of ours;
            text as it stands, empty where a cell is.
        path: of the file.
        columns: of the file.
    """

    frame: pd.DataFrame
    path: Path
    columns: list[str]


def read_rows(path: Path, split: str, contest: Contest, called: Mapping[str, str]) -> Rows:
    """Read the rows of one file, all of one split where it is named."""
    table = read_table(path, contest)
    # What the file does not say is the same for all rows.
    names = [*KEY_COLUMNS, *contest.fields, *contest.raters]
    if not has_locales(contest):
        names.remove("locale")
    if split:
        names.remove("split")

    column_of = _match(table.column_names, names, contest, called)
    needed = ["query", *(() if contest.source.products else contest.fields[:1])]
    needed += [] if split == "test" else ["label", *contest.raters]
    if missing := [name for name in needed if name not in column_of]:
        raise lacks_columns(path, missing, table.column_names, contest, called)

    frame = pd.DataFrame(
        {name: _cells(table[column], column, path) for name, column in column_of.items()},
        index=range(len(table)),
    )
    if split or "split" not in frame:
        frame["split"] = split or "train"
    frame["split"] = _splits(frame["split"], path)
    for column in ("label", *contest.raters):
        if column not in frame:
            frame[column] = ""
    frame["locale"] = frame["locale"].str.strip() if "locale" in frame else contest.locale_names[0]
    _check_rows(frame, path)
    return Rows(frame, path, table.column_names)


def _match(
    columns: Sequence[str],
    names: Sequence[str],
    contest: Contest,
    called: Mapping[str, str],
) -> dict[str, str]:
    """Return our name of each column that a file has -> its name there; upper case counts as lower case."""
    folded = {column.strip().casefold(): column for column in reversed(columns)}
    column_of = {}
    for name in names:
        accepted = [called[name]] if name in called else contest.source.names(name)
        theirs = [each for each in accepted if each in columns]
        theirs += [folded[each.casefold()] for each in accepted if each.casefold() in folded]
        if theirs:
            column_of[name] = theirs[0]
    return column_of


def lacks_columns(
    path: Path,
    missing: Sequence[str],
    columns: Sequence[str],
    contest: Contest,
    called: Mapping[str, str],
) -> InputError:
    """Return the refusal of a file that lacks columns that are needed, `missing` by our names."""
    for name in missing:
        if name in called:
            column = called[name]
            return InputError(
                f"{path} lacks the column {column!r}{did_you_mean(column, columns)} of --map: it has "
                f"{join_names(columns)}."
            )

    accepted = [contest.source.names(name) for name in missing]
    pairs = ",".join(f"{name}=COLUMN" for name in missing)
    if len(missing) == 1:
        near = next(filter(None, (did_you_mean(each, columns) for each in accepted[0])), "")
        lost, are = f"the column {accepted[0][0]!r}{near}", "it is"
    else:
        lost, are = f"the columns {join_names(repr(names[0]) for names in accepted)}", "they are"

    # A built-in definition is not the user's to write into.
    is_own = contest.name not in built_in_names()
    lines = " and ".join(f'{name} = "COLUMN"' for name in missing)
    written = f", or write {lines} into [columns] of {contest.name}.toml" if is_own else ""
    return InputError(
        f"{path} lacks {lost}: it has {join_names(columns)}; say which {are} with `--map {pairs}`{written}."
    )


def _cells(values: pa.ChunkedArray, column: str, path: Path) -> pd.Series:
    """Return a column as text, empty where there is none; numbers as labels are written."""
    if pa.types.is_floating(values.type):
        numbers: pd.Series = values.to_pandas()
        return numbers.map(lambda number: number_text(number) if number == number else "")
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())

    text: pd.Series = as_text(values, column, str(path)).to_pandas()
    text = text.astype("str").fillna("")
    return text.where(text.str.strip() != "", "")


def _splits(values: pd.Series, path: Path) -> pd.Series:
    splits = values.str.strip().str.casefold().map(_SPLITS)
    if splits.isna().any():
        row = int(np.flatnonzero(splits.isna())[0])
        raise InputError(
            f"{path}: the split {short_repr(values.iloc[row])} of row {row + 1} is neither train nor test: correct "
            "it, or leave out the row."
        )
    return splits


def _check_rows(frame: pd.DataFrame, path: Path) -> None:
    """Refuse a row without a query, and a training row without a label."""
    if frame.empty:
        raise InputError(f"{path} has no rows.")

    texts = frame["query"].unique()
    empty = [text for text in texts if not normalise(text)]
    unlabelled = (frame["label"] == "") & (frame["split"] == "train")
    for bad, what in ((frame["query"].isin(empty), "query"), (unlabelled, "label")):
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"{path}: row {row + 1} has no {what} ({pluralize(int(bad.sum()), 'such row')}): bring it, or leave "
                "out the row."
            )


def has_locales(contest: Contest) -> bool:
    """Return whether rows have a locale: the definition names some, or takes those that it finds."""
    return bool(contest.completed(Found(locales=("any",))).locales)


def read_products(
    path: Path, contest: Contest, called: Mapping[str, str]
) -> tuple[pd.DataFrame, list[str]]:
    """Return the catalogue of a file of its own (product_id, fields, perhaps the locale) and the file's columns."""
    table = read_table(path, contest)
    names = ["product_id", *contest.fields, *(["locale"] if has_locales(contest) else [])]
    column_of = _match(table.column_names, names, contest, called)
    if "product_id" not in column_of:
        raise lacks_columns(path, ["product_id"], table.column_names, contest, called)
    cells = {name: _cells(table[column], column, path) for name, column in column_of.items()}
    return pd.DataFrame(cells), table.column_names


def place_of(parts: Sequence[Rows], position: int) -> tuple[Path, int]:
    """Return the file and the row in it, from 1, of a position among the rows of all files."""
    for part in parts:
        if position < len(part.frame):
            return part.path, position + 1
        position -= len(part.frame)
    raise IndexError(position)
