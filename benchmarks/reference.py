"""Training as the released code did it, without its faults: what `benchmarks/step.py` and `gpu.py` compare with.

Every text is padded to the longest length; the attack clones and moves the whole word-embedding
table; the clean loss, the adversarial one and their divergence are each sent back through retained
graphs; averaged weights are kept by a Python loop over parameters. fp32 throughout. Order,
schedule, clipping and optimiser are those of the recipe.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from competition.config.encoder_recipe import EncoderRecipe
from competition.models.encoder.inputs import Inputs
from competition.models.encoder.model import RelevanceModel
from competition.training.batches import Rows, epoch_batches
from competition.training.optimizer import schedule
from competition.training.regularization import ema_decay
from competition.training.samples import Sample


class Reference:
    """One model and its training."""

    def __init__(
        self, model: RelevanceModel, recipe: EncoderRecipe, sample: Sample, device: torch.device
    ) -> None:
        self.model = model.to(device)
        self.recipe = recipe
        self.sample = sample
        self.device = device

    def train(self) -> list[float]:
        """Train for the recipe's epochs; return the loss of each step."""
        count = len(self.sample.rows)
        recipe = self.recipe
        steps = recipe.epochs * -(-count // recipe.batch_size)
        optimizer = self._optimizer()
        scheduler = LambdaLR(optimizer, lambda step: schedule(step, steps, recipe.warmup))
        average = (
            {name: p.detach().clone() for name, p in self.model.named_parameters()}
            if recipe.ema
            else {}
        )

        self.model.train()
        losses: list[float] = []
        for number, rows in enumerate(self._batches(count), start=1):
            losses.append(self._add_gradient(rows))
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_norm)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            decay = ema_decay(number, recipe.ema)
            for name, p in self.model.named_parameters() if recipe.ema else ():
                average[name] = (decay * average[name] + (1 - decay) * p.detach()).clone()
        return losses

    def _batches(self, count: int) -> Iterator[Rows]:
        for epoch in range(self.recipe.epochs):
            yield from epoch_batches(count, self.recipe.batch_size, 1, epoch)

    def _optimizer(self) -> AdamW:
        parameters = list(self.model.parameters())
        decayed = {
            "params": [p for p in parameters if p.ndim > 1],
            "weight_decay": self.recipe.weight_decay,
        }
        others = {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}
        return AdamW([decayed, others], lr=self.recipe.learning_rate, foreach=False)

    def _add_gradient(self, rows: Rows) -> float:
        """Add the gradient of a batch; return its loss."""
        target = torch.from_numpy(self.sample.target[rows]).long().to(self.device)
        inputs = self._inputs(rows)
        logits = self.model(inputs)  # (batch, 4)
        loss = functional.cross_entropy(logits, target)
        if self.recipe.adversary == "none":
            loss.backward()
            return loss.item()

        # The attack moves the whole table, for one pass.
        (loss / 3).backward(retain_graph=True)
        table = self.model.token_table
        kept, gradient = table.data.clone(), table.grad
        assert gradient is not None
        table.data.add_(self.recipe.epsilon * gradient / gradient.norm())

        other = self.model(inputs)
        adversarial = functional.cross_entropy(other, target)
        (adversarial / 3).backward(retain_graph=True)
        divergence = self.recipe.r_drop * _divergence(logits, other)
        (divergence / 3).backward()
        table.data.copy_(kept)
        return (loss + adversarial + divergence).item() / 3

    def _inputs(self, rows: Rows) -> Inputs:
        """Return a batch padded to the longest length that the recipe allows."""
        pairs = self.sample.pairs
        width = self.recipe.max_length
        ids = np.full((len(rows), width), pairs.special.padding, np.int64)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        for i, row in enumerate(self.sample.rows[rows]):
            tokens, first = pairs.ids(int(row), pairs.views[0])
            ids[i, : len(tokens)] = tokens
            mask[i, : len(tokens)] = 1
            types[i, first : len(tokens)] = 1
        present = np.ones((len(rows), 1), bool)
        arrays = (ids, mask, types, present, np.flatnonzero(mask))
        return Inputs(*(torch.from_numpy(array).to(self.device) for array in arrays), None)


def _divergence(logits: Tensor, other: Tensor) -> Tensor:
    """Return the mean over rows of half the sum of the two divergences."""
    log_p, log_q = logits.log_softmax(1), other.log_softmax(1)
    one = functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    return (one + functional.kl_div(log_p, log_q, reduction="batchmean", log_target=True)) / 2
