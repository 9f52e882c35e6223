"""Outputs that do not depend on the text: a collapsed model says the same of every row, or of every product."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from competition.core.lazy import pd
from competition.scoring.task import Kind

# Probabilities and gains that depend on the text deviate by some hundredths at least, those of a
# model that has collapsed by less than a thousandth (benchmarks/RESULTS.md).
MIN_DEVIATION = 0.002
MIN_ROWS = 20  # rows that say anything of this


@dataclass(frozen=True)
class Spread:
    """By how much outputs deviate: over all rows, and from the mean of their query; None where rows are too few."""

    rows: int
    over_rows: float | None
    within_queries: float | None

    @classmethod
    def of(cls, outputs: pd.DataFrame, examples: pd.DataFrame) -> "Spread":
        """Return the spread of the output that spreads most.

        Args:
            outputs: example_id and a run's outputs.
            examples: their rows, and maybe others: example_id, query_id and product_id.
        """
        ids = examples[["example_id", "query_id", "product_id"]]
        rows = ids.merge(outputs, on="example_id", validate="one_to_one")

        # The same text twice says nothing.
        rows = rows.drop_duplicates(["query_id", "product_id"])

        values = rows[outputs.columns.drop("example_id")]  # (rows, outputs)
        query = rows["query_id"]
        several = query.groupby(query).transform("size") > 1

        # Deviations from the mean of the query, of queries with several rows.
        inside = (values - values.groupby(query).transform("mean"))[several]

        over_rows = within_queries = None
        if len(rows) >= MIN_ROWS:
            over_rows = _largest(values.std(ddof=0))
        if len(inside) >= MIN_ROWS:
            # Each query's mean takes one degree of freedom.
            freedom = len(inside) - query[several].nunique()
            within_queries = _largest(np.sqrt((inside**2).sum() / freedom))
        return cls(len(rows), over_rows, within_queries)

    @property
    def fault(self) -> str | None:
        """The fault of the outputs, without a full stop; None where nothing is."""
        if self.over_rows is not None and self.over_rows < MIN_DEVIATION:
            return f"outputs do not depend on the text: over {self.rows:,} rows they deviate by {self.over_rows:.2g}"

        if self.within_queries is not None and self.within_queries < MIN_DEVIATION:
            return (
                "outputs do not depend on the product: among the products of a query they deviate by "
                f"{self.within_queries:.2g}"
            )

        return None


def _largest(deviations: pd.Series) -> float:
    return float(np.asarray(deviations, np.float64).max())


def constant_folds(
    name: str, kind: Kind, folds: Iterable[tuple[int, pd.DataFrame]], examples: pd.DataFrame
) -> Iterator[str]:
    """Yield a sentence for each fold of a run whose held-out outputs do not depend on the text.

    Scores of an ensemble have no scale of their own and are not looked at.

    Args:
        name: of the run.
        kind: of its outputs.
        folds: the number of each fold and its held-out outputs.
        examples: all rows.
    """
    if kind.role == "score":
        return

    for number, outputs in folds:
        fault = Spread.of(outputs, examples).fault
        if fault is not None:
            yield f"{name}, fold {number}: {fault}."
