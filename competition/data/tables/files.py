"""Which files hold the rows and products of a contest, and the cells of one as they stand."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from competition.core.archives import PACKED_SUFFIXES, open_unpacked, part_files
from competition.core.csv_files import find_separator, read_csv
from competition.core.errors import InputError, did_you_mean, join_names, pluralize
from competition.core.foreign_parquet import concat_tables, is_parquet, parquet_table
from competition.scoring.contest import Contest

_TABLES = (".csv", ".tsv", ".txt", ".parquet")


def list_files(root: Path, contest: Contest) -> list[Path]:
    """Return the files that `read_tables` reads, part files one by one."""
    paths = [path for path, _ in row_files(root, contest)]
    paths += [find_file(root, name) for name in contest.source.products]
    return [part for path in paths for part in part_files(path)]


def row_files(root: Path, contest: Contest) -> list[tuple[Path, str]]:
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
        return [(find_file(root, name), split) for name, split in named]

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


def find_file(root: Path, name: str) -> Path:
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


def read_table(path: Path, contest: Contest) -> pa.Table:
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
            separator = source.delimiter or find_separator(handle, source.encoding)
            return read_csv(
                handle,
                name,
                blank_lines=True,
                encoding=source.encoding,
                remedy="say what it is, such as --encoding cp1252 or --encoding utf-16",
                separator=separator,
            )
        except LookupError:
            raise InputError(
                f"There is no encoding {source.encoding!r}: cp1252 and utf-16 are common ones."
            ) from None
