"""The number of flagged rows that may be dropped: quotas of all rows, of labels and of locales."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.config.keys import AuditKeys


def within_quota(
    worst: NDArray[np.int64], label: pd.Series, locale: pd.Series, keys: AuditKeys
) -> NDArray[np.bool_]:
    """Return which rows are dropped, `(rows,)`.

    A quota is the whole number of rows below `keys.fraction` of its group: of all rows, of a label,
    of a locale, or of a label in a locale, so that with either switch still no more than the
    fraction of all rows is dropped.

    Args:
        worst: positions of the flagged rows, worst first.
        label: of all rows, as given.
        locale: of all rows.
        keys: the fraction, and which groups have a quota of their own.
    """
    columns = []
    if keys.per_label:
        columns.append(label)
    if keys.per_locale:
        columns.append(locale)

    group = np.zeros(len(label), np.int64)  # (rows,)
    for column in columns:
        codes = pd.factorize(column, sort=True)[0]
        group = group * (codes.max(initial=0) + 1) + codes

    # The product may be rounded to just below a whole number: 0.29 * 100 is 28.999999999999996.
    size = np.bincount(group)  # (groups,)
    quota = np.floor(np.round(keys.fraction * size, 9)).astype(np.int64)

    # How many rows of its group are worse than each flagged row.
    of_worst = group[worst]
    worse = pd.Series(of_worst).groupby(of_worst).cumcount().to_numpy()

    dropped = np.zeros(len(label), bool)
    dropped[worst] = worse < quota[of_worst]
    return dropped
