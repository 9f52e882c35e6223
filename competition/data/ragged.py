"""Many integer sequences in one flat array."""

import numpy as np
from numpy.typing import NDArray


class Ragged:
    """Sequence i is `values[offsets[i]:offsets[i + 1]]`."""

    def __init__(self, values: NDArray[np.int32], lengths: NDArray[np.int64]) -> None:
        self.values = values
        self.offsets = np.concatenate([[0], np.cumsum(lengths)])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> NDArray[np.int32]:
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How long each sequence is, `(sequences,)`."""
        return np.diff(self.offsets)
