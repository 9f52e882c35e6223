"""The CSV files of the ESCI competition, one folder per task, also as `.csv.zip`."""

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from competition.core.archives import PACKED_SUFFIXES, part_files
from competition.core.csv_files import parse_integers
from competition.core.errors import InputError, short_repr
from competition.core.fingerprint import digest_file
from competition.data.esci_files import (
    CONTEST,
    PRODUCT_COLUMNS,
    find_path,
    is_substitute,
    name_pair,
    read_text_columns,
)
from competition.data.ids import stable_ids

_LABELS = CONTEST.labels.names


@dataclass(frozen=True)
class _TaskFolder:
    name: str
    id_column: str
    label_column: str
    labels: tuple[str, ...]


TASK_FOLDERS = {
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


def read_challenge(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return examples and products of the challenge's folders, see `esci.read`, whose errors it raises."""
    paths = {task: find_path(root, spec.name) for task, spec in TASK_FOLDERS.items()}
    folders = {task: folder for task, folder in paths.items() if folder.is_dir()}
    rows = pd.DataFrame()
    for task, folder in folders.items():
        part = _read_b_task(folder, task)
        part = part.astype({TASK_FOLDERS[task].id_column: "Int64"}).assign(**{task: True})
        rows = part if rows.empty else _merge_b(rows, part)

    # Tasks whose folder is not there have no rows.
    for task in TASK_FOLDERS:
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


def _read_b_task(folder: Path, task: str) -> pd.DataFrame:
    """Return the training and test rows of one task folder."""
    spec = TASK_FOLDERS[task]
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
        part = read_text_columns(path, {**columns, **answer})
        if part.empty:
            raise InputError(f"{path} has no rows: bring the file again, or remove {folder.name}.")
        part[spec.id_column] = parse_integers(part[spec.id_column], spec.id_column, path)
        if split == "train":
            unknown = ~part["answer"].isin(spec.labels)
            if unknown.any():
                label = short_repr(part.loc[unknown, "answer"].iloc[0])
                raise InputError(
                    f"{path}: {name_pair(part, unknown)}, has the unknown label {label}: known are "
                    f"{', '.join(spec.labels)}."
                )

        bad = part.duplicated(_B_KEY)
        if bad.any():
            raise InputError(f"{path}: {name_pair(part, bad)}, is duplicated; keep one of them.")
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
            # Of one version, the file that is not packed.
            is_plain = not match[2]
            versions[path] = (version, is_plain)

    if not versions:
        raise InputError(f"{folder} lacks {stem}-v*.csv (or .csv.zip, .csv.gz).")
    return max(versions, key=lambda path: versions[path])


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
            f"The task folders disagree on the {name} of {name_pair(rows, bad)}: "
            f"{short_repr(first[bad].iloc[0])} and {short_repr(second[bad].iloc[0])}."
        )


def _b_substitutes(rows: pd.DataFrame) -> pd.Series:
    """Return whether each row is a substitute, by task 3's label and, where there is none, by that of tasks 1 and 2."""
    by_label = is_substitute(rows["label"])
    if "substitute_label" not in rows:
        return by_label

    by_task3 = is_substitute(rows["substitute_label"])
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

    columns = {**PRODUCT_COLUMNS, "product_color_name": "color"}
    tables = [read_text_columns(path, columns) for path in distinct.values()]
    return pd.concat(tables, ignore_index=True).drop_duplicates()
