"""The two layouts of the real ESCI files, wherever in a folder they lie.

`esci_released` reads the data set that was released (github.com/amazon-science/esci-data),
`esci_challenge` the CSV files of the competition, one folder per task.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from competition.core.archives import PACKED_SUFFIXES
from competition.core.errors import InputError
from competition.data.esci_challenge import TASK_FOLDERS, read_challenge
from competition.data.esci_files import find_path
from competition.data.esci_released import A_EXAMPLES, A_PRODUCTS, read_released

_LEVELS = 2  # of folders below the one that is imported
# Real rows that come with the package, see benchmarks/sample.py.
SAMPLE = Path(__file__).with_name("esci_sample")


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
        if root.suffix.lower() in PACKED_SUFFIXES:
            raise InputError(f"{root} is packed: unpack it, and give the folder with its files.")
        is_there = root.is_file() and _reader(root.parent) is not None
        parent = f": {root.parent}" if is_there else ""
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

    names = ", ".join(spec.name for spec in TASK_FOLDERS.values())
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
    if any(find_path(folder, name).exists() for name in (A_EXAMPLES, A_PRODUCTS)):
        return read_released
    if any(find_path(folder, spec.name).is_dir() for spec in TASK_FOLDERS.values()):
        return read_challenge
    return None
