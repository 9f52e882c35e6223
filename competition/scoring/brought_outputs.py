"""Files of outputs that another tool made: read and checked row by row."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from competition.core.archives import open_unpacked
from competition.core.csv_files import parse_integers, read_csv, refuse_misspelled, refuse_rows
from competition.core.errors import InputError, did_you_mean, join_names
from competition.core.fingerprint import fingerprint
from competition.core.foreign_parquet import is_parquet, parquet_table
from competition.core.lazy import pd
from competition.scoring.task import Kind

ID, FOLD = "example_id", "fold"
KEYS = ("query_id", "product_id")
TEST = -1  # the fold of test rows
ROW = "row"  # a hash of what a row is, see `hash_rows`
SUM_TOLERANCE = 1e-3  # of probabilities: programs that write fewer digits round
_LARGEST = 1e30  # of a number: what is made of outputs squares them
_EXACT = 1e-6  # within which probabilities stay as they are


def read_brought(path: Path, kind: Kind) -> pd.DataFrame:
    """Read a file of outputs, CSV or parquet.

    Args:
        path: the file: `example_id`, or `query_id` and `product_id`; the outputs of the kind, those of classes perhaps
            by the names of the labels; and perhaps `fold`.
        kind: of the outputs.

    Returns:
        Its keys, the outputs as numbers and `fold` where it has one, in the order of the file.

    Raises:
        InputError: it cannot be read, a column is missing or unknown, or a cell is not a finite number, not a
            probability, or one of probabilities that do not sum to 1.
    """
    name = str(path)
    frame = _read(path, name)
    frame = frame.rename(columns=_label_columns(kind, list(frame.columns)))
    if twice := frame.columns[frame.columns.duplicated()].tolist():
        raise InputError(f"{name} has the outputs {twice[0]} twice: leave one of the columns out.")
    keys = [ID] if ID in frame else list(KEYS)
    for column in (*keys, *kind.outputs):
        if column not in frame:
            refuse_misspelled(column, frame.columns, name)
            needs = f"{ID} (or {' and '.join(KEYS)}), {', '.join(kind.outputs)} and perhaps {FOLD}"
            raise InputError(f"{name}: the column {column!r} is missing: it needs {needs}.")
    known = {ID, *KEYS, *kind.outputs, FOLD}
    for column in map(str, frame.columns):
        if column not in known:
            raise InputError(
                f"{name}: unknown column {column!r}{did_you_mean(column, known)}: leave it out."
            )

    frame = check_outputs_of(frame, kind, name)
    for key in set(keys) & {ID, "query_id"}:
        frame[key] = parse_integers(frame[key], key, name)
    return frame


def _read(path: Path, name: str) -> pd.DataFrame:
    """Read a table; what it begins with says whether it is parquet."""
    with open_unpacked(path, name) as handle:
        if is_parquet(handle):
            table = parquet_table(handle, name)
        elif {each.lower() for each in path.suffixes} & {".parquet", ".pq"}:
            raise InputError(f"{name} is not a readable parquet file: it does not begin as one.")
        else:
            table = read_csv(handle, name)

    frame: pd.DataFrame = table.to_pandas()
    return frame


def check_outputs_of(frame: pd.DataFrame, kind: Kind, name: str) -> pd.DataFrame:
    """Return a frame whose outputs are numbers; raises InputError that names the first row whose are wrong."""
    for column in kind.outputs:
        is_truth = pd.api.types.is_bool_dtype(frame[column])
        numbers = pd.to_numeric(frame[column], errors="coerce").astype(np.float64)
        numbers = numbers.mask(np.full(len(frame), is_truth))
        no_number = numbers.isna() | numbers.abs().eq(np.inf)
        refuse_rows(name, frame, no_number, f"has no finite number as {column}")
        is_large = numbers.abs() > _LARGEST
        refuse_rows(name, frame, is_large, f"has a {column} beyond {_LARGEST:g}: scale them down")
        if kind.is_classes or kind.role == "positive":
            outside = (numbers < 0) | (numbers > 1)
            refuse_rows(name, frame, outside, f"has no probability from 0 to 1 as {column}")
        if kind.role in ("gain", "rating"):
            values = np.asarray(numbers, np.float64)
            units = kind.to_unit(values) if kind.role == "rating" else values
            span = (
                "0 to 1"
                if kind.role == "gain"
                else f"{kind.labels.lowest:g} to {kind.labels.highest:g}"
            )
            what = f"has a {column} far from {span}: numbers on another scale are the kind score"
            refuse_rows(name, frame, pd.Series((units < -1) | (units > 2)), what)
        frame[column] = numbers

    if kind.is_classes:
        return _check_sums(frame, kind, name)
    return frame


def _label_columns(kind: Kind, columns: list[str]) -> dict[str, str]:
    """Return the columns that are called like labels, or by their short names, with the names of the outputs."""
    if not kind.is_classes or any(column in columns for column in kind.outputs):
        return {}
    names = {label: f"p_{label}" for label in kind.labels.names}
    short = {letter: f"p_{label}" for label, letter in kind.labels.letters.items()}
    return {column: (names | short)[column] for column in columns if column in names | short}


def _check_sums(frame: pd.DataFrame, kind: Kind, name: str) -> pd.DataFrame:
    """Refuse probabilities that do not sum to 1; return those that were rounded divided by their sum."""
    values = kind.values(frame)
    sums = values.sum(axis=1)
    wrong = pd.Series(np.abs(sums - 1) > SUM_TOLERANCE, frame.index)
    what = f"has probabilities ({join_names(kind.outputs)}) that do not sum to 1"
    refuse_rows(name, frame, wrong, what)

    rounded = np.abs(sums - 1) > _EXACT
    values[rounded] /= sums[rounded, None]
    frame[list(kind.outputs)] = values
    return frame


def match_rows(frame: pd.DataFrame, examples: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a file's rows with their example_id, each example exactly once, in the order of the file.

    Args:
        frame: from `read_brought`.
        examples: all examples.
        name: of the file, for messages.

    Raises:
        InputError: a row is unknown, ambiguous or there twice, its keys contradict its example_id, or
            an example has none.
    """
    if ID not in frame:
        keys = pd.MultiIndex.from_frame(examples[list(KEYS)].astype({"product_id": str}))
        given = pd.MultiIndex.from_frame(frame[list(KEYS)].astype({"product_id": str}))
        several = keys[keys.duplicated()]
        refuse_rows(
            name, frame, pd.Series(given.isin(several)), f"is of several rows: name them by {ID}"
        )
        place = keys[~keys.duplicated()].get_indexer(given)
        refuse_rows(name, frame, pd.Series(place < 0), "is not in the data")
        frame = frame.assign(**{ID: examples.loc[~keys.duplicated(), ID].to_numpy()[place]})

    ids = frame[ID]
    refuse_rows(name, frame, ~ids.isin(examples[ID]), "is not in the data")
    refuse_rows(name, frame, ids.duplicated(), "repeats an earlier row")
    own = examples.set_index(ID).loc[ids]
    for key in set(KEYS) & set(frame.columns):
        differs = frame[key].astype(str).to_numpy() != own[key].astype(str).to_numpy()
        what = f"has another {key} than the row with its {ID}: it is of other data"
        refuse_rows(name, frame, pd.Series(differs, frame.index), what)
    missing = examples[~examples[ID].isin(ids)]
    if len(missing):
        first = missing.iloc[0]
        raise InputError(
            f"{name} lacks {len(missing):,} of {len(examples):,} rows, the first is the {first['split']} row "
            f"{ID} {first[ID]}: it must have outputs of every training and test row."
        )
    return frame


def brought_scheme(frame: pd.DataFrame) -> str:
    """Return the scheme that a file's column of folds is of, by its numbers."""
    given = pd.to_numeric(frame[FOLD], errors="coerce")
    # One wrong number makes no other scheme.
    return "ten" if (given >= 5).mean() > 0.2 else "five"


def check_brought_folds(
    frame: pd.DataFrame, scheme: str, of_training: pd.Series, name: str
) -> pd.Series:
    """Return the fold of each row of a file, TEST for test rows.

    Args:
        frame: from `match_rows`, with the column `fold`.
        scheme: that the folds are said to be of.
        of_training: the fold of every training row in it, by example_id.
        name: of the file, for messages.

    Raises:
        InputError: a row is in another fold.
    """
    given = pd.to_numeric(frame[FOLD], errors="coerce")
    is_blank = frame[FOLD].isna() | (frame[FOLD].astype(str).str.strip() == "")
    refuse_rows(name, frame, given.isna() & ~is_blank, f"has no number as {FOLD}")

    expected = frame[ID].map(of_training).fillna(TEST).astype(np.int64)
    # Test rows have no fold, and may say so by a blank.
    is_test = expected == TEST
    in_fold = is_test & given.notna() & (given != TEST)
    refuse_rows(name, frame, in_fold, "is a test row: leave its fold blank")
    what = "is a training row without a fold: name the one in which it was held out"
    refuse_rows(name, frame, ~is_test & is_blank, what)
    differs = ~is_test & (given != expected)
    if differs.any():
        right = expected[differs].iloc[0]
        what = f"is in fold {right} of folds/{scheme}.parquet: train on these folds"
        refuse_rows(name, frame, differs, what)
    return expected


def hash_rows(examples: pd.DataFrame) -> pd.Series:
    """Return a hash of the query, the locale and the product of each example, by its example_id.

    Ids are numbers that other data may have, too: outputs of those rows would be taken for those of these.
    """
    texts = examples[["query", "locale", "product_id"]].fillna("").astype(str)
    hashes = pd.util.hash_pandas_object(texts, index=False).to_numpy()
    return pd.Series(hashes, examples[ID].to_numpy())


def content_fingerprint(frame: pd.DataFrame) -> str:
    """Return the fingerprint of outputs sorted by example_id, whatever file they came in."""
    hashes = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    return fingerprint([list(frame.columns), hashlib.sha256(hashes.tobytes()).hexdigest()])
