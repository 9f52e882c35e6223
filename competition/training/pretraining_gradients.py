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
from competition.training.oom import Budget, TrainingBudget


def collate_texts(
    texts: TaskTexts, rows: Rows, special: SpecialTokens, max_length: int, device: torch.device
) -> TaskBatch:
    """Return the texts of `rows` with their targets, padded, on `device`."""
    sides = [(texts.ids[i], texts.first_text[i]) for i in rows]
    ids, mask, types = pad(sides, special.padding, max_length, device)  # (texts, tokens) each

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
    """Computes the gradients of one pre-training run.

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
        self.accelerator = accelerator
        self.model = model
        self.recipe = recipe
        self.examples = examples
        self.budget: Budget = TrainingBudget(recipe.token_budget)
        self.losses: dict[
            str, list[Tensor]
        ] = {}  # of each task, step by step, until `epoch_losses`

        # The losses of a task, and the weight of each loss.
        self._weights = {
            "token": recipe.mlm,
            "match": recipe.query,
            **recipe.learned_categories(model.categories),
        }
        self._losses_of = {"mlm": ("token",), "query": ("match",), "attributes": model.categories}
        if "contrastive" in examples.tasks:
            hidden = model.encoder.config.hidden_size
            self.momentum = Momentum(model.encoder, recipe.momentum)
            self.queue = Queue(round(recipe.queue * recipe.batch_size), hidden, accelerator.device)

    def compute(self, batch: Rows, step: int) -> Tensor:
        """Add the gradient of all tasks, MLM's rows being the blocks `batch`; return the sum of weighted losses."""
        total = torch.zeros((), device=self.accelerator.device)
        before = {name: len(losses) for name, losses in self.losses.items()}
        try:
            for task in self.examples.tasks:
                total += self.add_task(task, batch, step)
        except torch.OutOfMemoryError:  # the step is taken again in smaller micro-batches
            self.losses = {
                name: losses[: before.get(name, 0)] for name, losses in self.losses.items()
            }
            raise

        if self.accelerator.num_processes > 1:
            # Every process has run its own number of passes, so gradients are exchanged here and
            # not by the wrapper.
            for parameter in self.model.parameters():
                if parameter.requires_grad:
                    own = parameter.grad
                    gradient = torch.zeros_like(parameter) if own is None else own
                    parameter.grad = self.accelerator.reduce(gradient, reduction="sum")
        return total

    def add_task(self, task: str, batch: Rows, step: int) -> Tensor:
        """Add the gradient of one task on this process; return its weighted loss over all of them."""
        texts = self.examples.make(task, batch, step)
        if task == "contrastive":
            return self._add_contrastive(texts, step)
        return self._add_supervised(task, texts, step)

    def epoch_losses(self) -> dict[str, float]:
        """Return the mean of each task's loss since the last call, unweighted."""
        means = {name: float(torch.stack(values).mean()) for name, values in self.losses.items()}
        self.losses = {}
        return means

    def state(self) -> State:
        """Return what steps change beside the model: the epoch's losses, the momentum encoder and its queue."""
        losses = {name: torch.stack(values) for name, values in self.losses.items() if values}
        tensors = add_prefix("losses", losses)
        if "contrastive" in self.examples.tasks:
            tensors |= add_prefix("momentum", self.momentum.copy.state_dict())
            tensors |= add_prefix("queue", {"keys": self.queue.keys, "same": self.queue.same})
        return State(tensors)

    def restore(self, state: State) -> None:
        """Go back to where `state` was taken."""
        device = self.accelerator.device
        losses = select_prefix("losses", state.tensors)
        self.losses = {name: list(values.to(device)) for name, values in losses.items()}
        if "contrastive" in self.examples.tasks:
            self.momentum.copy.load_state_dict(select_prefix("momentum", state.tensors))
            queue = select_prefix("queue", state.tensors)
            self.queue.keys = queue["keys"].to(device)
            self.queue.same = queue["same"].to(device)

    def _add_supervised(self, task: str, texts: TaskTexts, step: int) -> Tensor:
        """Add the gradient of a task whose texts are judged one by one."""
        rank = self.accelerator.process_index
        targets = {
            name: sum(int(np.sum(np.not_equal(value, IGNORED))) for value in values)
            for name, values in texts.targets.items()
        }
        lengths = np.array([len(ids) for ids in texts.ids])
        own = shard(np.arange(len(texts)), rank, self.accelerator.num_processes)

        # The share of this process of each mean over the whole mini-batch.
        sums: dict[str, Tensor] = {}
        for number, rows in enumerate(micro_batches(own, lengths, self.budget.tokens)):
            losses = self._forward(task, self._batch(texts, rows), step, rank, number)
            means = {name: loss.sum() / max(1, targets[name]) for name, loss in losses.items()}
            weighted = (self._weights[name] * mean for name, mean in means.items())
            self.accelerator.backward(sum(weighted, torch.zeros(())))
            for name, mean in means.items():
                sums[name] = sums.get(name, torch.zeros_like(mean)) + mean.detach()

        zero = torch.zeros((), device=self.accelerator.device)
        total = zero
        for name in self._losses_of[task]:
            mean = self.accelerator.reduce(sums.get(name, zero), reduction="sum")
            self.losses.setdefault(name, []).append(mean)
            total = total + self._weights[name] * mean
        return total

    def _add_contrastive(self, texts: TaskTexts, step: int) -> Tensor:
        """Add the gradient of each text's two passes against those of the others and the queue."""
        batch = self._batch(texts, np.arange(len(texts)))
        # Two passes of a text differ by their dropout alone.
        first = self._forward("contrastive", batch, step, 0)["text"]  # (texts, H)
        second = self._forward("contrastive", batch, step, 1)["text"]
        logits = contrastive_logits(first, second, self.queue.keys, self.recipe.temperature)

        # A text that is duplicated is not its own negative.
        same = batch.targets["same"]
        twins = same[:, None] == torch.cat([same, self.queue.same])[None]  # (texts, texts + keys)
        twins.fill_diagonal_(False)
        loss = functional.cross_entropy(
            logits.masked_fill(twins, float("-inf")), torch.arange(len(same)).to(same)
        )
        self.accelerator.backward(self.recipe.contrastive * loss / self.accelerator.num_processes)

        # The next steps' negatives, made by the slow encoder.
        self.momentum.update(self.model.encoder)
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
            outputs = self.model(task, batch)
        return {
            name: value.to(torch.promote_types(value.dtype, torch.float32))
            for name, value in outputs.items()
        }
