"""Many integer sequences in one flat array, which may lie on disk."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.int32]
Positions = NDArray[np.int64]


class Chain:
    """Two arrays read as one, without a copy; no sequence crosses from the first to the second."""

    def __init__(self, first: Values, second: Values) -> None:
        self._first = first
        self._second = second

    def __getitem__(self, part: slice) -> Values:
        split = len(self._first)
        if part.start < split:
            return self._first[part]
        return self._second[part.start - split : part.stop - split]


class Ragged:
    """Sequence i is `values[begins[i]:begins[i] + lengths[i]]`."""

    def __init__(
        self, values: Values | Chain, lengths: Positions, begins: Positions | None = None
    ) -> None:
        """Without `begins`, one sequence begins where the one before it ends."""
        self.values = values
        self.lengths = lengths  # (sequences,)
        self.begins = np.cumsum(lengths) - lengths if begins is None else begins

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, i: int) -> Values:
        begin = self.begins[i]
        return self.values[begin : begin + self.lengths[i]]

    def cut(self, longest: int) -> "Ragged":
        """Return the same sequences, each with at most `longest` values."""
        return Ragged(self.values, np.minimum(self.lengths, longest), self.begins)

    def take(self, positions: Positions) -> "Ragged":
        """Return the sequences at some positions, one behind the other in an array of their own."""
        lengths = self.lengths[positions]
        shift = self.begins[positions] - (np.cumsum(lengths) - lengths)  # (positions,)
        at = np.repeat(shift, lengths) + np.arange(int(lengths.sum()))  # (values,)
        return Ragged(np.asarray(self.values)[at], lengths)


def concatenate(parts: Iterable[Ragged]) -> Ragged:
    """Join parts whose sequences follow one another without gaps."""
    values = [np.empty(0, np.int32)]
    lengths = [np.empty(0, np.int64)]
    for part in parts:
        values.append(np.asarray(part.values))
        lengths.append(part.lengths)

    return Ragged(np.concatenate(values), np.concatenate(lengths))
