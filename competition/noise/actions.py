"""What training does about labels that are probably wrong: leave the rows out, weigh them, or soften their labels.

Each takes the flags of an audit and rows that are trained on, joined by example_id; rows that were
not audited teach what they taught before.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.data.targets import Targets
from competition.scoring.tasks import LABELS, label_codes, targets_from_classes

Ids = NDArray[np.int64]


def dropped_ids(flags: pd.DataFrame) -> Ids:
    """The example_ids that training leaves out."""
    return flags.loc[flags["dropped"], "example_id"].to_numpy(np.int64)


def weight_by_quality(lesson: Targets, ids: Ids, flags: pd.DataFrame) -> Targets:
    """Rows weigh by the quality of their labels.

    Qualities are divided by their mean over the rows: batches do not care, but the regularisation
    of trees counts weights, and rows that were not audited weigh 1.
    """
    quality = flags.set_index("example_id")["quality"].reindex(ids).to_numpy(np.float64)
    mean = np.nanmean(quality) if not np.isnan(quality).all() else 1.0
    return Targets(lesson.target, lesson.weight * np.nan_to_num(quality / mean, nan=1.0))


def soften_labels(lesson: Targets, kind: str, ids: Ids, flags: pd.DataFrame) -> Targets:
    """Rows that would be dropped learn the suggested label beside the given one, by how probable the two are.

    The suggested label gets its share confidence / (quality + confidence), the given one the rest.
    """
    wrong = flags[flags["dropped"]].set_index("example_id")
    at = np.flatnonzero(np.isin(ids, wrong.index))
    wrong = wrong.loc[ids[at]]
    share = (wrong["confidence"] / (wrong["quality"] + wrong["confidence"])).to_numpy(np.float64)[
        :, None
    ]
    one_hot = np.eye(len(LABELS))
    given, suggested = (one_hot[label_codes(wrong[column])] for column in ("given", "suggested"))
    target = lesson.target.copy()
    target[at] = targets_from_classes(kind, (1 - share) * given + share * suggested)
    return Targets(target, lesson.weight)
