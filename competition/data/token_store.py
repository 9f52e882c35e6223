"""Integer sequences on disk, such as the token ids of texts: computed once, read by all recipes, folds and processes.

A sequence is found by the text that it was made from, not by a row's number: by a hash of 64 bits,
which among five million different texts two share with a probability of 1e-6. The files are mapped
into memory, so that processes share what they read and the rest stays on disk.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from competition.core.atomic import atomic_folder
from competition.core.console import Progress, progress
from competition.core.json_files import write_manifest
from competition.core.parquet import row_hashes, row_parts
from competition.data.ragged import Chain, Positions, Ragged, concatenate

SequenceMaker = Callable[["pd.DataFrame"], Ragged]  # the sequences of some rows, without gaps

_KEYS = "keys.npy"
_BEGINS = "begins.npy"
_LENGTHS = "lengths.npy"
_VALUES = "values.npy"


class SequenceStore:
    """The sequences of a folder that `write_sequences` wrote."""

    def __init__(self, folder: Path) -> None:
        self._keys = _map_array(folder / _KEYS)  # (sequences,) ascending
        self._begins = _map_array(folder / _BEGINS)
        self._lengths = _map_array(folder / _LENGTHS)
        self._values = _map_array(folder / _VALUES)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, keys: NDArray[np.uint64]) -> Positions:
        """Return the position of each key, `(keys,)`; -1 for one that is not stored."""
        if not len(self):
            return np.full(len(keys), -1)

        position = np.minimum(np.searchsorted(self._keys, keys), len(self) - 1)
        return np.where(self._keys[position] == keys, position, -1)

    def at(self, position: Positions, new: Ragged) -> Ragged:
        """Return the sequences at some positions; for each position of -1 the next one of `new`."""
        known = position >= 0
        if known.all():
            return Ragged(self._values, self._lengths[position], self._begins[position])

        lengths = np.empty(len(position), np.int64)
        lengths[known] = self._lengths[position[known]]
        lengths[~known] = new.lengths

        # New values stand behind the stored ones.
        begins = np.empty(len(position), np.int64)
        begins[known] = self._begins[position[known]]
        begins[~known] = len(self._values) + new.begins
        return Ragged(Chain(self._values, np.asarray(new.values)), lengths, begins)


def _map_array(path: Path) -> np.ndarray:
    return np.asarray(np.load(path, mmap_mode="r"))


@dataclass(frozen=True)
class StoredSequences:
    """The stores of a workspace, as far as they are made.

    What is missing from them is computed on demand.
    """

    tokens: SequenceStore | None = None
    grams: SequenceStore | None = None


NOTHING_STORED = StoredSequences()


def read_sequences(
    rows: pd.DataFrame, make: SequenceMaker, stored: SequenceStore | None, positions: Positions
) -> Ragged:
    """Return the sequences of the rows at ascending positions.

    `make` computes those that are not stored.
    """
    if stored is None:
        return concatenate(map(make, row_parts(rows, positions)))

    keys = [row_hashes(part) for part in row_parts(rows, positions)]
    found = stored.find(np.concatenate([np.empty(0, np.uint64), *keys]))
    missing = positions[found < 0]
    return stored.at(found, concatenate(map(make, row_parts(rows, missing))))


def write_sequences(
    folder: Path, inputs: str, name: str, tables: Sequence[pd.DataFrame], make: SequenceMaker
) -> None:
    """Write the sequences of all rows of some tables, those of equal rows once; one part is in memory at a time.

    Args:
        folder: where they go, whole or not at all.
        inputs: the fingerprint of what they are made from.
        name: what they are, for the progress bar.
        tables: the rows.
        make: their sequences.
    """
    hashes = np.concatenate([row_hashes(rows) for rows in tables])
    keys, first = np.unique(hashes, return_index=True)
    # As they come, so that what belongs together stays together.
    order = np.argsort(first)

    with atomic_folder(folder) as temporary, progress(name, len(keys), "texts") as bar:
        parts = _sequence_parts(tables, first[order], make, bar)
        written = _write_values(temporary / _VALUES, parts)

        # The columns are in the order of the keys, which `find` searches by halves.
        lengths = np.empty(len(keys), np.int64)
        lengths[order] = written
        begins = np.empty(len(keys), np.int64)
        begins[order] = np.cumsum(written) - written

        np.save(temporary / _KEYS, keys)
        np.save(temporary / _LENGTHS, lengths)
        np.save(temporary / _BEGINS, begins)
        write_manifest(temporary, inputs)


def _sequence_parts(
    tables: Sequence[pd.DataFrame], positions: Positions, make: SequenceMaker, bar: Progress
) -> Iterator[Ragged]:
    """Yield the sequences of the rows at ascending positions in the tables read as one, some at a time."""
    start = 0
    for rows in tables:
        bounds = np.searchsorted(positions, [start, start + len(rows)])
        for part in row_parts(rows, positions[slice(*bounds)] - start):
            yield make(part)
            bar.advance(len(part))
        start += len(rows)


def _write_values(path: Path, parts: Iterable[Ragged]) -> Positions:
    """Write the values of all parts as one `.npy` file; returns the lengths of their sequences."""
    lengths = [np.empty(0, np.int64)]
    with path.open("wb") as handle:
        _write_header(handle, 0)
        for part in parts:
            handle.write(np.asarray(part.values, "<i4").tobytes())
            lengths.append(part.lengths)

        # The number of values is known only now; the header is as long for every number.
        handle.seek(0)
        _write_header(handle, sum(int(part_lengths.sum()) for part_lengths in lengths))
    return np.concatenate(lengths)


def _write_header(handle: IO[bytes], count: int) -> None:
    header = {"descr": "<i4", "fortran_order": False, "shape": (count,)}
    write_array_header_1_0(handle, header)
