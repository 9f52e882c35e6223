"""The files of a contest of the user's own: tables whose columns a definition names.

One file of rows is enough, with a query, the text of a product and a label. Products may lie in a
file of their own, test rows in another; ids are integers, text, or none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from competition.core.archives import PACKED_SUFFIXES, open_unpacked, part_files
from competition.core.console import console, warn
from competition.core.csv_files import SEPARATORS, read_csv
from competition.core.errors import (
    InputError,
    did_you_mean,
    join_names,
    pluralize,
    short_repr,
    unknown_name,
)
from competition.core.foreign_parquet import as_text, concat_tables, is_parquet, parquet_table
from competition.core.lazy_pandas import pd
from competition.data.folds import normalise
from competition.data.ids import stable_ids
from competition.scoring.contest import Contest, Found, Labels, number_text
from competition.scoring.definition import KEY_COLUMNS

_TABLES = (".csv", ".tsv", ".txt", ".parquet")
_SPLITS = {"train": "train", "training": "train", "test": "test"}
_INTEGERS = "-?(?:0|[1-9][0-9]{0,17})"  # of 18 digits, which all have 64 bits
_DECIMAL_COMMA = "-?[0-9]+,[0-9]+"


def read(
    root: Path, contest: Contest, called: Mapping[str, str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return examples and products, with the columns of `store` as far as the files have them (not yet checked).

    Args:
        root: the folder of the files that the definition names, or one file of all rows.
        contest: whose definition says which column is what.
        called: our name of a column -> its name in the files, before the definition's.

    Raises:
        InputError: a file is missing or unreadable, lacks a column that is needed, or a row lacks
            what it must have; see also the functions below.
    """
    parts = [_read_rows(path, split, contest, called) for path, split in _row_files(root, contest)]
    rows = pd.concat([part.frame for part in parts], ignore_index=True).fillna("")
    seen = {column for part in parts for column in part.columns}
    catalogues = []
    for name in contest.source.products:
        path = _find(root, name)
        catalogue, columns = _read_products(path, contest, called)
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

    rows["label"] = _normal_labels(rows, parts, contest)
    trained = rows.loc[rows["split"] == "train", "label"].unique()
    if len(trained) == 1:
        raise InputError(
            f"{parts[0].path}: all training rows have the label {short_repr(trained[0])}: bring rows of others, too."
        )
    for rater in contest.raters:
        rows[rater] = rows[rater].map(_number_or_text).replace("", pd.NA)
    _add_ids(rows, parts, contest)

    products = _products(rows, catalogues, contest)
    rows, products = _tell_repeated_apart(rows, products)
    for positive in contest.positives:
        rows[positive] = (rows["label"] == positive).astype("boolean").mask(rows["label"].isna())
    return rows.assign(**dict.fromkeys(contest.tasks, True)), products


def read_map(pairs: Sequence[str], contest: Contest, names: Sequence[str] = ()) -> dict[str, str]:
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


# --- files ---


def files(root: Path, contest: Contest) -> list[Path]:
    """Return the files that `read` reads, part files one by one."""
    paths = [path for path, _ in _row_files(root, contest)]
    paths += [_find(root, name) for name in contest.source.products]
    return [part for path in paths for part in part_files(path)]


def _row_files(root: Path, contest: Contest) -> list[tuple[Path, str]]:
    """Return the files of rows, each with its split; empty where a column may say it."""
    source = contest.source
    if not root.exists():
        raise InputError(f"{root} is missing.")
    named = [(source.rows, ""), (source.train, "train"), (source.test, "test")]
    named = [(name, split) for name, split in named if name]

    if not root.is_dir():
        if source.train or source.test or source.products:
            names = [*(name for name, _ in named), *source.products]
            raise InputError(
                f"{root} is a file, where the definition {contest.name!r} names {join_names(names)}: "
                "give the folder that holds them."
            )
        return [(root, "")]
    if named:
        return [(_find(root, name), split) for name, split in named]

    tables = [path for path in sorted(root.iterdir()) if _is_table(path)]
    if len(tables) == 1:
        return [(tables[0], "")]
    if tables and all(path.name.startswith("part-") for path in tables):
        return [(root, "")]  # what Spark and Dask write
    raise InputError(
        f"{root} holds {pluralize(len(tables), 'table')}{': ' if tables else ''}{join_names(p.name for p in tables)}: "
        f'give the file of the rows, or write rows = "FILE" into [files] of {contest.name}.toml.'
    )


def _is_table(path: Path) -> bool:
    name = path.name.lower()
    for packed in PACKED_SUFFIXES:
        name = name.removesuffix(packed)
    return path.is_file() and name.endswith(_TABLES)


def _find(root: Path, name: str) -> Path:
    """Return the file or folder of part files `name` of a folder, in any case of letters, perhaps packed.

    Raises:
        InputError: there is none.
    """
    folder = (root / name).parent
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    wanted = Path(name).name
    for suffix in ("", *PACKED_SUFFIXES):
        same = [path for path in there if path.name == wanted + suffix]
        same += [path for path in there if path.name.casefold() == (wanted + suffix).casefold()]
        if same:
            return same[0]

    names = [path.name for path in there]
    raise InputError(
        f"{root} lacks {name}{did_you_mean(wanted, names)}: it holds {join_names(names) or 'nothing'}."
    )


def _read_table(path: Path, contest: Contest) -> pa.Table:
    """Read all columns of a table or of a folder of part files."""
    files = part_files(path)
    return concat_tables([_read_part(file, contest) for file in files], list(map(str, files)))


def _read_part(path: Path, contest: Contest) -> pa.Table:
    name = str(path)
    source = contest.source
    with open_unpacked(path, name) as handle:
        if is_parquet(handle):
            return parquet_table(handle, name)

        try:
            separator = source.delimiter or _separator(handle, source.encoding)
            return read_csv(
                handle,
                name,
                blank_lines=True,
                encoding=source.encoding,
                remedy=f'write encoding = "latin-1", or another, into [files] of {contest.name}.toml',
                separator=separator,
            )
        except LookupError:
            raise InputError(
                f"There is no encoding {source.encoding!r}: correct it in [files] of {contest.name}.toml."
            ) from None


def _separator(handle: IO[bytes], encoding: str) -> str:
    """Return what stands between the names of columns most often: a comma unless another sign does."""
    text = TextIOWrapper(handle, encoding, errors="replace", newline="")
    header = text.readline()
    text.detach()
    handle.seek(0)

    # What is in quotes is no separator.
    outside = "".join(header.split('"')[::2])
    return max((",", *SEPARATORS), key=outside.count)


# --- columns ---


@dataclass(frozen=True)
class _Rows:
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


def _read_rows(path: Path, split: str, contest: Contest, called: Mapping[str, str]) -> _Rows:
    """Read the rows of one file, all of one split where it is named."""
    table = _read_table(path, contest)
    # What the file does not say is the same for all rows.
    names = [*KEY_COLUMNS, *contest.fields, *contest.raters]
    if not _has_locales(contest):
        names.remove("locale")
    if split:
        names.remove("split")

    column_of = _match(table.column_names, names, contest, called)
    needed = ["query"] if split == "test" else ["query", "label", *contest.raters]
    for name in needed:
        if name not in column_of:
            raise _lacks(path, name, table.column_names, contest, called)

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
    return _Rows(frame, path, table.column_names)


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


def _lacks(
    path: Path, name: str, columns: Sequence[str], contest: Contest, called: Mapping[str, str]
) -> InputError:
    """Return the refusal of a file that lacks a column that is needed."""
    if name in called:
        column = called[name]
        return InputError(
            f"{path} lacks the column {column!r}{did_you_mean(column, columns)} of --map: it has {join_names(columns)}."
        )

    accepted = contest.source.names(name)
    near = next(filter(None, (did_you_mean(each, columns) for each in accepted)), "")
    return InputError(
        f"{path} lacks the column {accepted[0]!r}{near}: it has {join_names(columns)}; say which it is with "
        f'`--map {name}=COLUMN`, or write {name} = "COLUMN" into [columns] of {contest.name}.toml.'
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


def _has_locales(contest: Contest) -> bool:
    """Return whether rows have a locale: the definition names some, or takes those that it finds."""
    return bool(contest.completed(Found(locales=("any",))).locales)


def _read_products(
    path: Path, contest: Contest, called: Mapping[str, str]
) -> tuple[pd.DataFrame, list[str]]:
    """Return the catalogue of a file of its own (product_id, fields, perhaps the locale) and the file's columns."""
    table = _read_table(path, contest)
    names = ["product_id", *contest.fields, *(["locale"] if _has_locales(contest) else [])]
    column_of = _match(table.column_names, names, contest, called)
    if "product_id" not in column_of:
        raise _lacks(path, "product_id", table.column_names, contest, called)
    cells = {name: _cells(table[column], column, path) for name, column in column_of.items()}
    return pd.DataFrame(cells), table.column_names


def _check_columns(
    seen: Collection[str], parts: Sequence[_Rows], contest: Contest, called: Mapping[str, str]
) -> None:
    """Refuse files of which none has a column that the definition names."""
    folded = {column.strip().casefold() for column in seen}
    needs_locale = _has_locales(contest)
    for name, theirs in contest.source.columns.items():
        is_read = name not in called and (name != "locale" or needs_locale)
        if is_read and not any(column.casefold() in folded for column in theirs):
            raise _lacks(parts[0].path, name, sorted(seen), contest, called)


def _check_fields(
    rows: pd.DataFrame,
    catalogues: Sequence[pd.DataFrame],
    parts: Sequence[_Rows],
    contest: Contest,
    called: Mapping[str, str],
) -> None:
    """Refuse files without the first field, and rows that name no product of a catalogue of its own."""
    first = contest.fields[0]
    part = parts[0]
    if not any(first in table for table in (rows, *catalogues)):
        columns = [*part.columns, *(str(name) for each in catalogues for name in each)]
        raise _lacks(part.path, first, columns, contest, called)
    if catalogues and "product_id" not in rows:
        raise _lacks(part.path, "product_id", part.columns, contest, called)

    described = {name for each in catalogues for name in each}
    for name in contest.fields:
        for part in parts:
            if name in rows and name not in part.frame and name not in described:
                raise _lacks(part.path, name, part.columns, contest, called)
    absent = [name for name in contest.fields if name not in rows and name not in described]
    if absent:
        console.print(f"No file has {join_names(absent)}: left out.")


# --- labels ---


def _normal_labels(rows: pd.DataFrame, parts: Sequence[_Rows], contest: Contest) -> pd.Series:
    """Return the labels as the contest writes them, missing where a test row has none.

    Raises:
        InputError: names the first label that the contest does not have, and the line that would
            add it.
    """
    labels = rows["label"].str.strip()
    if contest.labels.are_numbers:
        labels = _with_points(labels)
    given = labels[labels != ""]
    probe = ("0.123", "0.456")
    is_open = contest.completed(Found(labels=probe)).labels.names == probe
    known = contest.labels
    if is_open:
        # Labels are numbers where all of them are.
        is_number = np.isfinite(pd.to_numeric(given, errors="coerce")).all()
        return (given.map(_number_or_text) if is_number else given).reindex(labels.index)

    distinct = {label: _known_label(label, known) for label in given.unique()}
    normal = labels.map(distinct)
    bad = (labels != "") & normal.isna()
    if bad.any():
        place = int(np.flatnonzero(bad)[0])
        path, row = _place(parts, place)
        raise InputError(
            f"{path}: the label {short_repr(labels.iloc[place])} of row {row} is not "
            f"{_fix(labels.iloc[place], known, contest.name)}"
        )
    return normal


def _with_points(labels: pd.Series) -> pd.Series:
    """Return numbers of which some have a decimal comma with points; other labels as they are."""
    with_comma = labels.str.contains(",", regex=False)
    if with_comma.any() and labels[with_comma].str.fullmatch(_DECIMAL_COMMA).all():
        return labels.str.replace(",", ".", regex=False)
    return labels


def _number_or_text(label: str) -> str:
    """Return a number as `number_text` writes it, anything else as it is."""
    try:
        return number_text(float(label))
    except ValueError:
        return label


def _known_label(label: str, known: Labels) -> str | None:
    """Return a label as the contest writes it; None where it does not have it."""
    number = _number_or_text(label)
    if known.are_classes:
        return next((each for each in (label, number) if each in known.names), None)

    try:
        fits = known.lowest <= float(label) <= known.highest
    except ValueError:
        return None
    return number if fits else None


def _fix(label: str, known: Labels, contest: str) -> str:
    """Return what labels there are, and the line that adds another."""
    try:
        number = float(label)
    except ValueError:
        number = float("nan")
    where = f"in [labels] of {contest}.toml, or correct the row."
    if not known.are_classes:
        bounds = f"{number_text(known.lowest)} to {number_text(known.highest)}"
        if not np.isfinite(number):
            return f"a number from {bounds}: correct the row."
        low = number_text(min(number, known.lowest))
        high = number_text(max(number, known.highest))
        return f"a number from {bounds}: write range = [{low}, {high}] {where}"

    names = ", ".join(known.names)
    numeric = known.values and all(
        name == number_text(value) for name, value in zip(known.names, known.values, strict=True)
    )
    if numeric and not np.isfinite(number):
        return f"among {names}: correct the row."
    if numeric:
        levels = ", ".join(number_text(value) for value in sorted((*known.values, number)))
        return f"among {names}: write levels = [{levels}] {where}"
    quoted = ", ".join(f'"{name}"' for name in (*known.names, label))
    return f"among {names}: write names = [{quoted}] {where}"


def _place(parts: Sequence[_Rows], position: int) -> tuple[Path, int]:
    """Return the file and the row in it, from 1, of a position among the rows of all files."""
    for part in parts:
        if position < len(part.frame):
            return part.path, position + 1
        position -= len(part.frame)
    raise IndexError(position)


# --- ids ---


def _add_ids(rows: pd.DataFrame, parts: Sequence[_Rows], contest: Contest) -> None:
    """Add `product_id`, `query_id`, `query_key`, `example_id` and `id` as far as the files have none of them.

    Raises:
        InputError: an id is empty or twice, or a pair of query and product is there twice without an
            id of its own.
    """
    if "product_id" not in rows:
        texts = [rows[name] for name in contest.fields if name in rows]
        rows["product_id"] = stable_ids(texts).astype(str)
    rows["product_id"] = rows["product_id"].str.strip()
    _refuse(
        rows, parts, rows["product_id"] == "", "has no product_id: bring it, or leave out the row"
    )

    if "query_id" not in rows:
        rows["query_id"] = stable_ids([rows["locale"], rows["query"]])
        rows["query_key"] = rows["query_id"].astype(str)
    else:
        rows["query_key"] = rows["query_id"].str.strip()
        _refuse(
            rows, parts, rows["query_key"] == "", "has no query_id: bring it, or leave out the row"
        )
        rows["query_id"] = _as_ids(rows["query_key"], [rows["locale"], rows["query_key"]])

    pair = ["locale", "query", "product_id"]
    if "id" not in rows:
        fix = (
            "has the query and the product of an earlier row: leave out one of them, or say which column holds an id "
            f'of each row with `--map id=COLUMN`, or id = "COLUMN" in [columns] of {contest.name}.toml'
        )
        _refuse(rows, parts, rows.duplicated(pair), fix)
        rows["example_id"] = stable_ids([rows[column] for column in pair])
        rows["id"] = rows["example_id"].astype(str)
    else:
        rows["id"] = rows["id"].str.strip()
        _refuse(rows, parts, rows["id"] == "", "has no id: bring it, or leave out the row")
        _refuse(rows, parts, rows.duplicated("id"), "has the id of an earlier row: ids must differ")
        rows["example_id"] = _as_ids(rows["id"], [rows["id"]])


def _as_ids(texts: pd.Series, hashed: list[pd.Series]) -> pd.Series:
    """Return ids that are integers as they are; where one is not, a hash of each."""
    if texts.str.fullmatch(_INTEGERS).all():
        return texts.astype("int64")
    return stable_ids(hashed)


def _refuse(rows: pd.DataFrame, parts: Sequence[_Rows], bad: pd.Series, what: str) -> None:
    """Raise InputError that names the first of the rows where `bad` holds."""
    if bad.any():
        position = int(np.flatnonzero(bad)[0])
        path, row = _place(parts, position)
        query = short_repr(rows["query"].iloc[position])
        raise InputError(f"{path}: row {row} (query {query}) {what}.")


# --- products ---


def _products(
    rows: pd.DataFrame, catalogues: Sequence[pd.DataFrame], contest: Contest
) -> pd.DataFrame:
    """Return the products with the fields that there are: those of rows, and of catalogues of their own."""
    key = ["locale", "product_id"]
    fields = [name for name in contest.fields if name in rows]
    listed = rows[[*key, *fields]].drop_duplicates()
    differ = listed.duplicated(key)
    if differ.any():
        count = int(listed.loc[differ, "product_id"].nunique())
        warn(
            f"{pluralize(count, 'product has', 'products have')} other text in another row, such as "
            f"{short_repr(listed.loc[differ, 'product_id'].iloc[0])}: the text of the first row is kept."
        )
        listed = listed[~differ]
    if not catalogues:
        return listed.reset_index(drop=True)

    products, *others = (
        _one_row_each(catalogue, listed[key], k, contest) for k, catalogue in enumerate(catalogues)
    )
    # A field may be in several files: that of the first goes before, and the rows' come last.
    for table in (*others, listed):
        own = [name for name in table if name not in products]
        products = products.merge(table[[*key, *own]], on=key, how="outer" if own else "left")
    names = [name for name in contest.fields if name in products]
    return products[[*key, *names]].fillna("")


def _one_row_each(
    catalogue: pd.DataFrame, listed: pd.DataFrame, position: int, contest: Contest
) -> pd.DataFrame:
    """Return a catalogue with one row for each locale and product, which all have a locale.

    Args:
        catalogue: as it was read.
        listed: locale and product_id of the products of rows. A catalogue without locales describes
            them in each of theirs, and other products in the first.
        position: among the files of products. Only the first must have one row for each product:
            of the others, such as a row for each attribute, the texts of a product are joined.
        contest: whose first locale that is.

    Raises:
        InputError: a product is twice in the first file.
    """
    catalogue = catalogue.assign(product_id=catalogue["product_id"].str.strip())
    on = [column for column in ("locale", "product_id") if column in catalogue]
    twice = catalogue.duplicated(on)
    if twice.any() and position == 0:
        row = int(np.flatnonzero(twice)[0])
        raise InputError(
            f"{contest.source.products[0]}: row {row + 1} has the product_id "
            f"{short_repr(catalogue['product_id'].iloc[row])} of an earlier row: keep one of them."
        )
    if twice.any():
        catalogue = catalogue.groupby(on, sort=False, as_index=False).agg(_joined)
    if "locale" in catalogue:
        return catalogue

    unused = ~catalogue["product_id"].isin(listed["product_id"])
    used = listed.merge(catalogue, on="product_id")
    return pd.concat([used, catalogue[unused].assign(locale=contest.locale_names[0])])


def _joined(texts: pd.Series) -> str:
    return "\n".join(filter(None, texts))


def _tell_repeated_apart(
    rows: pd.DataFrame, products: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return rows and products, where rows with ids of their own repeat a query and product.

    The later ones, in the order of their ids, get a product of their own, named by their id.
    """
    by_id = rows.sort_values("example_id")
    repeated: NDArray[np.int64] = by_id.index[
        by_id.duplicated(["query_id", "product_id"])
        | by_id.duplicated(["locale", "query", "product_id"])
    ].to_numpy(np.int64)
    if not len(repeated):
        return rows, products

    given = rows.loc[repeated, ["locale", "product_id"]]
    named = given["product_id"] + "~" + rows.loc[repeated, "id"]
    copies = given.assign(copy=named).merge(products, on=["locale", "product_id"])
    copies = copies.drop(columns="product_id").rename(columns={"copy": "product_id"})
    rows = rows.copy()
    rows.loc[repeated, "product_id"] = named
    return rows, pd.concat([products, copies[list(products)]], ignore_index=True)
