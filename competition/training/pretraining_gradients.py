"""The gradient of one pre-training step: one mini-batch per task, their weighted losses added (Algorithm 1)."""

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional

from competition.config.recipe import PretrainingRecipe
from competition.core.fingerprint import derive_seed
from competition.data.catalogue import IGNORED
from competition.data.pairs import SpecialTokens
from competition.data.pretraining_examples import PretrainingExamples, TaskTexts
from competition.models.encoder.pretraining_model import (
    PretrainingModel,
    TaskBatch,
    contrastive_logits,
    encode,
    mean_pooled,
)
from competition.training.batches import Rows, micro_batches, pad, shard
from competition.training.checkpoints import State, add_prefix, select_prefix
from competition.training.momentum import Momentum, Queue


def collate_texts(
    texts: TaskTexts, rows: Rows, special: SpecialTokens, limit: int, device: torch.device
) -> TaskBatch:
    """The texts of `rows` with their targets, padded."""
    ids, mask, types = pad(
        [(texts.ids[i], texts.first_text[i]) for i in rows], special.padding, limit, device
    )
    targets = {}
    for name, values in texts.targets.items():
        per_token = bool(np.ndim(values[0]))
        array = np.full(tuple(ids.shape) if per_token else len(rows), IGNORED, np.int64)
        for row, i in enumerate(rows):
            if per_token:
                array[row, : len(values[i])] = values[i]
            else:
                array[row] = values[i]
        targets[name] = torch.from_numpy(array).to(device)
    return TaskBatch(ids, mask, types, targets)


class PretrainingGradients:
    """Counts the gradients of one pre-training run.

    Losses are means over the targets of the whole mini-batch, of which the token budget and the
    processes take shares; the contrastive mini-batch, whose texts are each other's negatives, is
    never split: every process does all of it.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: PretrainingModel,
        recipe: PretrainingRecipe,
        examples: PretrainingExamples,
    ) -> None:
        self.accelerator, self.model, self.recipe, self.examples = (
            accelerator,
            model,
            recipe,
            examples,
        )
        self.token_budget = recipe.token_budget
        self.losses: dict[
            str, list[Tensor]
        ] = {}  # of each task, step by step, until `epoch_losses` is asked
        self._weights = {
            "token": recipe.mlm,
            "match": recipe.query,
            "brand": recipe.brand,
            "color": recipe.color,
        }
        self._losses_of = {"mlm": ("token",), "query": ("match",), "attributes": tuple(model.names)}
        if "contrastive" in examples.tasks:
            hidden = model.encoder.config.hidden_size
            self.momentum = Momentum(model.encoder, recipe.momentum)
            self.queue = Queue(round(recipe.queue * recipe.batch_size), hidden, accelerator.device)

    def backward(self, chosen: Rows, step: int) -> Tensor:
        """Add the gradient of all tasks, MLM's rows being the blocks `chosen`; returns the sum of weighted losses."""
        total = torch.zeros((), device=self.accelerator.device)
        known = {name: len(losses) for name, losses in self.losses.items()}
        try:
            for task in self.examples.tasks:
                total += self.count(task, chosen, step)
        except torch.OutOfMemoryError:  # the step is taken again in smaller pieces
            self.losses = {
                name: losses[: known.get(name, 0)] for name, losses in self.losses.items()
            }
            raise
        if self.accelerator.num_processes > 1:
            # Every process has run its own number of passes, so gradients are exchanged here and
            # not by the wrapper.
            for parameter in self.model.parameters():
                if parameter.requires_grad:
                    gradient = (
                        torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                    )
                    parameter.grad = self.accelerator.reduce(gradient, reduction="sum")
        return total

    def count(self, task: str, chosen: Rows, step: int) -> Tensor:
        """Add the gradient of one task on this process; returns its weighted loss over all of them."""
        texts = self.examples.make(task, chosen, step)
        return (
            self._contrast(texts, step)
            if task == "contrastive"
            else self._predict(task, texts, step)
        )

    def epoch_losses(self) -> dict[str, float]:
        """The mean of each task's loss since the last call, unweighted."""
        means = {name: float(torch.stack(values).mean()) for name, values in self.losses.items()}
        self.losses = {}
        return means

    def state(self) -> State:
        """What steps change beside the model: the epoch's losses, the momentum encoder and its queue."""
        tensors = add_prefix(
            "losses", {name: torch.stack(values) for name, values in self.losses.items() if values}
        )
        if "contrastive" in self.examples.tasks:
            tensors |= add_prefix("momentum", self.momentum.copy.state_dict())
            tensors |= add_prefix("queue", {"keys": self.queue.keys, "same": self.queue.same})
        return State(tensors)

    def restore(self, state: State) -> None:
        """Be as one was when `state` was taken."""
        device = self.accelerator.device
        self.losses = {
            n: list(values.to(device))
            for n, values in select_prefix("losses", state.tensors).items()
        }
        if "contrastive" in self.examples.tasks:
            self.momentum.copy.load_state_dict(select_prefix("momentum", state.tensors))
            queue = select_prefix("queue", state.tensors)
            self.queue.keys, self.queue.same = queue["keys"].to(device), queue["same"].to(device)

    def _predict(self, task: str, texts: TaskTexts, step: int) -> Tensor:
        """A task whose texts are judged one by one."""
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        counts = {
            name: sum(int(np.sum(np.not_equal(v, IGNORED))) for v in vs)
            for name, vs in texts.targets.items()
        }
        lengths = np.array([len(ids) for ids in texts.ids])
        sums: dict[str, Tensor] = {}
        mine = shard(np.arange(len(texts)), rank, ranks)
        for number, rows in enumerate(micro_batches(mine, lengths, self.token_budget)):
            batch = self._batch(texts, rows)
            losses = self._forward(task, batch, step, rank, number)
            means = {name: loss.sum() / max(1, counts[name]) for name, loss in losses.items()}
            self.accelerator.backward(
                sum((self._weights[name] * mean for name, mean in means.items()), torch.zeros(()))
            )
            for name, mean in means.items():
                sums[name] = sums.get(name, torch.zeros_like(mean)) + mean.detach()
        nothing = torch.zeros((), device=self.accelerator.device)
        total = nothing
        for name in self._losses_of[task]:
            mean = self.accelerator.reduce(sums.get(name, nothing), reduction="sum")
            self.losses.setdefault(name, []).append(mean)
            total = total + self._weights[name] * mean
        return total

    def _contrast(self, texts: TaskTexts, step: int) -> Tensor:
        """Each text's two passes against those of the others and the queue."""
        batch = self._batch(texts, np.arange(len(texts)))
        first, second = (
            self._forward("contrastive", batch, step, number)["text"] for number in range(2)
        )
        same = batch.targets["same"]
        logits = contrastive_logits(first, second, self.queue.keys, self.recipe.temperature)
        # A text that is there twice is not its own negative.
        twins = same[:, None] == torch.cat([same, self.queue.same])[None]
        twins.fill_diagonal_(False)
        loss = functional.cross_entropy(
            logits.masked_fill(twins, float("-inf")), torch.arange(len(same)).to(same)
        )
        self.accelerator.backward(self.recipe.contrastive * loss / self.accelerator.num_processes)
        self.momentum.follow(self.model.encoder)
        with torch.no_grad(), self.accelerator.autocast():
            self.queue.push(mean_pooled(encode(self.momentum.copy, batch), batch.mask), same)
        self.losses.setdefault("contrastive", []).append(loss.detach())
        return self.recipe.contrastive * loss.detach()

    def _batch(self, texts: TaskTexts, rows: Rows) -> TaskBatch:
        return collate_texts(
            texts, rows, self.examples.special, self.recipe.max_length, self.accelerator.device
        )

    def _forward(self, task: str, batch: TaskBatch, step: int, *parts: int) -> dict[str, Tensor]:
        torch.manual_seed(derive_seed(self.recipe.seed, "dropout", task, step, *parts))
        with self.accelerator.autocast():
            found = self.model(task, batch)
        return {
            name: value.to(torch.promote_types(value.dtype, torch.float32))
            for name, value in found.items()
        }
