"""Training that has diverged: what is not finite ends it, and nothing of it is kept."""

import math

import torch
from torch import Tensor, nn

from competition.config.base_recipe import TrainingKeys
from competition.config.encoder_recipe import EncoderRecipe
from competition.core.errors import Diverged
from competition.training.model_files import trained_weights


class LossWatch:
    """Checks each step's loss when the next step has begun, so that a GPU never waits for it."""

    def __init__(self, name: str, recipe: TrainingKeys, steps: int) -> None:
        """`name` is what messages call the training, which has `steps` optimiser steps."""
        self._name = name
        self._recipe = recipe
        self._steps = steps
        self._last: tuple[int, Tensor, float] | None = None

    def record(self, step: int, loss: Tensor, learning_rate: float) -> None:
        """Keep the loss of `step`, from 1, on the device; raise Diverged where the one before is not finite."""
        self.check()
        self._last = (step, loss, learning_rate)

    def check(self) -> None:
        """Raise Diverged where the last loss is not finite."""
        if self._last is None:
            return

        step, loss, learning_rate = self._last
        value = float(loss)
        if not math.isfinite(value):
            raise Diverged(
                f"{self._name} has diverged: the loss of step {step:,} of {self._steps:,} is {value} at a learning "
                f"rate of {learning_rate:.3g}: {advice(self._recipe)}."
            )
        self._last = None


def advice(recipe: TrainingKeys) -> str:
    """Return what to change of a recipe whose training diverges."""
    # The rates that the recipe sets, the most likely cause first.
    rates = [f"learning_rate ({recipe.learning_rate:g})"]
    if recipe.head_learning_rate:
        rates.append(f"head_learning_rate ({recipe.head_learning_rate:g})")
    epsilon = getattr(recipe, "epsilon", None)
    if epsilon is not None and getattr(recipe, "adversary", "none") != "none":
        rates.append(f"epsilon ({epsilon:g})")

    lower = rates[0] if len(rates) == 1 else f"{', '.join(rates[:-1])} or {rates[-1]}"

    # The longer of the two rules, and a recipe that names a number of steps is short.
    slower = f"warmup ({recipe.warmup:g})"
    if recipe.warmup_steps:
        slower = f"warmup_steps ({recipe.warmup_steps})"
    return f"lower {lower}, or raise {slower}"


def constant_output_advice(recipe: EncoderRecipe) -> str:
    """Return what to change of a recipe whose outputs do not depend on the text, as a sentence without a full stop."""
    return f"The rate may be too high or the steps too few: try to {advice(recipe)}"


@torch.no_grad()
def check_weights(name: str, model: nn.Module, recipe: TrainingKeys) -> None:
    """Raise Diverged where a weight of a model is not finite."""
    for weight, tensor in trained_weights(model).items():
        if not bool(torch.isfinite(tensor).all()):
            raise Diverged(
                f"{name} has diverged: its weights {weight} are not finite: {advice(recipe)}."
            )
