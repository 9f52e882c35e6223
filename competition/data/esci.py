"""The two layouts of the real ESCI files.

A: the released data set, `shopping_queries_dataset_*.parquet`
(github.com/amazon-science/esci-data). B: the competition's CSV files, one folder per task, also as
`.csv.zip`.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from competition.core.archives import PACKED_SUFFIXES, part_files
from competition.core.csv_files import parse_integers, read_csv, refuse_misspelled
from competition.core.errors import InputError, join_names, short_repr
from competition.core.fingerprint import digest_file
from competition.core.foreign_parquet import as_text, concat_tables, read_parquet
from competition.data.ids import stable_ids
from competition.data.store import PRODUCT_KEY, product_order, reordered
from competition.scoring.definition import ESCI, load_contest

CONTEST = load_contest(ESCI)
_LABELS = CONTEST.labels.names
_LABEL_OF = {letter: label for label, letter in CONTEST.labels.letters.items()}

# Floats where a column of them has a gap.
_NUMBERS = ("example_id", "query_id", "small_version", "large_version")
_PRODUCTS = {
    "product_id": "product_id",
    "product_title": "title",
    "product_description": "description",
    "product_bullet_point": "bullets",
    "product_brand": "brand",
    "product_locale": "locale",
}

A_EXAMPLES = "shopping_queries_dataset_examples.parquet"
A_PRODUCTS = "shopping_queries_dataset_products.parquet"
_LEVELS = 2  # of folders below the one that is imported
# Real rows that come with the package, see benchmarks/sample.py.
SAMPLE = Path(__file__).with_name("esci_sample")


# --- which layout ---


def read(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return examples and products of whichever layout `root` holds, with the columns of `store` (not yet checked).

    Raises:
        InputError: neither layout is there, or a file is missing, unreadable or lacks a column.
    """
    folder = locate(root)
    reader = _reader(folder)
    assert reader is not None  # by `locate`
    return reader(folder)


def locate(root: Path) -> Path:
    """Return the folder that holds one of the layouts: `root`, or one up to two levels below it.

    A clone of the released repository has it below, and may itself lie in a folder.

    Raises:
        InputError: there is none, or there are several in `root`.
    """
    if not root.is_dir():
        parent = f": {root.parent}" if root.is_file() else ""
        raise InputError(f"{root} is not a folder: give the one that holds the ESCI files{parent}.")
    if _reader(root) is not None:
        return root

    inner: list[Path] = []
    folders = [root]
    for _ in range(_LEVELS):
        folders = [path for folder in folders for path in _folders(folder)]
        inner = inner or [folder for folder in folders if _reader(folder) is not None]
    if len(inner) > 1:
        raise InputError(
            f"{root} holds several data sets: give one of {', '.join(map(str, inner))}."
        )
    if inner:
        return inner[0]

    names = ", ".join(spec.name for spec in _B_FOLDERS.values())
    raise InputError(
        f"{root} holds neither layout, nor does a folder below it: expected {A_EXAMPLES} and {A_PRODUCTS}, "
        f"or at least one of the folders {names}."
    )


def _folders(folder: Path) -> list[Path]:
    """Return the folders in one, hidden ones such as `.git` left out."""
    return [
        path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")
    ]


def _reader(folder: Path) -> Callable[[Path], tuple[pd.DataFrame, pd.DataFrame]] | None:
    """Return the function that reads the layout that a folder holds.

    It is None where the folder holds neither.
    """
    if any(_path_of(folder, name).exists() for name in (A_EXAMPLES, A_PRODUCTS)):
        return _read_a
    if any(_path_of(folder, spec.name).is_dir() for spec in _B_FOLDERS.values()):
        return _read_b
    return None


def _path_of(folder: Path, name: str) -> Path:
    """Return the file or folder `name` of a folder, in any case of letters where none has the name itself."""
    path = folder / name
    if path.exists():
        return path

    others = sorted(folder.iterdir())
    return next((other for other in others if other.name.casefold() == name.casefold()), path)


# --- reading one file ---


def _checker(path: Path, columns: Iterable[str]) -> Callable[[list[str]], None]:
    """Return a function that refuses a file which lacks one of the columns or has it twice."""

    def check(found: list[str]) -> None:
        for column in columns:
            if column not in found:
                refuse_misspelled(column, found, str(path))
                raise InputError(f"{path} lacks the column {column!r}: it has {join_names(found)}.")
            if found.count(column) > 1:
                raise InputError(f"{path} has the column {column!r} twice: remove one of them.")

    return check


def _read_parquet(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    """Return these columns of a parquet file, or of a folder of part files, under other names.

    Numbers stay numbers, all else is text.
    """
    files = part_files(path)
    parts = [
        read_parquet(file, str(file), list(columns), _checker(file, columns)) for file in files
    ]
    table = concat_tables(parts, [str(file) for file in files])
    return pd.DataFrame(
        {name: _values(table[column], column, path) for column, name in columns.items()}
    )


def _values(values: pa.ChunkedArray, column: str, path: Path) -> pd.Series:
    is_float = pa.types.is_floating(values.type)
    is_whole_integer = pa.types.is_integer(values.type) and not values.null_count
    if not (column in _NUMBERS and (is_float or is_whole_integer)):
        values = as_text(values, column, str(path))
    series: pd.Series = values.to_pandas()
    return series


def _read_csv(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    """Return every cell of these columns as the text that it is: `nan`, `none` and `007` stay themselves."""
    files = part_files(path)
    parts = [read_csv(file, str(file), _checker(file, columns), blank_lines=True) for file in files]
    table = concat_tables(parts, [str(file) for file in files])
    frame: pd.DataFrame = table.select(list(columns)).to_pandas()
    return frame.rename(columns=columns)


def _name_pair(rows: pd.DataFrame, bad: pd.Series | np.ndarray) -> str:
    """Return how the first offending pair is named."""
    row = rows[np.asarray(bad)].iloc[0]
    return f"query {short_repr(row['query'])}, product {short_repr(row['product_id'])}"


def _flag(values: pd.Series, column: str, path: Path) -> pd.Series:
    """Return 0 and 1 as False and True.

    Raises:
        InputError: names the first row that is neither.
    """
    text = values.astype("str").str.removesuffix(".0")
    bad = ~text.isin(["0", "1"]).to_numpy()
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{path}: row {row + 1} has {column} {short_repr(text.iloc[row])}, which is neither 0 nor 1."
        )
    return text == "1"


def _is_substitute(labels: pd.Series) -> pd.Series:
    """Return whether each label is `substitute`, a nullable boolean: unknown where the label is."""
    return (labels == "substitute").astype("boolean").mask(labels.isna())


# --- layout A ---


def _read_a(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    path = _path_of(root, A_EXAMPLES)
    columns = ("example_id", "query", "query_id", "product_id", "product_locale", "esci_label", "small_version",
               "large_version", "split")  # fmt: skip
    examples = _read_parquet(path, {column: column for column in columns})
    products = _read_a_products(_path_of(root, A_PRODUCTS))
    for column in ("example_id", "query_id"):
        examples[column] = parse_integers(examples[column], column, path)

    letters = examples["esci_label"].astype("str")
    bad = letters.notna() & ~letters.isin(list(_LABEL_OF))
    if bad.any():
        row = examples[bad].iloc[0]
        raise InputError(
            f"{path}: example_id {row['example_id']}, {_name_pair(examples, bad)}, has the unknown label "
            f"{short_repr(row['esci_label'])}: known are {', '.join(_LABEL_OF)}."
        )

    examples["label"] = letters.map(_LABEL_OF)
    examples["substitute"] = _is_substitute(examples["label"])
    examples["task1"] = _flag(examples["small_version"], "small_version", path)
    examples["task2"] = examples["task3"] = _flag(examples["large_version"], "large_version", path)
    return examples.rename(columns={"product_locale": "locale"}), products


def _read_a_products(path: Path) -> pd.DataFrame:
    """Return the products column by column and in the order of the store, so that no text is in memory twice."""
    columns = {**_PRODUCTS, "product_color": "color"}
    keys = {column: name for column, name in columns.items() if name in PRODUCT_KEY}
    products = _read_parquet(path, keys)
    order = product_order(products)
    products = reordered(products, order)
    for column, name in columns.items():
        if name not in PRODUCT_KEY:
            products[name] = reordered(_read_parquet(path, {column: name})[name], order)
    return products


# --- layout B ---


@dataclass(frozen=True)
class _TaskFolder:
    name: str
    id_column: str
    label_column: str
    labels: tuple[str, ...]


_B_FOLDERS = {
    "task1": _TaskFolder("task_1_query-product_ranking", "query_id", "esci_label", _LABELS),
    "task2": _TaskFolder(
        "task_2_multiclass_product_classification", "example_id", "esci_label", _LABELS
    ),
    "task3": _TaskFolder(
        "task_3_product_substitute_identification",
        "example_id",
        "substitute_label",
        CONTEST.tasks["task3"].classes,
    ),
}
_B_KEY = ["locale", "query", "product_id"]


def _read_b(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    paths = {task: _path_of(root, spec.name) for task, spec in _B_FOLDERS.items()}
    folders = {task: folder for task, folder in paths.items() if folder.is_dir()}
    rows = _read_b_rows(folders)

    # Tasks whose folder is not there have no rows.
    for task in _B_FOLDERS:
        rows[task] = rows[task].fillna(False).astype(bool) if task in rows else False
    if "esci_label" not in rows:
        rows["esci_label"] = pd.Series(pd.NA, index=rows.index, dtype="str")
    rows["label"] = rows["esci_label"]
    rows["substitute"] = _b_substitutes(rows)

    # Ids that no file gives are a hash of what they name.
    rows["query_id"] = _query_ids(rows)
    if "example_id" not in rows:
        rows["example_id"] = pd.Series(pd.NA, index=rows.index, dtype="Int64")
    hashed = stable_ids([rows[column] for column in _B_KEY])
    rows["example_id"] = rows["example_id"].fillna(hashed.astype("Int64")).astype("int64")
    return rows, _read_b_products(list(folders.values()))


def _read_b_rows(folders: dict[str, Path]) -> pd.DataFrame:
    """Return the rows of all task folders, joined."""
    rows = pd.DataFrame()
    for task, folder in folders.items():
        part = _read_b_task(folder, task)
        part = part.astype({_B_FOLDERS[task].id_column: "Int64"}).assign(**{task: True})
        rows = part if rows.empty else _merge_b(rows, part)
    return rows


def _read_b_task(folder: Path, task: str) -> pd.DataFrame:
    """Return the training and test rows of one task folder."""
    spec = _B_FOLDERS[task]
    columns = {
        spec.id_column: spec.id_column,
        "query_locale": "locale",
        "query": "query",
        "product_id": "product_id",
    }

    parts = []
    for split, stem in (("train", "train"), ("test", "test_public")):
        path = _newest(folder, stem)
        answer = {spec.label_column: "answer"} if split == "train" else {}
        part = _read_csv(path, {**columns, **answer})
        part[spec.id_column] = parse_integers(part[spec.id_column], spec.id_column, path)
        if split == "train":
            _check_labels(part, spec.labels, path)

        bad = part.duplicated(_B_KEY)
        if bad.any():
            raise InputError(f"{path}: {_name_pair(part, bad)}, is duplicated; keep one of them.")
        parts.append(part.assign(split=split))

    rows = pd.concat(parts, ignore_index=True)
    rows["answer"] = rows["answer"].astype("str")
    return rows.rename(columns={"answer": spec.label_column})


def _newest(folder: Path, stem: str) -> Path:
    """Return the file `stem-vX.csv`, perhaps packed, of the highest version.

    Raises:
        InputError: there is none.
    """
    packed = "|".join(map(re.escape, PACKED_SUFFIXES))
    pattern = re.compile(rf"{stem}-v(\d+(?:\.\d+)*).*\.csv({packed})?", re.IGNORECASE)
    versions = {}
    for path in sorted(folder.iterdir()):
        if match := pattern.fullmatch(path.name):
            version = [int(part) for part in match[1].split(".")]
            is_plain = not match[2]  # of one version, the file that is not packed
            versions[path] = (version, is_plain)

    if not versions:
        raise InputError(f"{folder} lacks {stem}-v*.csv (or .csv.zip, .csv.gz).")
    return max(versions, key=lambda path: versions[path])


def _check_labels(rows: pd.DataFrame, labels: tuple[str, ...], path: Path) -> None:
    bad = ~rows["answer"].isin(labels)
    if bad.any():
        label = short_repr(rows.loc[bad, "answer"].iloc[0])
        raise InputError(
            f"{path}: {_name_pair(rows, bad)}, has the unknown label {label}: known are {', '.join(labels)}."
        )


def _merge_b(left: pd.DataFrame, right: pd.DataFrame) -> pd.DataFrame:
    """Join two tasks' rows on locale, query text and product; what both have must agree."""
    merged = left.merge(right, on=_B_KEY, how="outer", suffixes=("", "_right"))
    shared = [name.removesuffix("_right") for name in merged.columns if name.endswith("_right")]
    for column in shared:
        other = merged.pop(f"{column}_right")
        known = merged[column].notna()
        bad = known & other.notna() & (merged[column] != other)
        _refuse_disagreement(merged, bad, column, merged[column], other)
        merged[column] = merged[column].where(known, other)
    return merged


def _refuse_disagreement(
    rows: pd.DataFrame, bad: pd.Series, name: str, first: pd.Series, second: pd.Series
) -> None:
    """Raise InputError with both values of the first row in which two task folders disagree, if any."""
    if bad.any():
        raise InputError(
            f"The task folders disagree on the {name} of {_name_pair(rows, bad)}: "
            f"{short_repr(first[bad].iloc[0])} and {short_repr(second[bad].iloc[0])}."
        )


def _b_substitutes(rows: pd.DataFrame) -> pd.Series:
    """Return whether each row is a substitute, by task 3's label and, where there is none, by that of tasks 1 and 2."""
    by_label = _is_substitute(rows["label"])
    if "substitute_label" not in rows:
        return by_label

    by_task3 = _is_substitute(rows["substitute_label"])
    bad = (by_task3 != by_label).fillna(False).astype(bool)
    _refuse_disagreement(rows, bad, "label", rows["label"], rows["substitute_label"])
    return by_task3.fillna(by_label)


def _query_ids(rows: pd.DataFrame) -> pd.Series:
    """Return the files' ids.

    A row without one gets that of its (locale, text) if there is just one, else a hash.
    """
    hashed = stable_ids([rows["locale"], rows["query"]])
    if "query_id" not in rows:
        return hashed

    groups = rows.groupby(["locale", "query"])["query_id"]
    is_one = groups.transform("nunique") == 1
    of_text = groups.transform("first").where(is_one)
    return rows["query_id"].fillna(of_text).fillna(hashed.astype("Int64")).astype("int64")


def _read_b_products(folders: list[Path]) -> pd.DataFrame:
    """Return the catalogue.

    The task folders usually hold identical copies, each distinct one is read once.
    """
    distinct: dict[str, Path] = {}
    for folder in folders:
        path = _newest(folder, "product_catalogue")
        digests = " ".join(digest_file(part) for part in part_files(path))
        distinct.setdefault(digests, path)

    columns = {**_PRODUCTS, "product_color_name": "color"}
    tables = [_read_csv(path, columns) for path in distinct.values()]
    return pd.concat(tables, ignore_index=True).drop_duplicates()
