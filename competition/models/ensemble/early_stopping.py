"""Trees are grown until rows that they do not learn from are predicted no better, and answer these on the way."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import lightgbm as lgb
import numpy as np

from competition.core.arrays import Array
from competition.models.ensemble.members import Positions
from competition.models.ensemble.training_table import TrainingTable
from competition.scoring.metrics import RankedLists

# LightGBM's: predictions and data set -> name, value, whether higher is better.
Metric = Callable[[Array, lgb.Dataset], tuple[str, float, bool]]

_EVERY = 5  # trees between two looks at the folds that stop
_PATIENCE = 10  # looks without an improvement


@dataclass
class EarlyStop:
    """The loss of the trees on one watched part of the rows, and where it stopped getting better."""

    losses: list[float] = field(default_factory=list)  # at each look, lower is better

    @property
    def stalled(self) -> bool:
        """Whether the last looks brought no improvement."""
        return bool(self.losses) and len(self.losses) - int(np.argmin(self.losses)) > _PATIENCE

    def record(self, loss: float) -> bool:
        """Add the loss of another look, unless it stalled before; return whether it is the lowest.

        How long training goes on depends on labels of the other watched parts, which this one must
        not know.
        """
        if self.stalled:
            return False
        self.losses.append(loss)
        return int(np.argmin(self.losses)) == len(self.losses) - 1

    def best_trees(self, grown: int) -> int:
        """Return with how many of the trees that were grown the loss was lowest."""
        return min(grown, _EVERY * (int(np.argmin(self.losses)) + 1))


def grow(
    booster: lgb.Booster,
    parts: Sequence[lgb.Dataset],
    watched: int,
    trees: int,
    ndcg: Metric | None,
) -> tuple[list[EarlyStop], list[list[Array]]]:
    """Grow trees until none of the first `watched` parts gets better.

    Returns:
        For each of these, its losses, and what the trees predict of all parts where the loss is lowest.
    """
    predicted: dict[lgb.Dataset, Array] = {}

    def look(said: Array, part: lgb.Dataset) -> list[tuple[str, float, bool]]:
        predicted[part] = said
        return [ndcg(said, part)] if ndcg else []

    stops = [EarlyStop() for _ in range(watched)]
    kept: list[list[Array]] = [[] for _ in stops]
    for tree in range(1, trees + 1):
        finished = booster.update()
        if tree % _EVERY == 0 or tree == trees or finished:
            scores = booster.eval_valid(look)[:watched]
            for i, (stop, score) in enumerate(zip(stops, scores, strict=True)):
                if stop.record(-score.metric_value if score.maximize else score.metric_value):
                    # The next look overwrites it.
                    kept[i] = [predicted[part].copy() for part in parts]
            if finished or all(stop.stalled for stop in stops):
                break
    return stops, kept


def ndcg_metric(parts: Mapping[lgb.Dataset, Positions], table: TrainingTable) -> Metric:
    """Return the mean nDCG of a part, ties by product_id, over the queries that it can grade."""
    query = table.rows["query_id"].to_numpy(np.int64)
    gain = table.task.labels.gain(table.rows["label"])
    tie = table.ties
    graded = {part: table.is_graded(at) for part, at in parts.items()}
    lists = {}
    for part, at in parts.items():
        rows = at[graded[part]]
        lists[part] = RankedLists(query[rows], gain[rows], tie[rows])

    def score(predicted: Array, part: lgb.Dataset) -> tuple[str, float, bool]:
        ndcg = lists[part].ndcg(predicted[graded[part]])  # (queries,), NaN without gains
        known = ~np.isnan(ndcg)
        return "nDCG", float(ndcg[known].mean()) if known.any() else 0.0, True

    return score
