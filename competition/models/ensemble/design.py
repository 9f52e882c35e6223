"""What a regression reads of some rows, with the scale that it was brought to by the training rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri

from competition.core.arrays import Array
from competition.models.ensemble.members import MemberOutputs, Positions
from competition.models.ensemble.meta_features import linear_features
from competition.scoring.task import Task

_MEMBER_SCALE = 2.0  # a member's output deserves more than one of a hundred features of text
_MIN_DEVIATION = 0.02  # of a feature: what varies less is not magnified
_TAIL = 0.002  # share of rows beyond which a normal score goes no further


@dataclass(frozen=True)
class Design:
    """The features of some rows, at one scale."""

    text: bool  # whether text is among the features
    base: Array  # (rows, features) of text, lists and locales
    members: dict[str, Array]  # (rows, features) of each

    def read(self, members: Iterable[str], at: Positions | slice = slice(None)) -> Array:
        """Return the base features beside those of some members, `(rows, features)`."""
        return np.hstack([self.base[at], *(self.members[name][at] for name in members)])


@dataclass(frozen=True)
class Standard:
    """What gives features a mean of 0 and, unless they hardly vary, one deviation over the training rows."""

    mean: Array  # (features,)
    deviation: Array  # (features,)

    @classmethod
    def fit(cls, train: Array) -> "Standard":
        """Take mean and deviation from the features of training rows, `(rows, features)`."""
        return cls(train.mean(axis=0), np.sqrt(train.var(axis=0) + _MIN_DEVIATION**2))

    def apply(self, values: Array, scale: float = 1.0) -> Array:
        """Return features with the deviation `scale`, `(rows, features)`."""
        return scale * (values - self.mean) / self.deviation


@dataclass(frozen=True)
class Ranks:
    """The values that features have among the training rows, and how many rows are below each."""

    values: list[Array]  # distinct and ascending, of each feature
    below: list[Array]  # (values + 1,), the last is the number of rows

    @classmethod
    def fit(cls, train: Array) -> "Ranks":
        """Count the values of training rows, `(rows, features)`."""
        values, below = [], []
        for column in train.T:
            distinct, counts = np.unique(column, return_counts=True)
            values.append(distinct)
            below.append(np.r_[0, counts.cumsum()].astype(np.float64))
        return cls(values, below)

    def apply(self, values: Array) -> Array:
        """Return each feature as the normal quantile of its rank among the training rows.

        Equal values are in the middle of their places. Counts, lengths and cosines have long tails,
        in which a linear model would take few rows for many.
        """
        scores = np.empty_like(values)
        for i, (distinct, below) in enumerate(zip(self.values, self.below, strict=True)):
            first = below[np.searchsorted(distinct, values[:, i], "left")]
            last = below[np.searchsorted(distinct, values[:, i], "right")]
            place = (first + last) / 2 / max(below[-1], 1)  # (rows,) 0..1
            scores[:, i] = ndtri(np.clip(place, _TAIL, 1 - _TAIL))
        return scores


@dataclass(frozen=True, eq=False)  # one is the same as itself alone: it holds arrays
class Scale:
    """What brings features to one scale, taken from those of all training rows; no label is looked at."""

    lists: Standard
    members: Mapping[str, Standard]
    ranks: Ranks | None = None  # of the features of text; None where they are not read
    text: Standard | None = None

    @classmethod
    def fit(
        cls,
        task: Task,
        members: Sequence[MemberOutputs],
        rows: pd.DataFrame,
        text: pd.DataFrame | None,
        other_tasks: Sequence[str],
    ) -> tuple["Scale", Design]:
        """Return the scale of training rows, and their features at it; for the arguments see `design`."""
        blocks, lists = linear_features(task, members, rows, other_tasks)
        values = _of_text(text, rows)
        ranks = standard = None
        if values is not None:
            ranks = Ranks.fit(values)
            standard = Standard.fit(ranks.apply(values))
        of_members = {name: Standard.fit(block) for name, block in blocks.items()}
        scale = cls(Standard.fit(lists), of_members, ranks, standard)
        return scale, scale._design(blocks, lists, values)

    def design(
        self,
        task: Task,
        members: Sequence[MemberOutputs],
        rows: pd.DataFrame,
        text: pd.DataFrame | None,
        other_tasks: Sequence[str],
    ) -> Design:
        """Return the features of some rows.

        Args:
            task: what is answered.
            members: their outputs for the rows.
            rows: the examples.
            text: features of text by example_id; None where they are not read.
            other_tasks: as in `tree_features`.
        """
        blocks, lists = linear_features(task, members, rows, other_tasks)
        return self._design(blocks, lists, _of_text(text, rows))

    def _design(self, blocks: Mapping[str, Array], lists: Array, text: Array | None) -> Design:
        base = [self.lists.apply(lists)]
        if text is not None and self.ranks is not None and self.text is not None:
            base.append(self.text.apply(self.ranks.apply(text)))
        return Design(
            text is not None,
            np.hstack(base),
            {
                name: self.members[name].apply(block, _MEMBER_SCALE)
                for name, block in blocks.items()
            },
        )


def _of_text(text: pd.DataFrame | None, rows: pd.DataFrame) -> Array | None:
    """Return the features of text of some rows, `(rows, features)`."""
    return None if text is None else text.loc[rows["example_id"]].to_numpy(np.float64)
