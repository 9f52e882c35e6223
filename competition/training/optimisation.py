"""A model in training: what an optimiser step does, what it changes, and where the training stands."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Generic, Protocol, TypeVar, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import AdamW

from competition import processes
from competition.interruption import pending
from competition.recipe import Optimised
from competition.training.batches import Rows, epoch_batches
from competition.training.memory import halved
from competition.training.regularization import averaged
from competition.training.resume import State, named, tensors_of


def make_optimizer(model: nn.Module, learning_rate: float, weight_decay: float, fused: bool = False) -> AdamW:
    """AdamW; biases and norms (parameters of one dimension) do not decay. On GPUs it is always `fused`."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = fused or all(p.is_cuda for p in trained)
    return AdamW(groups, lr=learning_rate, fused=True if fused else None)


def schedule(step: int, steps: int, warmup: float) -> float:
    """The learning rate's factor at `step` (from 0): a linear rise over the share `warmup`, then a linear fall to 0."""
    rise = round(steps * warmup)
    if step < rise:
        return (step + 1) / rise
    return max(0.0, (steps - step) / max(1, steps - rise))


Model = TypeVar("Model", bound=nn.Module)


class Gradients(Protocol):
    """What counts the gradient of an optimiser batch; how, is the matter of what is trained."""

    token_budget: int  # how many tokens, with padding, a piece of the batch may hold

    def backward(self, chosen: Rows, step: int) -> Tensor:
        """Add the gradient of the rows `chosen` at optimiser step `step`; returns the batch's loss, on the device."""


class Optimisation(Generic[Model]):
    """A model in training: what changes from step to step, and where it stands."""

    def __init__(
        self,
        accelerator: Accelerator,
        model: Model,
        recipe: Optimised,
        count: int,
        make_gradients: Callable[[nn.Module], Gradients],
        seed: int,
    ) -> None:
        """The arguments are those of `fit`."""
        self.recipe, self._accelerator, self._model, self._count, self._seed = recipe, accelerator, model, count, seed
        model.to(accelerator.device)
        self._average = averaged(model, recipe.ema, accelerator.device) if recipe.ema else None
        optimizer = make_optimizer(model, recipe.learning_rate, recipe.weight_decay, recipe.fused)
        self._wrapped, self._optimizer = accelerator.prepare(model, optimizer)
        self._gradients = make_gradients(self._wrapped)
        self._per_epoch = -(-count // recipe.batch_size)
        self.steps = recipe.epochs * self._per_epoch
        self.step = self.epochs = 0  # optimiser steps that are done, and epochs, their evaluation included
        self.ending = False  # whether all processes end behind this step

    @property
    def evaluated(self) -> Model:
        """The model that is evaluated and kept: the one with averaged weights where the recipe asks for them."""
        return self._model if self._average is None else cast(Model, self._average.module)

    @property
    def learning_rate(self) -> float:
        """That of the next step; 0 behind the last."""
        return self.recipe.learning_rate * schedule(self.step, self.steps, self.recipe.warmup)

    @property
    def rows(self) -> int:
        """The rows seen so far."""
        epochs, steps = divmod(self.step, self._per_epoch)
        return epochs * self._count + steps * self.recipe.batch_size

    def epoch(self) -> Iterator[tuple[Rows, Tensor]]:
        """Take the steps that are left of the epoch; yields each one's rows and loss.

        A signal must be held back meanwhile, since an interrupted step is half a step.
        """
        self._wrapped.train()
        batches = epoch_batches(self._count, self.recipe.batch_size, self._seed, self.epochs)
        for chosen in islice(batches, self.step - self.epochs * self._per_epoch, None):
            yield chosen, self._take(chosen)

    def _take(self, chosen: Rows) -> Tensor:
        """One optimiser step."""
        loss = self._backward(chosen)
        self._accelerator.clip_grad_norm_(self._wrapped.parameters(), self.recipe.clip_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._average is not None:
            self._average.update_parameters(self._model)
        self.step += 1
        self.ending = processes.any_of(pending())
        return loss

    def _backward(self, chosen: Rows) -> Tensor:
        """Count the gradient of a batch, in smaller pieces each time that the device's memory runs out."""
        while True:
            try:
                return self._gradients.backward(chosen, self.step)
            except torch.OutOfMemoryError:
                pass  # what failed is freed only when this block is left
            self._optimizer.zero_grad()
            budget = halved(self._accelerator, self._gradients.token_budget, self.recipe.max_length)
            self._gradients.token_budget = budget

    def state(self) -> State:
        """All that steps change. The learning rate and the order of rows follow from the step."""
        budget = self._gradients.token_budget
        values = {"step": self.step, "epochs": self.epochs, "token_budget": budget}
        if self.epochs == self.recipe.epochs:
            return State(values=values)  # nothing is trained any more
        tensors = named("model", self._model.state_dict())
        if self._average is not None:
            tensors |= named("average", self._average.state_dict())
        for number, moments in self._optimizer.state_dict()["state"].items():
            tensors |= named(f"optimizer/{number}", moments)
        return State(tensors, values)

    def restore(self, state: State) -> None:
        """Be where one was when `state` was taken; the token budget is the smaller one."""
        self.step, self.epochs = state.values["step"], state.values["epochs"]
        self._gradients.token_budget = min(self._gradients.token_budget, state.values["token_budget"])
        if self.epochs == self.recipe.epochs:
            return
        self._model.load_state_dict(tensors_of("model", state.tensors))
        if self._average is not None:
            self._average.load_state_dict(tensors_of("average", state.tensors))
        content, moments = self._optimizer.state_dict(), tensors_of("optimizer", state.tensors)
        numbers = {name.partition("/")[0] for name in moments}
        content["state"] = {int(number): tensors_of(number, moments) for number in numbers}
        self._optimizer.load_state_dict(content)
