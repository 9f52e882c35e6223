"""How the flags of an audit agree with people: where several judged a row, their disagreement is real label noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from competition.core.arrays import Array
from competition.scoring import intervals, metrics
from competition.scoring.class_metrics import auc, auc_per_query
from competition.scoring.intervals import Estimate


@dataclass(frozen=True)
class RaterAgreement:
    """The audited rows that two people or more judged, and how often these disagree; intervals are over queries."""

    rows: int
    flagged: int
    disagreed: int  # rows whose raters gave different labels
    of_flagged: Estimate  # the share of flagged rows whose raters disagree
    of_others: Estimate
    difference: Estimate
    # How often a row whose raters disagree has the lower quality of two: 0.5 is chance.
    auc: Estimate

    @property
    def sentence(self) -> str:
        """What the numbers say."""
        if not self.difference.has_interval:
            return "There are too few queries to say whether flags and raters agree."
        if not self.difference.differs:
            return "Flagged rows are not disagreed on significantly more or less often than others."

        more = "more" if self.difference.value > 0 else "less"
        return f"Raters disagree {more} often on flagged rows than on others."

    def as_json(self) -> Mapping[str, object]:
        """Return the numbers as a JSON file holds them."""
        return {
            key: value.as_json() if isinstance(value, Estimate) else value
            for key, value in vars(self).items()
        }


def rater_agreement(
    flags: pd.DataFrame, examples: pd.DataFrame, raters: Sequence[str]
) -> RaterAgreement | None:
    """Compare the flags of an audit with the labels of single people.

    Args:
        flags: of the audit: example_id, rank (missing where a row is not flagged) and quality.
        examples: example_id, query_id and a column of labels per rater, missing where one gave none.
        raters: these columns.

    Returns:
        None where no audited row was judged by two people.
    """
    judged = examples[["example_id", "query_id", *raters]]
    rows = flags.merge(judged, on="example_id").sort_values("example_id")
    rows = rows[rows[list(raters)].notna().sum(axis=1) >= 2]
    if rows.empty:
        return None

    disagreed = (rows[list(raters)].nunique(axis=1) > 1).to_numpy()
    flagged = rows["rank"].notna().to_numpy()
    query = rows["query_id"].to_numpy(np.int64)

    # What each query adds: flagged rows and those disagreed on, then the same of other rows.
    masks = (flagged & disagreed, flagged, ~flagged & disagreed, ~flagged)
    totals = [metrics.total_per_query(query, mask.astype(np.float64))[1] for mask in masks]
    counts = np.column_stack([total[:, 0] for total in totals])  # (queries, 4)
    quality = rows["quality"].to_numpy(np.float64)
    worse = np.column_stack([quality, 1 - quality])  # (rows, 2)
    _, pairs = auc_per_query(query, disagreed.astype(np.int64), worse)
    return RaterAgreement(
        len(rows),
        int(flagged.sum()),
        int(disagreed.sum()),
        intervals.bootstrap(counts[:, :2], metrics.mean, within=(0, 1)),
        intervals.bootstrap(counts[:, 2:], metrics.mean, within=(0, 1)),
        intervals.bootstrap(counts, _difference, within=(-1, 1)),
        intervals.bootstrap(pairs, auc, within=(0, 1)),
    )


def _difference(sums: Array) -> Array:
    """Return the share of flagged rows that are disagreed on minus that of others, of sums `(…, 4)`."""
    return metrics.mean(sums[..., :2]) - metrics.mean(sums[..., 2:])
