"""Names of the arrays that most functions take and return."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Codes = NDArray[np.int64]  # indices: of classes, queries, rows or folds


def ascends(ids: Codes) -> bool:
    """Return whether each of some ids, `(rows,)`, is greater than the one before it, so that none repeats."""
    return bool((ids[1:] > ids[:-1]).all())
