"""Targets of training rows where they are not the labels alone: soft labels, and weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from competition.core.lazy import pd
from competition.scoring.task import Kind


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
    def of_labels(cls, kind: Kind, rows: pd.DataFrame) -> Targets:
        """Return the labels of examples as they are, each row of weight 1."""
        return cls(kind.hard_target(rows), np.ones(len(rows)))

    def followed_by(self, target: NDArray[np.float64]) -> Targets:
        """Return these targets and behind them others of weight 1, `(rows, outputs)`."""
        weight = np.concatenate([self.weight, np.ones(len(target))])
        return Targets(np.concatenate([self.target, target]), weight)


def mix_teacher(
    targets: Targets,
    kind: Kind,
    ids: NDArray[np.int64],
    teacher: Kind,
    outputs: pd.DataFrame,
    share: float,
) -> Targets:
    """Mix a teacher's outputs into the targets of rows (Hinton et al. 2015), at a temperature of 1.

    Args:
        targets: what the rows teach so far.
        kind: of the student.
        ids: the example_id of each row.
        teacher: the kind of its outputs, its own or `classes`.
        outputs: the teacher's, each of a row that it never saw; joined by example_id.
        share: of the teacher, 0..1.

    Raises:
        KeyError: the teacher has no output for a row.
    """
    soft = teacher_targets(kind, teacher, outputs.set_index("example_id").loc[ids])
    return Targets((1 - share) * targets.target + share * soft, targets.weight)


def teacher_targets(
    kind: Kind, teacher: Kind, outputs: pd.DataFrame, hard: bool = False
) -> NDArray[np.float64]:
    """Return a teacher's outputs as targets of a student, `(rows, targets)`.

    Args:
        kind: of the student.
        teacher: the kind of its outputs, the student's own or `classes`.
        outputs: the teacher's.
        hard: whether its most probable class alone is the target.
    """
    soft = teacher.values(outputs)
    if teacher.role == "positive":
        soft = np.hstack([1 - soft, soft])  # (rows, 1) -> (rows, 2)
    if hard:
        soft = np.eye(soft.shape[1])[soft.argmax(axis=1)]

    if teacher.is_classes:
        return kind.targets_from_classes(soft)
    return kind.to_unit(soft) if teacher.role == "rating" else soft
