"""A model in training: what an optimiser step does, what it changes, and where the training stands."""

import copy
import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import AdamW

from competition.config.base_recipe import TrainingKeys
from competition.models.encoder.families import layer_number
from competition.models.encoder.model import ENCODER_PREFIX
from competition.training.batches import Rows, epoch_batches, steps_per_epoch
from competition.training.checkpoints import State, add_prefix, select_prefix
from competition.training.divergence import LossWatch
from competition.training.oom import Budget
from competition.training.regularization import make_average
from competition.training.sharding import (
    copy_whole,
    gather_moments,
    gather_weights,
    load_weights,
    shard_model,
    shard_moments,
)
from competition.training.token_rows import TokenRows


def learning_rates(model: nn.Module, recipe: TrainingKeys) -> dict[str, float]:
    """Return the highest learning rate of each trained parameter, by name.

    The last layer of the encoder, and what stands behind it, learns by `learning_rate`, each layer
    below by `layer_decay` times the rate of the one above (Howard and Ruder 2018), the embeddings
    below the first layer. All else learns by `head_learning_rate`.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    layer_of = {
        name: layer
        for name in names
        if name.startswith(ENCODER_PREFIX) and (layer := layer_number(name)) is not None
    }
    layers = 1 + max(layer_of.values(), default=-1)

    rates = {}
    # Of embeddings, which are named before the first layer.
    layer = -1
    for name in names:
        if name.startswith(ENCODER_PREFIX):
            layer = layer_of.get(name, layers - 1 if layer >= 0 else -1)
            rates[name] = recipe.learning_rate * recipe.layer_decay ** (layers - 1 - layer)
        else:
            rates[name] = recipe.head_learning_rate or recipe.learning_rate
    return rates


def make_optimizer(model: nn.Module, recipe: TrainingKeys) -> AdamW:
    """Return AdamW with each parameter's own rate as `initial_lr` of its group.

    Biases and norms (parameters of one dimension) do not decay. On GPUs it is always fused.
    """
    rates = learning_rates(model, recipe)
    parameters = dict(model.named_parameters())
    groups: list[dict[str, Any]] = []
    for rate in dict.fromkeys(rates.values()):
        trained = [parameters[name] for name, own in rates.items() if own == rate]
        # Biases and norms do not decay.
        matrices = [p for p in trained if p.ndim > 1]
        vectors = [p for p in trained if p.ndim <= 1]
        for params, weight_decay in ((matrices, recipe.weight_decay), (vectors, 0.0)):
            group = {"params": params, "lr": rate, "initial_lr": rate}
            groups.append(group | {"weight_decay": weight_decay})

    fused = recipe.fused or all(parameters[name].is_cuda for name in rates)
    return AdamW(groups, fused=True if fused else None)


def schedule(
    step: int, steps: int, warmup: float, at_least: int = 0, shape: str = "linear"
) -> float:
    """Return the learning rate's factor at `step` (from 0): a linear rise, then a fall to 0.

    The rise takes the share `warmup` of all steps, and `at_least` so many of them where that is no
    more than half. The fall is a line, or half a period of a cosine (Loshchilov and Hutter 2017).
    """
    rise = max(round(steps * warmup), min(at_least, steps // 2))
    if step < rise:
        return (step + 1) / rise
    left = max(0.0, (steps - step) / max(1, steps - rise))
    return (1 - math.cos(math.pi * left)) / 2 if shape == "cosine" else left


Model = TypeVar("Model", bound=nn.Module)


class Gradients(Protocol):
    """Computes the gradient of an optimiser batch; how, depends on what is trained."""

    budget: Budget  # of a micro-batch

    def compute(self, batch: Rows, step: int) -> Tensor:
        """Add the gradient of the rows `batch` at optimiser step `step`; return their loss, on the device."""


class TrainingState(Generic[Model]):
    """A model in training: what changes from step to step, and where it stands.

    Attributes:
        recipe: epochs, batch size, learning rate and so on.
        model: the trained model as Accelerate has wrapped it.
        optimizer: AdamW, as Accelerate has wrapped it.
        gradients: of this model.
        losses: raises Diverged.
        is_sharded: whether each process holds a part of the weights alone.
        steps: how many optimiser steps the training has.
        step: how many of them are done.
        epochs: how many epochs are done, their evaluation included.
        ending: whether all processes end behind this step.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: Model,
        recipe: TrainingKeys,
        rows: int,
        make_gradients: Callable[[nn.Module], Gradients],
        seed: int,
        name: str,
        lists: Rows | None = None,
    ) -> None:
        """Place the model on its device; the arguments are those of `fit`, `name` is for messages."""
        self._accelerator = accelerator
        self.recipe = recipe
        self._rows = rows
        self._seed = seed
        self._lists = lists
        self.is_sharded = recipe.is_sharded and accelerator.num_processes > 1

        # A sharded model comes to the device part by part, and the whole one is only evaluated.
        device = torch.device("cpu") if self.is_sharded else accelerator.device
        self._whole = model
        self._trained = copy.deepcopy(model) if self.is_sharded else model.to(device)
        # Addresses of weights whose average is not updated with the others.
        apart: set[int] = set()
        self._average = (
            make_average(self._trained, recipe.ema, device, apart) if recipe.ema else None
        )
        # Behind the copies, since a sharded model cannot be copied.
        if self.is_sharded:
            shard_model(self._trained, accelerator)
            if self._average is not None:
                shard_model(self._average.module, accelerator)

        optimizer = make_optimizer(self._trained, recipe)
        self._token_rows = None
        if accelerator.num_processes == 1 and not recipe.attacks_weights:
            average = None if self._average is None else self._average.module
            self._token_rows = TokenRows.of(self._trained, optimizer, average, recipe.ema)
        if self._token_rows is not None:
            apart.add(self._token_rows.weight.data_ptr())
        self.model = accelerator.prepare_model(self._trained, evaluation_mode=self.is_sharded)
        self.optimizer = accelerator.prepare(optimizer)
        self.gradients = make_gradients(self.model)

        # The last batch of an epoch may be smaller.
        self._steps_per_epoch = steps_per_epoch(rows, recipe.batch_size, lists)
        self.steps = recipe.epochs * self._steps_per_epoch
        self.step = 0
        self.epochs = 0
        self.losses = LossWatch(name, recipe, self.steps)
        self.ending = False

    # --- what a step needs ---

    def remaining_batches(self) -> Iterator[Rows]:
        """Yield the optimiser batches that are left of the epoch, and have the model ready for training."""
        if self.is_sharded:
            # It was on the device for an evaluation alone.
            self._whole.cpu()
        self.model.train()
        batches = epoch_batches(
            self._rows, self.recipe.batch_size, self._seed, self.epochs, self._lists
        )
        return islice(batches, self.step - self.epochs * self._steps_per_epoch, None)

    @property
    def learning_rate(self) -> float:
        """The rate of the encoder's last layer at the next step; 0 behind the last."""
        return self.recipe.learning_rate * self._factor

    @property
    def _factor(self) -> float:
        """The factor of every learning rate at the next step."""
        recipe = self.recipe
        return schedule(self.step, self.steps, recipe.warmup, recipe.warmup_steps, recipe.schedule)

    def take_step(self) -> None:
        """Clip the gradient, move the weights by it, and the averaged ones, where there are any, towards them."""
        parameters = list(self.model.parameters())
        if self._token_rows is not None:
            table = self._token_rows.weight
            rows = self._token_rows.gradient()
            parameters = [rows if each is table else each for each in parameters]
        self._accelerator.clip_grad_norm_(parameters, self.recipe.clip_norm)

        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self._factor
        self.optimizer.step()
        if self._token_rows is not None:
            self._token_rows.step()
        self.forget_gradient()
        self._update_average()
        self.step += 1

    def forget_gradient(self) -> None:
        """Drop what passes have left."""
        self.optimizer.zero_grad()
        if self._token_rows is not None:
            self._token_rows.forget()

    def _update_average(self) -> None:
        if self._average is not None:
            self._average.update_parameters(self._trained)

    # --- between steps ---

    @property
    def rows_seen(self) -> int:
        """How many rows the model was trained on so far; within an epoch of lists, by their mean length."""
        epochs, steps = divmod(self.step, self._steps_per_epoch)
        if self._lists is not None:
            return epochs * self._rows + steps * self._rows // self._steps_per_epoch
        return epochs * self._rows + steps * self.recipe.batch_size

    def evaluation_model(self) -> Model:
        """Return the model that is evaluated and kept: the one with averaged weights where the recipe averages.

        It is whole; where training is sharded, all processes must call this.
        """
        self._catch_up()
        kept = self._trained if self._average is None else cast(Model, self._average.module)
        if not self.is_sharded:
            return kept
        copy_whole(self._whole.to(self._accelerator.device), kept)
        return self._whole

    def state(self) -> State:
        """Return all that steps change; tensors are whole, on the first process.

        The learning rate and the order of rows follow from the step.

        Raises:
            Diverged: the last loss is not finite.
        """
        self.losses.check()
        budget = self.gradients.budget.tokens
        values = {"step": self.step, "epochs": self.epochs, "token_budget": budget}
        if self.epochs == self.recipe.epochs:
            return State(values=values)  # nothing is trained any more

        self._catch_up()
        tensors = add_prefix("model", gather_weights(self._trained))
        if self._average is not None:
            tensors |= add_prefix("average", gather_weights(self._average))
        for number, moments in self.optimizer.state_dict()["state"].items():
            tensors |= add_prefix(f"optimizer/{number}", gather_moments(moments))
        return State(tensors, values)

    def restore(self, state: State) -> None:
        """Go back to where `state` was taken; the token budget is the smaller one."""
        self.step = state.values["step"]
        self.epochs = state.values["epochs"]
        # What ran out of memory before would do so again.
        budget = self.gradients.budget
        budget.tokens = min(budget.tokens, state.values["token_budget"])
        if self.epochs == self.recipe.epochs:
            return

        load_weights(self._trained, select_prefix("model", state.tensors))
        if self._average is not None:
            load_weights(self._average, select_prefix("average", state.tensors))
        self._load_moments(select_prefix("optimizer", state.tensors))
        if self._token_rows is not None:
            self._token_rows.restart(self.step)

    def end(self) -> None:
        """Leave the model as one that is trained no further."""
        if self._token_rows is not None:
            self._token_rows.release()

    def _catch_up(self) -> None:
        """Bring all rows of the token table to where the training stands."""
        if self._token_rows is not None:
            self._token_rows.catch_up_all()

    def _load_moments(self, tensors: dict[str, Tensor]) -> None:
        """Fill the optimizer from tensors named `NUMBER/MOMENT`, by the numbers of its parameters."""
        groups = self.optimizer.param_groups
        parameters = [parameter for group in groups for parameter in group["params"]]

        # A sharded moment is split by an exchange: all processes go through them in one order.
        numbers = dict.fromkeys(name.partition("/")[0] for name in tensors)
        content = self.optimizer.state_dict()
        content["state"] = {
            int(number): shard_moments(select_prefix(number, tensors), parameters[int(number)])
            for number in numbers
        }
        self.optimizer.load_state_dict(content)
