"""The two layouts of the real ESCI files.

A: the released data set, `shopping_queries_dataset_*.parquet` (github.com/amazon-science/esci-data).
B: the competition's CSV files, one folder per task, also as `.csv.zip`.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from competition.data.store import PRODUCT_KEY, in_order, product_order
from competition.errors import InputError, listed, shown
from competition.files.cells import read_text, spelled
from competition.files.tables import whole_numbers
from competition.tasks import LABEL_LETTERS, LABELS, TASKS

_NUMBERS = ("example_id", "query_id", "small_version", "large_version")  # floats where a column of them has a gap
_LFS_HEAD = b"version https://git-lfs"

# --- reading one file --------------------------------------------------------------------------------------------


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path} is missing.")
    with path.open("rb") as handle:
        head = handle.read(len(_LFS_HEAD))
    if head == _LFS_HEAD:
        raise InputError(f"{path} is a Git-LFS pointer, not the file itself: fetch it with `git lfs pull`.")
    if not head:
        raise InputError(f"{path} is empty.")


def _check_columns(path: Path, found: list[str], wanted: dict[str, str]) -> None:
    for column in wanted:
        if column not in found:
            spelled(column, found, str(path))
            raise InputError(f"{path} lacks the column {column!r}: it has {listed(found)}.")


def _read_parquet(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    _check_file(path)
    try:
        schema = pq.read_schema(path)
        _check_columns(path, schema.names, columns)
        for column in columns:
            if schema.names.count(column) > 1:
                raise InputError(f"{path} has the column {column!r} twice: remove one of them.")
        table = pq.read_table(path, columns=list(columns))
        table.validate(full=True)  # text that is not UTF-8 is found here or in the middle of a training
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is no readable parquet file: {error}.") from None
    for name in columns:
        values = table[name]
        if values.null_count < len(values) and not _is_plain(values.type, name in _NUMBERS):
            raise InputError(f"{path}: the column {name!r} holds {values.type}, which is not what it is for.")
    return table.to_pandas().rename(columns=columns)


def _is_plain(kind: pa.DataType, number: bool) -> bool:
    """Whether a column holds text or whole numbers, also as categories: of others, `str` would make a text."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return text or pa.types.is_integer(kind) or (number and pa.types.is_floating(kind))


def _read_csv(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    """Every cell as the text that it is: `nan`, `none` and `007` stay themselves."""
    _check_file(path)
    frame = read_text(path, str(path), skip_blank_lines=True)
    _check_columns(path, list(frame.columns), columns)
    return frame[list(columns)].rename(columns=columns)


def _pair(rows: pd.DataFrame, bad: pd.Series | np.ndarray) -> str:
    """How the first offending pair is named."""
    row = rows[np.asarray(bad)].iloc[0]
    return f"query {shown(row['query'])}, product {shown(row['product_id'])}"


def _flag(values: pd.Series, column: str, path: Path) -> pd.Series:
    """0 and 1 as False and True; raises InputError naming the first row that is neither."""
    text = values.astype("str").str.removesuffix(".0")
    bad = ~text.isin(["0", "1"]).to_numpy()
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(f"{path}: row {row + 1} has {column} {shown(text.iloc[row])}, which is neither 0 nor 1.")
    return text == "1"


_PRODUCTS = {
    "product_id": "product_id",
    "product_title": "title",
    "product_description": "description",
    "product_bullet_point": "bullets",
    "product_brand": "brand",
    "product_locale": "locale",
}

# --- layout A ----------------------------------------------------------------------------------------------------

A_EXAMPLES = "shopping_queries_dataset_examples.parquet"
A_PRODUCTS = "shopping_queries_dataset_products.parquet"
SAMPLE = Path(__file__).with_name("esci_sample")  # real rows that come with the package, see benchmarks/sample.py


def _read_a(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    path = root / A_EXAMPLES
    columns = ("example_id", "query", "query_id", "product_id", "product_locale", "esci_label", "small_version",
               "large_version", "split")  # fmt: skip
    examples = _read_parquet(path, {column: column for column in columns})
    products = _read_a_products(root / A_PRODUCTS)
    for column in ("example_id", "query_id"):
        examples[column] = whole_numbers(examples[column], column, path)
    letters = examples["esci_label"].astype("str")
    bad = letters.notna() & ~letters.isin(list(LABEL_LETTERS))
    if bad.any():
        row = examples[bad].iloc[0]
        raise InputError(
            f"{path}: example_id {row['example_id']}, {_pair(examples, bad)}, has the unknown label "
            f"{shown(row['esci_label'])}: known are {', '.join(LABEL_LETTERS)}."
        )
    examples["label"] = letters.map(LABEL_LETTERS)
    examples["substitute"] = (examples["label"] == "substitute").astype("boolean").mask(examples["label"].isna())
    examples["task1"] = _flag(examples["small_version"], "small_version", path)
    examples["task2"] = examples["task3"] = _flag(examples["large_version"], "large_version", path)
    return examples.rename(columns={"product_locale": "locale"}), products


def _read_a_products(path: Path) -> pd.DataFrame:
    """Column by column and in the order of the store, so that no text is there twice."""
    columns = {**_PRODUCTS, "product_color": "color"}
    keys = {column: name for column, name in columns.items() if name in PRODUCT_KEY}
    products = _read_parquet(path, keys)
    order = product_order(products)
    products = in_order(products, order)
    for column, name in columns.items():
        if name not in PRODUCT_KEY:
            products[name] = in_order(_read_parquet(path, {column: name})[name], order)
    return products


# --- layout B ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _TaskFolder:
    name: str
    id_column: str
    label_column: str
    labels: tuple[str, ...]


_B_FOLDERS = {
    "task1": _TaskFolder("task_1_query-product_ranking", "query_id", "esci_label", LABELS),
    "task2": _TaskFolder("task_2_multiclass_product_classification", "example_id", "esci_label", LABELS),
    "task3": _TaskFolder(
        "task_3_product_substitute_identification", "example_id", "substitute_label", TASKS["task3"].classes
    ),
}
_B_KEY = ["locale", "query", "product_id"]


def _newest(folder: Path, stem: str) -> Path:
    """The file `stem-vX.csv` or `.csv.zip` of the highest version; raises InputError where there is none."""
    found = [*folder.glob(f"{stem}-v*.csv"), *folder.glob(f"{stem}-v*.csv.zip")]
    found.sort(key=lambda path: [int(number) for number in re.findall(r"\d+", path.name.removeprefix(stem))])
    if not found:
        raise InputError(f"{folder} lacks {stem}-v*.csv (or .csv.zip).")
    return found[-1]


def _stable_ids(columns: list[pd.Series]) -> pd.Series:
    """Positive int64 ids that are a hash of the rows' text."""
    joined = pd.Series(["\0".join(row) for row in zip(*columns, strict=True)], columns[0].index)
    unique = {
        text: int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
        for text in joined.unique()
    }
    return joined.map(unique).astype("int64")


def _read_b_task(folder: Path, task: str) -> pd.DataFrame:
    spec = _B_FOLDERS[task]
    keys = {spec.id_column: spec.id_column, "query_locale": "locale", "query": "query", "product_id": "product_id"}
    parts = []
    for split, stem in (("train", "train"), ("test", "test_public")):
        path = _newest(folder, stem)
        part = _read_csv(path, {**keys, spec.label_column: "answer"} if split == "train" else keys)
        part[spec.id_column] = whole_numbers(part[spec.id_column], spec.id_column, path)
        if split == "train":
            bad = ~part["answer"].isin(spec.labels)
            if bad.any():
                label = part.loc[bad, "answer"].iloc[0]
                known = ", ".join(spec.labels)
                raise InputError(
                    f"{path}: {_pair(part, bad)}, has the unknown label {shown(label)}: known are {known}."
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
            raise InputError(f"The task folders disagree on the {column} of {_pair(merged, bad)}: {one!r} and {two!r}.")
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
    folders = {task: root / spec.name for task, spec in _B_FOLDERS.items() if (root / spec.name).is_dir()}
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
    rows["substitute"] = (rows["label"] == "substitute").astype("boolean").mask(rows["label"].isna())
    if "substitute_label" in rows:
        said = (rows["substitute_label"] == "substitute").astype("boolean").mask(rows["substitute_label"].isna())
        bad = (said != rows["substitute"]).fillna(False).to_numpy(bool)
        if bad.any():
            one, two = rows.loc[bad, ["label", "substitute_label"]].iloc[0]
            raise InputError(f"The task folders disagree on the label of {_pair(rows, bad)}: {one!r} and {two!r}.")
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
        _check_file(path)
        with path.open("rb") as handle:
            distinct.setdefault(hashlib.file_digest(handle, "sha256").hexdigest(), path)
    columns = {**_PRODUCTS, "product_color_name": "color"}
    tables = [_read_csv(path, columns) for path in distinct.values()]
    return pd.concat(tables, ignore_index=True).drop_duplicates()


# --- which one ---------------------------------------------------------------------------------------------------


def read(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Examples and products of whichever layout `root` holds, with the columns of `store` (not yet checked).

    Raises:
        InputError: neither layout is there, or a file is missing, unreadable or lacks a column.
    """
    if not root.is_dir():
        raise InputError(f"{root} is no folder: give the one that holds the ESCI files.")
    if (root / A_EXAMPLES).exists() or (root / A_PRODUCTS).exists():
        return _read_a(root)
    if any((root / spec.name).is_dir() for spec in _B_FOLDERS.values()):
        return _read_b(root)
    names = ", ".join(spec.name for spec in _B_FOLDERS.values())
    raise InputError(
        f"{root} holds neither layout: expected {A_EXAMPLES} and {A_PRODUCTS}, or at least one of the folders {names}."
    )
