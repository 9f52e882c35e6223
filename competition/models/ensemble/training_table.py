"""The rows that a stacker's trees learn from, with their features as they are or in bins that all models share."""

from dataclasses import dataclass, replace
from functools import cached_property

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.config.recipe import EnsembleRecipe
from competition.core.arrays import Array
from competition.core.threads import cores
from competition.models.ensemble.members import Positions
from competition.models.lexical.lexical import TREE_DEFAULTS
from competition.scoring.task import Task

# Training rows from which all models share their bins: to find and fill them took a sixth of a fit.
SHARED_BINS = 250_000
_BIN_ROWS = 100_000  # from which shared bins are found


@dataclass(frozen=True)
class TrainingTable:
    """The rows that trees learn from, are stopped by and answer, with the task that they answer."""

    task: Task
    rows: pd.DataFrame
    # (rows, features), in the order of `rows`; no row where bins are shared.
    features: NDArray[np.float32]
    graded: NDArray[np.bool_] | None = None  # (rows,) which may say when to stop; None for all

    # All features in bins, which were found without any label; None where each model has its own.
    binned: lgb.Dataset | None = None

    @cached_property
    def ties(self) -> NDArray[np.int64]:
        """The place of each row's product_id among all in order, `(rows,)`, by which equal scores are ranked."""
        return pd.factorize(self.rows["product_id"], sort=True)[0].astype(np.int64)

    def with_shared_bins(self, recipe: EnsembleRecipe) -> "TrainingTable":
        """Return the table with bins for all models instead of the features, where it has many rows."""
        query = self.rows["query_id"].to_numpy()
        # A part of the bins keeps the order of all rows, and lists must follow each other.
        in_order = recipe.method != "lambdarank" or bool((query[1:] >= query[:-1]).all())
        if len(self.rows) < SHARED_BINS or not in_order:
            return self

        parameters = tree_parameters(recipe) | {"bin_construct_sample_cnt": _BIN_ROWS}
        every_core = parameters | {"num_threads": cores()}
        binned = lgb.Dataset(self.features, np.zeros(len(self.rows)), params=every_core).construct()
        # Parts are taken while other models train, whose threads LightGBM would set to as many.
        binned.params = parameters | {"num_threads": 1}
        return replace(self, binned=binned, features=self.features[:0].copy())

    def is_graded(self, at: Positions) -> NDArray[np.bool_]:
        """Return which of some rows may say when to stop, `(rows,)`."""
        return np.ones(len(at), bool) if self.graded is None else self.graded[at]

    def dataset(
        self,
        at: Positions,
        y: Array,
        weight: Array | None = None,
        group: NDArray[np.int64] | None = None,
        reference: lgb.Dataset | None = None,
    ) -> lgb.Dataset:
        """Return some rows as LightGBM reads them.

        Args:
            at: their positions; ascending where bins are shared.
            y: what is learned of each, `(rows,)`.
            weight: of each; all weigh the same unless given.
            group: the lengths of their lists.
            reference: has the bins of these rows, too, unless all models share them.
        """
        if self.binned is None:
            return lgb.Dataset(
                self.features[at], y, reference=reference, weight=weight, group=group
            )

        part = self.binned.subset(at.tolist()).construct()
        part.set_label(y)
        part.set_weight(weight)
        part.set_group(group)
        return part


def tree_parameters(recipe: EnsembleRecipe) -> dict[str, object]:
    """Return what LightGBM is asked for whatever is learned."""
    # Each tree reads a fifth of the features, a column each. Row by row, LightGBM would copy them
    # for every tree; the sums are the same, and no thread shares one.
    return TREE_DEFAULTS | {
        "force_row_wise": False,
        "force_col_wise": True,
        "learning_rate": recipe.learning_rate,
        "num_leaves": recipe.num_leaves,
        "min_data_in_leaf": recipe.min_data_in_leaf,
    }
