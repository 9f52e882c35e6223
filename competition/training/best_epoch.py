"""The epoch of a fine-tuning whose weights are kept, with its outputs of the held-out rows."""

import math

import pandas as pd
import torch
from torch import Tensor, nn

from competition.core.signals import critical_section
from competition.training.checkpoints import State, add_prefix, select_prefix
from competition.training.model_files import copy_weights


class BestEpoch:
    """The epoch whose weights are kept: the last one, or the best so far."""

    def __init__(self, weights: str, greater_is_better: bool = True) -> None:
        self._best = weights == "best"
        self._sign = 1 if greater_is_better else -1
        self.score = math.nan
        self.held_out = pd.DataFrame()
        self.weights: dict[str, Tensor] = {}

    def update(self, score: float, held_out: pd.DataFrame, model: nn.Module) -> None:
        """Keep an epoch if it is the best so far; of two that score the same, the earlier one is better."""
        if not self.weights or not self._best or self._sign * (score - self.score) > 0:
            # A signal between these would leave the score of one epoch with the weights of another.
            with critical_section():
                self.score = score
                self.held_out = held_out
                self.weights = copy_weights(model)

    def state(self) -> State:
        """Return the weights and the outputs of the held-out rows, by id."""
        if not self.weights:
            return State()

        ids = self.held_out["example_id"]
        outputs = self.held_out.drop(columns="example_id")
        rows = {
            "ids": torch.from_numpy(ids.to_numpy(copy=True)),
            "outputs": torch.from_numpy(outputs.to_numpy(copy=True)),
        }
        return State(
            add_prefix("weights", self.weights) | rows,
            {"score": self.score, "columns": list(outputs.columns)},
        )

    def restore(self, state: State) -> None:
        """Go back to where `state` was taken."""
        if not state.values:
            return

        self.score = state.values["score"]
        self.weights = select_prefix("weights", state.tensors)
        outputs = state.tensors["outputs"].numpy()
        self.held_out = pd.DataFrame(outputs, columns=state.values["columns"])
        self.held_out.insert(0, "example_id", state.tensors["ids"].numpy())
