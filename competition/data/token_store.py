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
from competition.core.parquet import row_hashes, row_slices
from competition.data.ragged import Chain, Positions, Ragged, concatenate

SequenceMaker = Callable[
    ["pd.DataFrame"], Ragged
]  # the sequences of some rows, one behind the other

_KEYS, _BEGINS, _LENGTHS, _VALUES = "keys.npy", "begins.npy", "lengths.npy", "values.npy"


class SequenceStore:
    """The sequences of a folder that `write_sequences` wrote."""

    def __init__(self, folder: Path) -> None:
        self._keys, self._begins, self._lengths, self._values = (
            np.asarray(np.load(folder / name, mmap_mode="r"))
            for name in (_KEYS, _BEGINS, _LENGTHS, _VALUES)
        )

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, keys: NDArray[np.uint64]) -> Positions:
        """Where each key is, `(keys,)`; -1 for one that is not here."""
        if not len(self):
            return np.full(len(keys), -1)
        place = np.minimum(np.searchsorted(self._keys, keys), len(self) - 1)
        return np.where(self._keys[place] == keys, place, -1)

    def at(self, place: Positions, new: Ragged) -> Ragged:
        """The sequences at some places; for each place of -1 the next one of `new`."""
        known = place >= 0
        if known.all():
            return Ragged(self._values, self._lengths[place], self._begins[place])
        lengths, begins = np.empty((2, len(place)), np.int64)
        lengths[known], begins[known] = self._lengths[place[known]], self._begins[place[known]]
        lengths[~known], begins[~known] = new.lengths, len(self._values) + new.begins
        return Ragged(Chain(self._values, np.asarray(new.values)), lengths, begins)


@dataclass(frozen=True)
class StoredSequences:
    """What was computed before; what is missing from it is computed when it is asked for."""

    tokens: SequenceStore | None = None
    grams: SequenceStore | None = None


NOTHING_STORED = StoredSequences()


def read_sequences(
    rows: pd.DataFrame, make: SequenceMaker, stored: SequenceStore | None, chosen: Positions
) -> Ragged:
    """The sequences of the rows at the ascending positions `chosen`, made by `make` as far as they are not stored."""
    if stored is None:
        return concatenate(map(make, _parts(rows, chosen)))
    keys = [row_hashes(part) for part in _parts(rows, chosen)]
    place = stored.find(np.concatenate([np.empty(0, np.uint64), *keys]))
    return stored.at(place, concatenate(map(make, _parts(rows, chosen[place < 0]))))


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
    keys, first = np.unique(
        np.concatenate([row_hashes(rows) for rows in tables]), return_index=True
    )
    order = np.argsort(first)  # as they come, so that what belongs together stays together
    lengths, begins = np.empty((2, len(keys)), np.int64)
    with atomic_folder(folder) as temporary, progress(name, len(keys), "texts") as work:
        written = _write_values(temporary / _VALUES, _made(tables, first[order], make, work))
        lengths[order], begins[order] = written, np.cumsum(written) - written
        for file, column in ((_KEYS, keys), (_LENGTHS, lengths), (_BEGINS, begins)):
            np.save(temporary / file, column)
        write_manifest(temporary, inputs)


def _made(
    tables: Sequence[pd.DataFrame], chosen: Positions, make: SequenceMaker, work: Progress
) -> Iterator[Ragged]:
    """The sequences of the rows at ascending positions in the tables as if they were one, some at a time."""
    start = 0
    for rows in tables:
        inside = chosen[slice(*np.searchsorted(chosen, [start, start + len(rows)]))]
        for part in _parts(rows, inside - start):
            yield make(part)
            work.advance(len(part))
        start += len(rows)


def _write_values(path: Path, parts: Iterable[Ragged]) -> Positions:
    """Write the values of all parts as one `.npy` file; returns the lengths of their sequences."""
    lengths = [np.empty(0, np.int64)]
    with path.open("wb") as handle:
        _write_header(handle, 0)
        for part in parts:
            handle.write(np.asarray(part.values, "<i4").tobytes())
            lengths.append(part.lengths)
        handle.seek(0)
        _write_header(handle, sum(int(each.sum()) for each in lengths))
    return np.concatenate(lengths)


def _parts(rows: pd.DataFrame, chosen: Positions) -> Iterator[pd.DataFrame]:
    """The rows at ascending positions, some at a time: a few rows of long columns would cost a copy of all of them."""
    for part in row_slices(len(rows)):
        inside = chosen[slice(*np.searchsorted(chosen, [part.start, part.stop]))]
        if len(inside):
            yield rows.iloc[part].iloc[inside - part.start]


def _write_header(handle: IO[bytes], count: int) -> None:
    """The header of a `.npy` file of `count` values, which is as long for every count."""
    write_array_header_1_0(handle, {"descr": "<i4", "fortran_order": False, "shape": (count,)})
