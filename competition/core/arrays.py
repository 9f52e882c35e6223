"""Names of the arrays that most functions take and return."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Codes = NDArray[np.int64]  # indices: of classes, queries, rows or folds
