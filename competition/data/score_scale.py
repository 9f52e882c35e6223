"""A scale for scores that have none, such as those of a tool that ranks: what rows were labelled that score alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from competition.core.arrays import Array, Codes
from competition.core.errors import InputError
from competition.core.lazy import pd
from competition.scoring.contest import Contest
from competition.scoring.labels import PAPER
from competition.scoring.task import Kind

if TYPE_CHECKING:
    from sklearn.isotonic import IsotonicRegression


@dataclass(frozen=True)
class ScoreScale:
    """Turns scores into outputs of a kind that students learn.

    Where labels are classes, the share of rows that have a class or one of more gain rises with the score, by isotonic
    regression (Barlow et al. 1972). Those of two classes never cross, so their differences are probabilities. Where
    labels are numbers, the number rises. Of the labelled rows' scores only the order counts, over all queries.
    """

    kind: Kind
    _steps: list[IsotonicRegression]
    _order: Codes  # of the classes, by gain

    @classmethod
    def fit(cls, contest: Contest, student: Kind, scores: Array, rows: pd.DataFrame) -> ScoreScale:
        """Learn a scale from labelled rows.

        Args:
            contest: whose labels they have.
            student: of a contest whose labels are numbers, the kind that the outputs become.
            scores: held-out ones, `(rows,)`.
            rows: the examples.

        Raises:
            InputError: no row has a label.
        """
        kind = contest.kinds.get("classes", student)
        target = kind.numeric_target(rows)
        known = ~np.isnan(target)
        if not known.any():
            raise InputError(
                "A teacher's scores get their scale from labelled training rows, and none of the rows that its student "
                "learns from has a label: name a teacher of another kind."
            )

        order = np.zeros(0, np.int64)
        reached = [target[known]]
        if kind.is_classes:
            order = np.argsort(contest.labels.gains[PAPER], kind="stable")
            level = np.argsort(order)[target[known].astype(np.int64)]
            reached = [(level >= step).astype(np.float64) for step in range(1, len(order))]
        return cls(kind, [_rising(scores[known], each) for each in reached], order)

    def outputs(self, scores: pd.DataFrame) -> pd.DataFrame:
        """Return scores by example_id as outputs of `kind`, in the same order."""
        values = scores["score"].to_numpy(np.float64)
        risen = np.column_stack([step.predict(values) for step in self._steps])  # (rows, steps)

        if self.kind.is_classes:
            every = np.ones((len(values), 1))
            outputs = np.empty((len(values), len(self._order)))
            # Rounding may leave less than nothing between two that are alike.
            outputs[:, self._order] = -np.diff(np.hstack([every, risen, 0 * every]), axis=1).clip(
                max=0
            )
        else:
            outputs = self.kind.from_unit(risen) if self.kind.role == "rating" else risen
        frame = pd.DataFrame(outputs, columns=list(self.kind.outputs))
        return frame.assign(example_id=scores["example_id"].to_numpy())


def _rising(scores: Array, target: Array) -> IsotonicRegression:
    """Return the rising function of the scores that is nearest to a target, `(rows,)` each."""
    from sklearn.isotonic import IsotonicRegression

    return IsotonicRegression(out_of_bounds="clip").fit(scores, target)
