"""Ranking losses in training: of the whole lists of an optimiser batch, whatever micro-batches it is split into.

A loss of a list needs the logits of all its rows, and so the activations behind all of them, which
memory may not hold. Their gradient needs less: the derivative of the loss by each logit, for which
the logits are enough. So a batch that is split is passed twice, first without a graph for the
logits of all lists, then micro-batch by micro-batch with a loss that has these derivatives (the
gradient cache of Gao et al. 2021). Both passes draw the same dropout, so that the gradient is that
of the unsplit batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from competition.config.encoder_recipe import EncoderRecipe
from competition.core.errors import CompError
from competition.models.encoder.losses import one_hot
from competition.models.encoder.ranking_losses import RANKING_LOSSES, gain_log_odds
from competition.scoring.labels import PAPER
from competition.scoring.task import Kind
from competition.training.batches import Rows
from competition.training.samples import MicroBatch, Sample


@dataclass(frozen=True)
class _Term:
    """What a micro-batch adds to the loss of a batch: a value, and its derivative by the logits."""

    value: Tensor
    derivative: Tensor  # (batch, outputs)

    def at(self, logits: Tensor) -> Tensor:
        """Return the value, whose gradient by `logits` is the derivative."""
        return self.value + ((logits - logits.detach()) * self.derivative).sum()


def class_gains(kind: Kind) -> Tensor | None:
    """Return the gain of each class, `(classes,)` in float64; None where a row has a number."""
    if not kind.is_classes:
        return None
    return torch.tensor(kind.labels.gains[PAPER], dtype=torch.float64)


def row_gains(kind: Kind, sample: Sample) -> Tensor:
    """Return the gain that each row has by its target, before any smoothing, `(n,)` in float64."""
    target = one_hot(torch.tensor(sample.target), kind.targets).double()
    of_classes = class_gains(kind)
    return target[:, 0] if of_classes is None else target @ of_classes


def check_lists(recipe: EncoderRecipe, kind: Kind, sample: Sample) -> None:
    """Raise CompError where a recipe has a ranking loss and no list of the sample has two gains."""
    if sample.lists is None:
        return

    gains = row_gains(kind, sample).numpy()
    highest = np.full(sample.lists.max() + 1, -np.inf)
    lowest = -highest
    np.maximum.at(highest, sample.lists, gains)
    np.minimum.at(lowest, sample.lists, gains)
    if not (highest > lowest).any():
        raise CompError(
            f"The recipe {recipe.name!r} has ranking_loss = {recipe.ranking_loss!r}, and no query of its training rows "
            "has two rows of different gains: leave ranking_loss out."
        )


class ListLosses:
    """The ranking loss of a recipe on a sample, times its share of the recipe's loss.

    The loss of a batch is the mean over its lists, each weighted by the mean weight of its rows;
    lists of one row, which have no order, do not count.
    """

    def __init__(self, recipe: EncoderRecipe, kind: Kind, sample: Sample) -> None:
        # As `Corpus.sample` makes it for such a recipe.
        assert sample.lists is not None
        self._loss = RANKING_LOSSES[recipe.ranking_loss]
        self._share = recipe.ranking_weight
        self._lists = sample.lists
        self._weight = sample.weight

        self._gains = row_gains(kind, sample)
        self._class_gains = class_gains(kind)

    def of_batch(self, batch: Rows) -> "BatchListLosses":
        """Return the loss of an optimiser batch, all processes' rows of it."""
        return BatchListLosses(self, batch)

    def list_weights(self, batch: Rows) -> np.ndarray:
        """Return what the loss of each row's list is multiplied by in the batch, `(batch,)`."""
        _, number, sizes = np.unique(self._lists[batch], return_inverse=True, return_counts=True)
        weights = np.bincount(number, self._weight[batch]) / sizes
        weights[sizes < 2] = 0.0
        total = weights.sum()
        shares: np.ndarray = (self._share * weights / total if total else weights)[number]
        return shares

    def value(self, rows: Rows, weights: np.ndarray, logits: Tensor) -> Tensor:
        """Return the weighted sum of the losses of lists.

        Args:
            rows: of the sample, list by list, `(rows,)`.
            weights: of each row's list, `(rows,)`.
            logits: of the rows, `(rows, outputs)`.
        """
        device, dtype = logits.device, logits.dtype
        lists = self._lists[rows]
        starts = np.flatnonzero(np.diff(lists, prepend=-1))  # of each list
        sizes = np.diff(starts, append=len(rows))
        number = np.repeat(np.arange(len(starts)), sizes)
        slot = np.arange(len(rows)) - starts[number]

        class_gains = None if self._class_gains is None else self._class_gains.to(device, dtype)
        scores = gain_log_odds(logits, class_gains)
        places = tuple(torch.from_numpy(each).to(device) for each in (number, slot))
        padded = scores.new_zeros(len(starts), int(sizes.max()))
        present = padded.bool().index_put(places, torch.ones_like(scores, dtype=torch.bool))
        gains = padded.index_put(places, self._gains[rows].to(device, dtype))

        losses = self._loss(padded.index_put(places, scores), gains, present)  # (lists,)
        return (torch.from_numpy(weights[starts]).to(device, dtype) * losses).sum()


class BatchListLosses:
    """The ranking loss of one optimiser batch, pass by pass."""

    def __init__(self, losses: ListLosses, batch: Rows) -> None:
        self._losses = losses
        self._weights = losses.list_weights(batch)
        self._batch = batch
        self._terms: dict[int, list[_Term]] = {}  # pass -> of each micro-batch

    def learn(
        self, number: int, micro_batches: Sequence[MicroBatch], logits: Sequence[Tensor]
    ) -> None:
        """Take the logits of pass `number` of all this process's micro-batches, `(batch, outputs)` each."""
        # In the order of the batch, lists are in one piece and their rows in an order that was drawn.
        rows = np.concatenate([each.rows for each in micro_batches])
        by_row = np.argsort(self._batch)
        place = by_row[np.searchsorted(self._batch, rows, sorter=by_row)]
        order = np.argsort(place)

        detached = [each.detach() for each in logits]
        value = detached[0].new_zeros(())
        derivative = torch.zeros_like(torch.cat(detached))
        if len(rows):
            # Rows that only keep other processes company are those of the last micro-batches.
            leaf = torch.cat(detached).requires_grad_()
            with torch.enable_grad():
                in_order = leaf[: len(rows)][torch.from_numpy(order).to(leaf.device)]
                loss = self._losses.value(rows[order], self._weights[place[order]], in_order)
            (derivative,) = torch.autograd.grad(loss, leaf)
            value = loss.detach()

        # The first one says the value of all.
        of_each = torch.split(derivative, [len(each) for each in detached])
        values = [value, *(torch.zeros_like(value) for _ in of_each[1:])]
        self._terms[number] = list(map(_Term, values, of_each))

    def loss(self, number: int, micro_batch: MicroBatch, logits: Tensor) -> Tensor:
        """Return the micro-batch's share of the loss in pass `number`, by its logits `(batch, outputs)`.

        A batch that is not split need not `learn` them before.
        """
        if number not in self._terms:
            self.learn(number, [micro_batch], [logits])
        return self._terms[number][micro_batch.number].at(logits)
