"""A model in training: what an optimiser step does, what it changes, and where the training stands."""

import copy
import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import AdamW

from competition.config.recipe import TrainingKeys
from competition.core import distributed
from competition.core.signals import pending
from competition.training.batches import Rows, epoch_batches
from competition.training.checkpoints import State, add_prefix, select_prefix
from competition.training.divergence import LossWatch
from competition.training.oom import halved
from competition.training.regularization import make_average
from competition.training.sharding import (
    gather_tensors,
    parts_of,
    put_parts,
    put_whole,
    shard_model,
)

_ENCODER = "encoder."  # what the names of the encoder's weights begin with
_LAYER = re.compile(r"\.(\d+)\.")  # the first number in a weight's name is that of its layer


def learning_rates(model: nn.Module, recipe: TrainingKeys) -> dict[str, float]:
    """Return the highest learning rate of each trained parameter, by name.

    The last layer of the encoder, and what stands behind it, learns by `learning_rate`, each layer
    below by `layer_decay` times the rate of the one above (Howard and Ruder 2018), the embeddings
    below the first layer. All else learns by `head_learning_rate`.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    numbers = {
        name: int(found[1])
        for name in names
        if name.startswith(_ENCODER) and (found := _LAYER.search(name))
    }
    layers = 1 + max(numbers.values(), default=-1)
    rates, number = {}, -1  # of embeddings, which are named before the first layer
    for name in names:
        if name.startswith(_ENCODER):
            number = numbers.get(name, layers - 1 if number >= 0 else -1)
            rates[name] = recipe.learning_rate * recipe.layer_decay ** (layers - 1 - number)
        else:
            rates[name] = recipe.head_learning_rate or recipe.learning_rate
    return rates


def make_optimizer(model: nn.Module, recipe: TrainingKeys) -> AdamW:
    """Return AdamW with each parameter's own rate as `initial_lr` of its group.

    Biases and norms (parameters of one dimension) do not decay. On GPUs it is always fused.
    """
    rates, parameters = learning_rates(model, recipe), dict(model.named_parameters())
    groups: list[dict[str, Any]] = []
    for rate in dict.fromkeys(rates.values()):
        trained = [parameters[name] for name, own in rates.items() if own == rate]
        for weight_decay, members in (
            (recipe.weight_decay, [p for p in trained if p.ndim > 1]),
            (0.0, [p for p in trained if p.ndim <= 1]),
        ):
            groups.append(
                {"params": members, "lr": rate, "initial_lr": rate, "weight_decay": weight_decay}
            )
    fused = recipe.fused or all(parameters[name].is_cuda for name in rates)
    return AdamW(groups, fused=True if fused else None)


def schedule(step: int, steps: int, warmup: float, at_least: int = 0) -> float:
    """Return the learning rate's factor at `step` (from 0): a linear rise, then a linear fall to 0.

    The rise takes the share `warmup` of all steps, and `at_least` so many of them where that is no
    more than half.
    """
    rise = max(round(steps * warmup), min(at_least, steps // 2))
    if step < rise:
        return (step + 1) / rise
    return max(0.0, (steps - step) / max(1, steps - rise))


Model = TypeVar("Model", bound=nn.Module)


class Gradients(Protocol):
    """What counts the gradient of an optimiser batch; how, is the matter of what is trained."""

    token_budget: int  # how many tokens, with padding, a piece of the batch may hold

    def backward(self, chosen: Rows, step: int) -> Tensor:
        """Add the gradient of the rows `chosen` at optimiser step `step`; returns the batch's loss, on the device."""


class TrainingState(Generic[Model]):
    """A model in training: what changes from step to step, and where it stands."""

    def __init__(
        self,
        accelerator: Accelerator,
        model: Model,
        recipe: TrainingKeys,
        count: int,
        make_gradients: Callable[[nn.Module], Gradients],
        seed: int,
        name: str,
    ) -> None:
        """The arguments are those of `fit`; `name` is what messages call the training."""
        self.recipe, self._accelerator, self._model, self._count, self._seed = (
            recipe,
            accelerator,
            model,
            count,
            seed,
        )
        self.is_sharded = recipe.is_sharded and accelerator.num_processes > 1
        here = (
            torch.device("cpu") if self.is_sharded else accelerator.device
        )  # parts come to the device one by one
        self._trained = copy.deepcopy(model) if self.is_sharded else model.to(here)
        self._average = make_average(self._trained, recipe.ema, here) if recipe.ema else None
        if self.is_sharded:  # behind the copies, since what is split cannot be copied
            shard_model(self._trained, accelerator)
            if self._average is not None:
                shard_model(self._average.module, accelerator)
        optimizer = make_optimizer(self._trained, recipe)
        self._wrapped = accelerator.prepare_model(self._trained, evaluation_mode=self.is_sharded)
        self._optimizer = accelerator.prepare(optimizer)
        self._gradients = make_gradients(self._wrapped)
        self._per_epoch = -(-count // recipe.batch_size)
        self.steps = recipe.epochs * self._per_epoch
        self.step = self.epochs = (
            0  # optimiser steps that are done, and epochs, their evaluation included
        )
        self.losses = LossWatch(name, recipe, self.steps)
        self.ending = False  # whether all processes end behind this step

    def evaluated(self) -> Model:
        """The model that is evaluated and kept: the one with averaged weights where the recipe asks for them.

        It is whole; where training is sharded, all processes must ask for it.
        """
        found = self._trained if self._average is None else cast(Model, self._average.module)
        if not self.is_sharded:
            return found
        put_whole(self._model.to(self._accelerator.device), found)
        return self._model

    @property
    def learning_rate(self) -> float:
        """The rate of the encoder's last layer at the next step; 0 behind the last."""
        return self.recipe.learning_rate * self._factor

    @property
    def _factor(self) -> float:
        """What the schedule multiplies every rate by at the next step."""
        return schedule(self.step, self.steps, self.recipe.warmup, self.recipe.warmup_steps)

    @property
    def rows(self) -> int:
        """The rows seen so far."""
        epochs, steps = divmod(self.step, self._per_epoch)
        return epochs * self._count + steps * self.recipe.batch_size

    def epoch(self) -> Iterator[tuple[Rows, Tensor]]:
        """Take the steps that are left of the epoch; yields each one's rows and loss.

        A signal must be held back meanwhile, since an interrupted step is half a step.

        Raises:
            Diverged: a loss is not finite.
        """
        if self.is_sharded:
            self._model.cpu()  # it was whole for an evaluation alone
        self._wrapped.train()
        batches = epoch_batches(self._count, self.recipe.batch_size, self._seed, self.epochs)
        for chosen in islice(batches, self.step - self.epochs * self._per_epoch, None):
            yield chosen, self._take(chosen)
        self.losses.settle()

    def _take(self, chosen: Rows) -> Tensor:
        """One optimiser step."""
        loss = self._backward(chosen)
        self.losses.see(self.step + 1, loss, self.learning_rate)
        self._accelerator.clip_grad_norm_(self._wrapped.parameters(), self.recipe.clip_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self._factor
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._average is not None:
            self._average.update_parameters(self._trained)
        self.step += 1
        self.ending = distributed.any_process(pending())
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
        """All that steps change; tensors are there on the first process, and whole.

        The learning rate and the order of rows follow from the step.

        Raises:
            Diverged: the last loss is not finite.
        """
        self.losses.settle()
        budget = self._gradients.token_budget
        values = {"step": self.step, "epochs": self.epochs, "token_budget": budget}
        if self.epochs == self.recipe.epochs:
            return State(values=values)  # nothing is trained any more
        tensors = add_prefix("model", gather_tensors(self._trained.state_dict()))
        if self._average is not None:
            tensors |= add_prefix("average", gather_tensors(self._average.state_dict()))
        for number, moments in self._optimizer.state_dict()["state"].items():
            tensors |= add_prefix(f"optimizer/{number}", gather_tensors(moments))
        return State(tensors, values)

    def restore(self, state: State) -> None:
        """Be where one was when `state` was taken; the token budget is the smaller one."""
        self.step, self.epochs = state.values["step"], state.values["epochs"]
        self._gradients.token_budget = min(
            self._gradients.token_budget, state.values["token_budget"]
        )
        if self.epochs == self.recipe.epochs:
            return
        put_parts(self._trained, select_prefix("model", state.tensors))
        if self._average is not None:
            put_parts(self._average, select_prefix("average", state.tensors))
        content, moments = self._optimizer.state_dict(), select_prefix("optimizer", state.tensors)
        trained = [
            parameter for group in self._optimizer.param_groups for parameter in group["params"]
        ]
        numbers = dict.fromkeys(
            name.partition("/")[0] for name in moments
        )  # in the same order on all processes
        content["state"] = {
            int(n): parts_of(select_prefix(n, moments), trained[int(n)]) for n in numbers
        }
        self._optimizer.load_state_dict(content)
