"""The two layouts of the real ESCI files.

A: the released data set, `shopping_queries_dataset_*.parquet`
(github.com/amazon-science/esci-data). B: the competition's CSV files, one folder per task, also as
`.csv.zip`.
"""

import hashlib
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
from competition.data.store import PRODUCT_KEY, product_order, reordered
from competition.scoring.tasks import LABEL_LETTERS, LABELS, TASKS

_NUMBERS = (
    "example_id",
    "query_id",
    "small_version",
    "large_version",
)  # floats where a column of them has a gap

# --- reading one file
# --------------------------------------------------------------------------------------------


def _checker(path: Path, wanted: Iterable[str]) -> Callable[[list[str]], None]:
    """What refuses a file that lacks one of the wanted columns or has it twice."""

    def check(found: list[str]) -> None:
        for column in wanted:
            if column not in found:
                refuse_misspelled(column, found, str(path))
                raise InputError(f"{path} lacks the column {column!r}: it has {join_names(found)}.")
            if found.count(column) > 1:
                raise InputError(f"{path} has the column {column!r} twice: remove one of them.")

    return check


def _read_parquet(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    """These columns of a parquet file, or of a folder of part files, under other names: numbers, and text as text."""
    files = part_files(path)
    parts = [
        read_parquet(file, str(file), list(columns), _checker(file, columns)) for file in files
    ]
    table = concat_tables(parts, [str(file) for file in files])
    return pd.DataFrame(
        {name: _values(table[column], column, path) for column, name in columns.items()}
    )


def _values(values: pa.ChunkedArray, column: str, path: Path) -> pd.Series:
    plain = pa.types.is_floating(values.type) or (
        pa.types.is_integer(values.type) and not values.null_count
    )
    return (
        values if plain and column in _NUMBERS else as_text(values, column, str(path))
    ).to_pandas()


def _read_csv(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    """Every cell as the text that it is: `nan`, `none` and `007` stay themselves."""
    files = part_files(path)
    parts = [read_csv(file, str(file), _checker(file, columns), blank_lines=True) for file in files]
    frame: pd.DataFrame = (
        concat_tables(parts, [str(file) for file in files]).select(list(columns)).to_pandas()
    )
    return frame.rename(columns=columns)


def _pair(rows: pd.DataFrame, bad: pd.Series | np.ndarray) -> str:
    """How the first offending pair is named."""
    row = rows[np.asarray(bad)].iloc[0]
    return f"query {short_repr(row['query'])}, product {short_repr(row['product_id'])}"


def _flag(values: pd.Series, column: str, path: Path) -> pd.Series:
    """0 and 1 as False and True; raises InputError naming the first row that is neither."""
    text = values.astype("str").str.removesuffix(".0")
    bad = ~text.isin(["0", "1"]).to_numpy()
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{path}: row {row + 1} has {column} {short_repr(text.iloc[row])}, which is neither 0 nor 1."
        )
    return text == "1"


_PRODUCTS = {
    "product_id": "product_id",
    "product_title": "title",
    "product_description": "description",
    "product_bullet_point": "bullets",
    "product_brand": "brand",
    "product_locale": "locale",
}

# --- layout A
# ----------------------------------------------------------------------------------------------------

A_EXAMPLES = "shopping_queries_dataset_examples.parquet"
A_PRODUCTS = "shopping_queries_dataset_products.parquet"
SAMPLE = Path(__file__).with_name(
    "esci_sample"
)  # real rows that come with the package, see benchmarks/sample.py


def _read_a(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    path = _called(root, A_EXAMPLES)
    columns = ("example_id", "query", "query_id", "product_id", "product_locale", "esci_label", "small_version",
               "large_version", "split")  # fmt: skip
    examples = _read_parquet(path, {column: column for column in columns})
    products = _read_a_products(_called(root, A_PRODUCTS))
    for column in ("example_id", "query_id"):
        examples[column] = parse_integers(examples[column], column, path)
    letters = examples["esci_label"].astype("str")
    bad = letters.notna() & ~letters.isin(list(LABEL_LETTERS))
    if bad.any():
        row = examples[bad].iloc[0]
        raise InputError(
            f"{path}: example_id {row['example_id']}, {_pair(examples, bad)}, has the unknown label "
            f"{short_repr(row['esci_label'])}: known are {', '.join(LABEL_LETTERS)}."
        )
    examples["label"] = letters.map(LABEL_LETTERS)
    examples["substitute"] = (
        (examples["label"] == "substitute").astype("boolean").mask(examples["label"].isna())
    )
    examples["task1"] = _flag(examples["small_version"], "small_version", path)
    examples["task2"] = examples["task3"] = _flag(examples["large_version"], "large_version", path)
    return examples.rename(columns={"product_locale": "locale"}), products


def _read_a_products(path: Path) -> pd.DataFrame:
    """Column by column and in the order of the store, so that no text is there twice."""
    columns = {**_PRODUCTS, "product_color": "color"}
    keys = {column: name for column, name in columns.items() if name in PRODUCT_KEY}
    products = _read_parquet(path, keys)
    order = product_order(products)
    products = reordered(products, order)
    for column, name in columns.items():
        if name not in PRODUCT_KEY:
            products[name] = reordered(_read_parquet(path, {column: name})[name], order)
    return products


# --- layout B
# ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _TaskFolder:
    name: str
    id_column: str
    label_column: str
    labels: tuple[str, ...]


_B_FOLDERS = {
    "task1": _TaskFolder("task_1_query-product_ranking", "query_id", "esci_label", LABELS),
    "task2": _TaskFolder(
        "task_2_multiclass_product_classification", "example_id", "esci_label", LABELS
    ),
    "task3": _TaskFolder(
        "task_3_product_substitute_identification",
        "example_id",
        "substitute_label",
        TASKS["task3"].classes,
    ),
}
_B_KEY = ["locale", "query", "product_id"]


def _newest(folder: Path, stem: str) -> Path:
    """The file `stem-vX.csv`, perhaps packed, of the highest version; raises InputError where there is none."""
    pattern = re.compile(
        rf"{stem}-v(\d+(?:\.\d+)*).*\.csv({'|'.join(map(re.escape, PACKED_SUFFIXES))})?",
        re.IGNORECASE,
    )
    found = {
        path: match for path in sorted(folder.iterdir()) if (match := pattern.fullmatch(path.name))
    }
    if not found:
        raise InputError(f"{folder} lacks {stem}-v*.csv (or .csv.zip, .csv.gz).")
    # Of one version, the file that is not packed.
    return max(
        found,
        key=lambda path: ([int(part) for part in found[path][1].split(".")], not found[path][2]),
    )


def _stable_ids(columns: list[pd.Series]) -> pd.Series:
    """Positive int64 ids that are a hash of the rows' text."""
    concat_tables = pd.Series(
        ["\0".join(row) for row in zip(*columns, strict=True)], columns[0].index
    )
    unique = {
        text: int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
        for text in concat_tables.unique()
    }
    return concat_tables.map(unique).astype("int64")


def _read_b_task(folder: Path, task: str) -> pd.DataFrame:
    spec = _B_FOLDERS[task]
    keys = {
        spec.id_column: spec.id_column,
        "query_locale": "locale",
        "query": "query",
        "product_id": "product_id",
    }
    parts = []
    for split, stem in (("train", "train"), ("test", "test_public")):
        path = _newest(folder, stem)
        part = _read_csv(path, {**keys, spec.label_column: "answer"} if split == "train" else keys)
        part[spec.id_column] = parse_integers(part[spec.id_column], spec.id_column, path)
        if split == "train":
            bad = ~part["answer"].isin(spec.labels)
            if bad.any():
                label = part.loc[bad, "answer"].iloc[0]
                known = ", ".join(spec.labels)
                raise InputError(
                    f"{path}: {_pair(part, bad)}, has the unknown label {short_repr(label)}: known are {known}."
                )
        bad = part.duplicated(_B_KEY)
        if bad.any():
            raise InputError(f"{path}: {_pair(part, bad)}, is there twice; keep one of them.")
        parts.append(part.assign(split=split))
    rows = pd.concat(parts, ignore_index=True)
    rows["answer"] = rows["answer"].astype("str")
    return rows.rename(columns={"answer": spec.label_column})


def _merge_b(left: pd.DataFrame, right: pd.DataFrame) -> pd.DataFrame:
    """Join two tasks' rows on locale, query text and product; what both say must agree."""
    merged = left.merge(right, on=_B_KEY, how="outer", suffixes=("", "_right"))
    for column in [c.removesuffix("_right") for c in merged.columns if c.endswith("_right")]:
        other = merged.pop(f"{column}_right")
        bad = merged[column].notna() & other.notna() & (merged[column] != other)
        if bad.any():
            one, two = merged.loc[bad, column].iloc[0], other[bad].iloc[0]
            raise InputError(
                f"The task folders disagree on the {column} of {_pair(merged, bad)}: "
                f"{short_repr(one)} and {short_repr(two)}."
            )
        merged[column] = merged[column].where(merged[column].notna(), other)
    return merged


def _query_ids(rows: pd.DataFrame) -> pd.Series:
    """The files' ids; a row without one gets that of its (locale, text) if there is just one, else a stable hash."""
    assigned = _stable_ids([rows["locale"], rows["query"]])
    if "query_id" not in rows:
        return assigned
    groups = rows.groupby(["locale", "query"])["query_id"]
    of_text = groups.transform("first").where(groups.transform("nunique") == 1)
    return rows["query_id"].fillna(of_text).fillna(assigned.astype("Int64")).astype("int64")


def _read_b(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    folders = {
        task: folder
        for task, spec in _B_FOLDERS.items()
        if (folder := _called(root, spec.name)).is_dir()
    }
    rows = pd.DataFrame()
    for task, folder in folders.items():
        part = _read_b_task(folder, task)
        part = part.astype({_B_FOLDERS[task].id_column: "Int64"}).assign(**{task: True})
        rows = part if rows.empty else _merge_b(rows, part)
    for task in _B_FOLDERS:
        rows[task] = rows[task].fillna(False).astype(bool) if task in rows else False
    if "esci_label" not in rows:
        rows["esci_label"] = pd.Series(pd.NA, index=rows.index, dtype="str")
    rows["label"] = rows["esci_label"]
    rows["substitute"] = (
        (rows["label"] == "substitute").astype("boolean").mask(rows["label"].isna())
    )
    if "substitute_label" in rows:
        said = (
            (rows["substitute_label"] == "substitute")
            .astype("boolean")
            .mask(rows["substitute_label"].isna())
        )
        bad = (said != rows["substitute"]).fillna(False).to_numpy(bool)
        if bad.any():
            one, two = rows.loc[bad, ["label", "substitute_label"]].iloc[0]
            raise InputError(
                f"The task folders disagree on the label of {_pair(rows, bad)}: "
                f"{short_repr(one)} and {short_repr(two)}."
            )
        rows["substitute"] = said.fillna(rows["substitute"])
    rows["query_id"] = _query_ids(rows)
    if "example_id" not in rows:
        rows["example_id"] = pd.Series(pd.NA, index=rows.index, dtype="Int64")
    hashed = _stable_ids([rows[column] for column in _B_KEY])
    rows["example_id"] = rows["example_id"].fillna(hashed.astype("Int64")).astype("int64")
    return rows, _read_b_products(list(folders.values()))


def _read_b_products(folders: list[Path]) -> pd.DataFrame:
    """The catalogue; the task folders usually hold identical copies, each distinct one is read once."""
    distinct: dict[str, Path] = {}
    for folder in folders:
        path = _newest(folder, "product_catalogue")
        distinct.setdefault(" ".join(digest_file(part) for part in part_files(path)), path)
    columns = {**_PRODUCTS, "product_color_name": "color"}
    tables = [_read_csv(path, columns) for path in distinct.values()]
    return pd.concat(tables, ignore_index=True).drop_duplicates()


# --- which one
# ---------------------------------------------------------------------------------------------------


def _called(folder: Path, name: str) -> Path:
    """The file or folder `name` of a folder, in any case of letters where none has the name itself."""
    path = folder / name
    if path.exists():
        return path
    return next(
        (other for other in sorted(folder.iterdir()) if other.name.casefold() == name.casefold()),
        path,
    )


def _reader(folder: Path) -> Callable[[Path], tuple[pd.DataFrame, pd.DataFrame]] | None:
    """What reads the layout that a folder holds; None where it holds neither."""
    if any(_called(folder, name).exists() for name in (A_EXAMPLES, A_PRODUCTS)):
        return _read_a
    return (
        _read_b
        if any(_called(folder, spec.name).is_dir() for spec in _B_FOLDERS.values())
        else None
    )


def locate(root: Path) -> Path:
    """The folder that holds one of the layouts: `root`, or one in it, as in a clone of the data set's repository.

    Raises:
        InputError: there is none, or there are several in `root`.
    """
    if not root.is_dir():
        holder = f": {root.parent}" if root.is_file() else ""
        raise InputError(f"{root} is no folder: give the one that holds the ESCI files{holder}.")
    if _reader(root) is not None:
        return root
    inner = [
        folder
        for folder in sorted(root.iterdir())
        if folder.is_dir() and _reader(folder) is not None
    ]
    if len(inner) > 1:
        raise InputError(
            f"{root} holds several data sets: give one of {', '.join(map(str, inner))}."
        )
    if inner:
        return inner[0]
    names = ", ".join(spec.name for spec in _B_FOLDERS.values())
    raise InputError(
        f"{root} holds neither layout, nor does a folder in it: expected {A_EXAMPLES} and {A_PRODUCTS}, "
        f"or at least one of the folders {names}."
    )


def read(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Examples and products of whichever layout `root` holds, with the columns of `store` (not yet checked).

    Raises:
        InputError: neither layout is there, or a file is missing, unreadable or lacks a column.
    """
    folder = locate(root)
    reader = _reader(folder)
    assert reader is not None  # by `locate`
    return reader(folder)
