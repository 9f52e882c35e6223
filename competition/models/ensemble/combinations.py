"""Fitted ways of combining members that are made of others: mixtures, and decisions behind what was combined."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from competition.core.arrays import Array
from competition.models.ensemble.cut_points import apply_cuts
from competition.models.ensemble.members import answer_values
from competition.models.ensemble.results import Answered, Combination
from competition.models.ensemble.thresholds import alternating_normalization, apply_factors
from competition.scoring.task import Task

# Of the regression and the trees; and of both, with a member that is made of trees.
_SHARES = {2: (1 / 2, 1 / 2), 3: (1 / 2, 1 / 4, 1 / 4)}


def mixture(parts: Sequence[Array]) -> Array:
    """Return what the parts of a mixture say together, `(rows, outputs)`."""
    weighted = [share * part for share, part in zip(_SHARES[len(parts)], parts, strict=True)]
    return np.asarray(np.sum(weighted, axis=0), np.float64)


@dataclass(frozen=True)
class FittedMixture:
    """A regression on members and text, trees on text alone, and a member as it is where there is one."""

    regression: Combination
    trees: Combination
    member: str | None

    def answer(self, rows: Answered) -> Array:
        """Return the mixture, `(rows, outputs)`."""
        parts = [self.regression.answer(rows), self.trees.answer(rows.without_members)]
        parts += [
            answer_values(rows.task, rows.kind, member.kind, member.test)
            for member in rows.members
            if member.name == self.member
        ]
        return mixture(parts)


@dataclass(frozen=True)
class Decisions:
    """What was learned for a fold behind the combined members; empty where nothing was."""

    prior: list[float] = field(default_factory=list)  # of the classes, see `thresholds.py`
    mass: list[float] = field(default_factory=list)
    factors: list[float] = field(default_factory=list)
    cuts: list[float] = field(default_factory=list)  # between the levels, see `cut_points.py`

    def apply(self, task: Task, values: Array) -> Array:
        """Return combined outputs, `(rows, outputs)`, with the decisions made."""
        if self.prior:
            values = alternating_normalization(values, np.array(self.prior), np.array(self.mass))
        if self.factors:
            values = apply_factors(np.array(self.factors), values)
        if self.cuts:
            values = apply_cuts(task, np.array(self.cuts), values)
        return values


@dataclass(frozen=True)
class Decided:
    """Members combined, and the decisions behind them: all that answers for a fold."""

    combined: Combination
    decisions: Decisions

    def answer(self, rows: Answered) -> Array:
        """Return what the ensemble of the fold says, `(rows, outputs)`."""
        return self.decisions.apply(rows.task, self.combined.answer(rows))
