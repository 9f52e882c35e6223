"""By how much outputs deviate over rows, and among the products of a query."""

import math

import numpy as np
import pandas as pd
import pytest

from competition.scoring.collapse import MIN_DEVIATION, MIN_ROWS, Spread, constant_folds
from tests.esci import KINDS


def rows(queries: int, products: int) -> pd.DataFrame:
    """Queries with as many products each."""
    n = queries * products
    return pd.DataFrame(
        {
            "example_id": np.arange(n),
            "query_id": np.arange(n) // products,
            "product_id": np.arange(n),
        }
    )


def outputs(values: list[float]) -> pd.DataFrame:
    """A gain for each row."""
    return pd.DataFrame({"example_id": np.arange(len(values)), "gain": values})


def test_deviations_over_rows_and_within_queries() -> None:
    found = Spread.of(outputs([0.1, 0.3, 0.5, 0.9] * 5), rows(10, 2))
    assert found.rows == 20
    mean = (0.1 + 0.3 + 0.5 + 0.9) / 4
    assert found.over_rows == pytest.approx(
        math.sqrt(
            ((0.1 - mean) ** 2 + (0.3 - mean) ** 2 + (0.5 - mean) ** 2 + (0.9 - mean) ** 2) / 4
        )
    )
    # Five queries deviate by .1 and .1 from their mean, five by .2 and .2; each has one degree of
    # freedom.
    assert found.within_queries == pytest.approx(math.sqrt(5 * (2 * 0.1**2 + 2 * 0.2**2) / 10))
    assert found.fault is None


def test_the_output_that_spreads_most_counts() -> None:
    both = outputs([0.1, 0.3] * 10).assign(other=0.5)
    assert Spread.of(both, rows(10, 2)) == Spread.of(outputs([0.1, 0.3] * 10), rows(10, 2))


@pytest.mark.parametrize(
    ("values", "fault"),
    [([0.5, 0.5], "the text: over 20 rows"), ([0.5, 0.5 + MIN_DEVIATION], "the text")],
)
def test_a_model_that_says_the_same_of_every_row(values: list[float], fault: str) -> None:
    found = Spread.of(outputs(values * 10), rows(10, 2)).fault
    assert found is not None
    assert fault in found


def test_a_model_that_reads_the_query_alone() -> None:
    values = [0.05 * (i // 2) for i in range(20)]
    found = Spread.of(outputs(values), rows(10, 2))
    assert found.over_rows is not None
    assert found.over_rows > 0.1
    assert found.within_queries == 0
    assert found.fault == (
        "outputs do not depend on the product: among the products of a query they deviate by 0"
    )
    assert (
        Spread.of(outputs(values), rows(20, 1)).within_queries is None
    )  # no query has two products


def test_few_rows_and_equal_texts_say_nothing() -> None:
    few = MIN_ROWS - 1
    assert Spread.of(outputs([0.5] * few), rows(1, few)).fault is None
    same = rows(1, 2 * MIN_ROWS).assign(product_id="the same")
    assert Spread.of(outputs([0.5] * 2 * MIN_ROWS), same) == Spread(1, None, None)


def test_each_fold_is_looked_at_by_itself() -> None:
    n = 2 * MIN_ROWS
    said = outputs([0.5] * MIN_ROWS + [0.1, 0.9] * (MIN_ROWS // 2))
    folds = [(0, said[:MIN_ROWS]), (3, said[MIN_ROWS:])]
    found = list(constant_folds("c1", KINDS["gain"], folds, rows(n // 2, 2)))
    assert found == [
        f"c1, fold 0: outputs do not depend on the text: over {MIN_ROWS} rows they deviate by 0."
    ]
    assert not list(constant_folds("blend-task1", KINDS["score"], folds, rows(n // 2, 2)))
