"""What training does about labels that are probably wrong: drop the rows, weight them, or soften their labels.

Each action takes the flags of an audit and rows that are trained on, joined by example_id; rows
that were not audited keep their targets and weights.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.data.targets import Targets
from competition.scoring.task import Kind

Ids = NDArray[np.int64]


def dropped_ids(flags: pd.DataFrame) -> Ids:
    """Return the example_ids that training leaves out."""
    return np.asarray(flags.loc[flags["dropped"], "example_id"], np.int64)


def weight_by_quality(targets: Targets, ids: Ids, flags: pd.DataFrame) -> Targets:
    """Return the targets, weighted by the quality of the labels.

    Qualities are divided by their mean over the rows: batches do not care, but the regularisation
    of trees counts weights, and rows that were not audited weigh 1.

    Args:
        targets: of the rows, in their order.
        ids: the example_id of each row.
        flags: of an audit, see `audit.Audit`.
    """
    quality = flags.set_index("example_id")["quality"].reindex(ids).to_numpy(np.float64)  # (rows,)
    mean = np.nanmean(quality) if not np.isnan(quality).all() else 1.0
    factor = np.nan_to_num(quality / mean, nan=1.0)
    return Targets(targets.target, targets.weight * factor)


def soften_labels(targets: Targets, kind: Kind, ids: Ids, flags: pd.DataFrame) -> Targets:
    """Return the targets, rows that would be dropped with the suggested label beside the given one.

    The suggested label gets the share confidence / (quality + confidence), the given one the rest.

    Args:
        targets: of the rows, in their order.
        kind: of the recipe, which decides what a target is.
        ids: the example_id of each row.
        flags: of an audit, see `audit.Audit`.
    """
    suspects = flags[flags["dropped"]].set_index("example_id")
    # Positions of those that are trained on.
    at = np.flatnonzero(np.isin(ids, suspects.index))
    wrong = suspects.loc[ids[at]]  # (wrong rows,)

    quality = wrong["quality"].to_numpy(np.float64)
    confidence = wrong["confidence"].to_numpy(np.float64)
    share = (confidence / (quality + confidence))[:, None]  # (wrong rows, 1)

    labels = kind.labels
    one_hot = np.eye(len(labels))
    given = one_hot[labels.codes(wrong["given"])]  # (wrong rows, labels)
    suggested = one_hot[labels.codes(wrong["suggested"])]

    target = targets.target.copy()  # (rows, outputs)
    target[at] = kind.targets_from_classes((1 - share) * given + share * suggested)
    return Targets(target, targets.weight)
