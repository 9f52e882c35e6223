"""Many integer sequences in one flat array, which may lie on disk."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.int32]
Positions = NDArray[np.int64]


class Chain:
    """Two arrays as if the second stood behind the first, without a copy; no sequence reaches from one to the other."""

    def __init__(self, first: Values, second: Values) -> None:
        self._first, self._second = first, second

    def __getitem__(self, part: slice) -> Values:
        behind = len(self._first)
        if part.start < behind:
            return self._first[part]
        return self._second[part.start - behind : part.stop - behind]


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
        """The same sequences, at most `longest` of each."""
        return Ragged(self.values, np.minimum(self.lengths, longest), self.begins)


def concatenate(parts: Iterable[Ragged]) -> Ragged:
    """Sequences one behind the other, of parts that are so themselves."""
    values, lengths = [np.empty(0, np.int32)], [np.empty(0, np.int64)]
    for part in parts:
        values.append(np.asarray(part.values))
        lengths.append(part.lengths)
    return Ragged(np.concatenate(values), np.concatenate(lengths))
