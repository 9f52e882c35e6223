"""The scores of a pre-training after each epoch, beside its encoder. No heavy import here."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.core.json_files import read_json, write_json
from competition.core.parquet import read_table, write_table
from competition.data.border import PRODUCT_KEY
from competition.scoring import intervals, metrics
from competition.scoring.intervals import Estimate

_CARD = "pretraining.json"
_TITLES = "held_out.parquet"
TitleLosses = NDArray[
    np.float64
]  # (titles, 2): the sum of the masked tokens' losses, and their number


@dataclass(frozen=True)
class Epoch:
    """A pre-training's state after an epoch; number 0 is its start."""

    number: int
    held_out: Estimate  # the masked-language-modelling loss, its interval over titles
    learned: dict[str, float]  # task -> mean training loss in this epoch


def mlm_loss(losses: TitleLosses) -> Estimate:
    """Return the mean loss per masked token, with its interval over titles."""
    return intervals.bootstrap(losses, metrics.mean)


def best_epoch(epochs: Sequence[Epoch]) -> Epoch | None:
    """Return the epoch with the lowest held-out loss, whose weights are kept.

    It is never the start, and never one whose loss is NaN.
    """
    finite = [epoch for epoch in epochs[1:] if math.isfinite(epoch.held_out.value)]
    return min(finite, key=lambda epoch: epoch.held_out.value, default=None)


def write_card(
    folder: Path,
    recipe: dict[str, Any],
    epochs: Sequence[Epoch],
    products: pd.DataFrame,
    losses: Sequence[TitleLosses],
    inputs: str,
) -> None:
    """Write the card and a table of the held-out titles.

    For each held-out product it has the number of masked tokens and their summed loss after each
    epoch.
    """
    titles = products[PRODUCT_KEY].assign(masked=losses[0][:, 1].astype(np.int64))
    for epoch, epoch_losses in zip(epochs, losses, strict=True):
        titles[f"loss_{epoch.number}"] = epoch_losses[:, 0]

    write_table(folder / _TITLES, titles, inputs)
    write_json(folder / _CARD, {"recipe": recipe, "epochs": [_as_json(epoch) for epoch in epochs]})


def _as_json(epoch: Epoch) -> dict[str, Any]:
    return asdict(epoch) | {"held_out": epoch.held_out.as_json()}


def read_epochs(folder: Path) -> list[Epoch]:
    """Return the scores of each epoch, the start first."""
    epochs = read_json(folder / _CARD)["epochs"]
    return [Epoch(e["number"], Estimate.from_json(e["held_out"]), e["learned"]) for e in epochs]


def read_losses(folder: Path, inputs: str, epoch: int) -> TitleLosses:
    """Return the losses of held-out titles after an epoch, `(titles, 2)`, in the catalogue's order."""
    titles = read_table(folder / _TITLES, inputs)
    return titles[[f"loss_{epoch}", "masked"]].to_numpy(np.float64)
