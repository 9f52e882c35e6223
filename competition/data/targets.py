"""What rows teach where that is not their label alone: soft targets, and weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from competition.core.lazy_pandas import pd
from competition.scoring.tasks import KINDS, hard_target, targets_from_classes


@dataclass(frozen=True)
class Targets:
    """What some rows teach, in the order in which they are trained on.

    Attributes:
        target: a distribution over the classes, or a gain, `(rows, outputs)`.
        weight: at least 0, `(rows,)`.
    """

    target: NDArray[np.float64]
    weight: NDArray[np.float64]

    @classmethod
    def of_labels(cls, kind: str, rows: pd.DataFrame) -> Targets:
        """The labels of examples as they are, each row of weight 1."""
        return cls(hard_target(kind, rows), np.ones(len(rows)))


# What a student of a kind may learn from: outputs of these kinds say what it is to say itself.
TEACHER_KINDS = {
    "classes": ("classes",),
    "gain": ("classes", "gain"),
    "substitute": ("classes", "substitute"),
}


def mix_teacher(
    lesson: Targets,
    kind: str,
    ids: NDArray[np.int64],
    teacher: str,
    outputs: pd.DataFrame,
    share: float,
) -> Targets:
    """Mix what the teacher says of the rows into their targets (Hinton et al. 2015), at a temperature of 1.

    Args:
        lesson: what rows teach so far.
        kind: of the student.
        ids: the example_id of each row.
        teacher: the kind of its outputs, one of TEACHERS[kind].
        outputs: the teacher's, each of a row that it never saw; joined by example_id.
        share: of the teacher, 0..1.

    Raises:
        KeyError: the teacher says nothing of a row.
    """
    said = (
        outputs.set_index("example_id").loc[ids, list(KINDS[teacher].outputs)].to_numpy(np.float64)
    )
    if teacher == "classes":
        said = targets_from_classes(kind, said)
    elif teacher == "substitute":
        said = np.hstack([1 - said, said])
    return Targets((1 - share) * lesson.target + share * said, lesson.weight)
