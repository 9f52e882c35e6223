"""How many of the flagged rows may be dropped."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.config.keys import AuditKeys


def within_quota(
    worst: NDArray[np.int64], label: pd.Series, locale: pd.Series, keys: AuditKeys
) -> NDArray[np.bool_]:
    """Which of all rows are dropped, `(rows,)`.

    A quota is the whole number of rows below `keys.fraction` of its group: of all rows, of a label,
    of a locale, or of a label in a locale, so that with either switch still no more than the
    fraction of all rows is dropped.

    Args:
        worst: positions of the flagged rows, worst first.
        label: of all rows, as given.
        locale: of all rows.
        keys: the fraction, and which groups have a quota of their own.
    """
    columns = ([label] if keys.per_label else []) + ([locale] if keys.per_locale else [])
    group = np.zeros(len(label), np.int64)
    for column in columns:
        codes = pd.factorize(column, sort=True)[0]
        group = group * (codes.max(initial=0) + 1) + codes
    size = np.bincount(group)
    taken = (
        pd.Series(group[worst]).groupby(group[worst]).cumcount().to_numpy()
    )  # of the group, before this row
    dropped = np.zeros(len(label), bool)
    # The product may be rounded to just below a whole number: 0.29 * 100 is 28.999999999999996.
    quota = np.floor(np.round(keys.fraction * size, 9)).astype(np.int64)
    dropped[worst] = taken < quota[group[worst]]
    return dropped
