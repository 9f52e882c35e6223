"""What pre-training leaves beside an encoder: its score after each epoch. No heavy import here: others read it too."""

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
from competition.data.store import PRODUCT_KEY
from competition.scoring import metrics
from competition.scoring.metrics import Estimate

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
    """The mean loss per masked token, with its interval over titles."""
    return metrics.bootstrap(losses, metrics.mean)


def best_epoch(epochs: Sequence[Epoch]) -> Epoch | None:
    """The epoch whose weights are kept, the one with the lowest held-out loss; never the start, never one without."""
    sound = [epoch for epoch in epochs[1:] if math.isfinite(epoch.held_out.value)]
    return min(sound, key=lambda epoch: epoch.held_out.value, default=None)


def write_card(
    folder: Path,
    recipe: dict[str, Any],
    epochs: Sequence[Epoch],
    products: pd.DataFrame,
    losses: Sequence[TitleLosses],
    inputs: str,
) -> None:
    """Write the card and, for each held-out product, its masked tokens and their summed loss after each epoch."""
    titles = products[PRODUCT_KEY].assign(masked=losses[0][:, 1].astype(np.int64))
    for epoch, of_titles in zip(epochs, losses, strict=True):
        titles[f"loss_{epoch.number}"] = of_titles[:, 0]
    write_table(folder / _TITLES, titles, inputs)
    write_json(folder / _CARD, {"recipe": recipe, "epochs": [_as_json(epoch) for epoch in epochs]})


def _as_json(epoch: Epoch) -> dict[str, Any]:
    return asdict(epoch) | {"held_out": epoch.held_out.as_json()}


def read_epochs(folder: Path) -> list[Epoch]:
    """What each epoch scored, the start first."""
    epochs = read_json(folder / _CARD)["epochs"]
    return [Epoch(e["number"], Estimate.from_json(e["held_out"]), e["learned"]) for e in epochs]


def read_losses(folder: Path, inputs: str, epoch: int) -> TitleLosses:
    """The losses of the held-out titles after an epoch, in the order of the catalogue."""
    titles = read_table(folder / _TITLES, inputs)
    return titles[[f"loss_{epoch}", "masked"]].to_numpy(np.float64)
