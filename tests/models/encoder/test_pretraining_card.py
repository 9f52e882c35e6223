"""What pre-training says of itself: scores that can be recomputed from the files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from competition.core.errors import CompError
from competition.models.encoder.pretraining_card import (
    Epoch,
    best_epoch,
    mlm_loss,
    read_epochs,
    read_losses,
    write_card,
)
from competition.scoring.intervals import Estimate

PRODUCTS = pd.DataFrame(
    {"locale": ["us", "jp", "es"], "product_id": ["a", "b", "c"], "title": ["A", "B", "C"]}
)
LOSSES = [np.array([[12.0, 2], [0.0, 0], [30.0, 4]]), np.array([[6.0, 2], [0.0, 0], [24.0, 4]])]


def epoch(number: int, loss: float) -> Epoch:
    """An epoch with this held-out loss."""
    return Epoch(
        number, Estimate(loss, loss - 0.5, loss + 0.5, 3), {"token": loss + 1} if number else {}
    )


def test_the_loss_is_the_mean_over_masked_tokens_not_over_titles() -> None:
    start, after = map(mlm_loss, LOSSES)
    assert start.value == (12 + 0 + 30) / (2 + 0 + 4)
    assert after.value == (6 + 0 + 24) / (2 + 0 + 4)
    assert start.queries == 3
    assert np.isnan(start.low)
    assert np.isnan(start.high)


def test_a_card_says_what_was_written_and_its_scores_are_those_of_the_table(tmp_path: Path) -> None:
    epochs = [
        Epoch(i, mlm_loss(losses), {"token": 2.5} if i else {}) for i, losses in enumerate(LOSSES)
    ]
    write_card(tmp_path, {"name": "x", "epochs": 1}, epochs, PRODUCTS, LOSSES, "inputs")
    assert read_epochs(tmp_path) == epochs
    table = pd.read_parquet(tmp_path / "held_out.parquet")
    assert list(table.columns) == ["locale", "product_id", "masked", "loss_0", "loss_1"]
    assert table[["locale", "product_id"]].equals(PRODUCTS[["locale", "product_id"]].astype("str"))
    assert table["masked"].tolist() == [2, 0, 4]
    assert table["masked"].dtype == np.int64
    for told in read_epochs(tmp_path):
        assert table[f"loss_{told.number}"].sum() / table["masked"].sum() == told.held_out.value
        losses = read_losses(tmp_path, "inputs", told.number)
        assert np.array_equal(losses, LOSSES[told.number])
        assert mlm_loss(losses) == told.held_out
    with pytest.raises(CompError, match="out of date"):
        read_losses(tmp_path, "other inputs", 0)


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([3.0, 2.0], 1),
        ([1.0, 3.0, 2.0, 2.5], 2),
        ([1.0, 2.0], 1),
        ([5.0, 2.0, 4.0, 2.0], 1),
        ([3.0], None),
        ([3.0, np.nan, 4.0, np.inf], 2),
        ([3.0, np.nan], None),
    ],
    ids=[
        "learned",
        "in between",
        "never the start",
        "the first of equals",
        "before the first",
        "diverged",
        "all diverged",
    ],
)
def test_the_best_epoch_has_the_lowest_loss_and_is_never_the_start(
    losses: list[float], best: int | None
) -> None:
    actual = best_epoch([epoch(number, loss) for number, loss in enumerate(losses)])
    assert (actual.number if actual else None) == best
