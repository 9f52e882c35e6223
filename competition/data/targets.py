"""Targets of training rows where they are not the labels alone: soft labels, and weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from competition.core.lazy_pandas import pd
from competition.scoring.tasks import KINDS, hard_target, targets_from_classes


@dataclass(frozen=True)
class Targets:
    """The targets of some rows, in the order in which they are trained on.

    Attributes:
        target: a distribution over the classes, or a gain, `(rows, outputs)`.
        weight: at least 0, `(rows,)`.
    """

    target: NDArray[np.float64]
    weight: NDArray[np.float64]

    @classmethod
    def of_labels(cls, kind: str, rows: pd.DataFrame) -> Targets:
        """Return the labels of examples as they are, each row of weight 1."""
        return cls(hard_target(kind, rows), np.ones(len(rows)))


# The kinds of teacher that a student of each kind may learn from: its own outputs follow from theirs.
TEACHER_KINDS = {
    "classes": ("classes",),
    "gain": ("classes", "gain"),
    "substitute": ("classes", "substitute"),
}


def mix_teacher(
    targets: Targets,
    kind: str,
    ids: NDArray[np.int64],
    teacher: str,
    outputs: pd.DataFrame,
    share: float,
) -> Targets:
    """Mix a teacher's outputs into the targets of rows (Hinton et al. 2015), at a temperature of 1.

    Args:
        targets: what the rows teach so far.
        kind: of the student.
        ids: the example_id of each row.
        teacher: the kind of its outputs, one of TEACHER_KINDS[kind].
        outputs: the teacher's, each of a row that it never saw; joined by example_id.
        share: of the teacher, 0..1.

    Raises:
        KeyError: the teacher has no output for a row.
    """
    columns = list(KINDS[teacher].outputs)
    soft = outputs.set_index("example_id").loc[ids, columns].to_numpy(np.float64)
    if teacher == "classes":
        soft = targets_from_classes(kind, soft)
    elif teacher == "substitute":
        soft = np.hstack([1 - soft, soft])  # (rows, 1) -> (rows, 2)

    return Targets((1 - share) * targets.target + share * soft, targets.weight)
