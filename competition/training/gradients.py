"""The gradient of one optimiser batch: the clean pass, the adversarial or second pass, and what ties the two.

For each row, the loss is the mean of its terms (clean; adversarial or second pass; alpha times
their divergence), and the batch's loss is sum(w * loss) / sum(w). A ranking loss is a term of each
pass, too, see `lists.py`. Memory and processes only split the batch: what depends on the whole of
it (bins of gradient density, derivatives of a ranking loss, the attack on the table or on the
weights) is computed in a phase of its own, before any gradient of a parameter is added. A batch
that fits into one micro-batch keeps the graph of its clean pass, so that an attack costs two
forwards and three backwards, one of which computes no gradient of a weight.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.func import functional_call

from competition.config.encoder_recipe import EncoderRecipe
from competition.core.fingerprint import derive_seed
from competition.models.encoder.losses import (
    BINS,
    LOSSES,
    ghm_weights,
    gradient_norm_bins,
    symmetric_kl,
    target_probability,
)
from competition.models.encoder.model import RelevanceModel
from competition.training.adversary import Attack, TableAttack, WeightAttack, attack_rows
from competition.training.batches import Rows
from competition.training.lists import BatchListLosses, ListLosses
from competition.training.oom import Budget, TrainingBudget
from competition.training.samples import MicroBatch, Sample, Splitter

CLEAN, SECOND = 0, 1  # passes, which differ in their dropout


@dataclass(frozen=True)
class CleanPass:
    """The clean pass of a micro-batch, with its graph.

    Attributes:
        logits: `(batch, outputs)`.
        origin: zeros that were added to the embedded tokens, whose gradient is the tokens'.
        factor: `(batch,)` of gradient density.
        losses: `(batch,)`.
    """

    logits: Tensor
    origin: Tensor | None
    factor: Tensor | None
    losses: Tensor


# An attack that follows from the clean loss of the whole optimiser batch.
WholeBatchAttack = TableAttack | WeightAttack


class BatchGradients:
    """Computes gradients of a model for one recipe."""

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        recipe: EncoderRecipe,
        sample: Sample,
        seed: int,
    ) -> None:
        """`model` may be wrapped for several processes; `seed` is of dropout and mixup."""
        self.accelerator = accelerator
        self.model = model
        self.unwrapped: RelevanceModel = accelerator.unwrap_model(model)
        self.recipe = recipe
        self.sample = sample
        self.seed = seed
        self.budget: Budget = TrainingBudget(recipe.token_budget)

        self._objective = LOSSES[recipe.loss]
        self._has_second_pass = recipe.r_drop > 0 or recipe.adversary != "none"
        kind = self.unwrapped.kind
        dtype = self.unwrapped.dtype
        self._splitter = Splitter(accelerator, recipe, sample, kind.targets, dtype, seed)
        ranks = recipe.ranking_loss != "none"
        self._lists = ListLosses(recipe, kind, sample) if ranks else None

    def compute(self, batch: Rows, step: int) -> Tensor:
        """Add the gradient of the optimiser batch `batch`, number `step`; return its loss, on the device."""
        micro_batches = self._splitter.split(batch, step, self.budget.tokens)
        is_split = len(micro_batches) > 1
        lists = self._lists.of_batch(batch) if self._lists is not None else None

        # First what depends on the whole batch, before any gradient of a parameter is added.
        density = None
        if self._objective.density_weighted or (lists is not None and is_split):
            logits = self._clean_logits(micro_batches)
            if self._objective.density_weighted:
                density = self._density(micro_batches, logits)
            if lists is not None:
                lists.learn(CLEAN, micro_batches, logits)
        unsplit = None
        if not is_split and self._has_second_pass:
            unsplit = self._clean_pass(micro_batches[0], density)
        attack = self._whole_batch_attack(micro_batches, density, lists, unsplit, batch)
        if lists is not None and is_split and self._has_second_pass:
            lists.learn(SECOND, micro_batches, self._second_logits(micro_batches, attack))

        losses = []
        for micro_batch in micro_batches:
            # Gradients are exchanged once per optimiser batch, with its last micro-batch.
            is_last = micro_batch is micro_batches[-1]
            with nullcontext() if is_last else self.accelerator.no_sync(self.model):
                clean = unsplit or self._clean_pass(micro_batch, density)
                loss = self._loss(micro_batch, clean, attack, lists)
                # DDP takes the mean of gradients over processes, and the batch's loss is a sum.
                self.accelerator.backward(loss * self.accelerator.num_processes)
            losses.append(loss.detach())
        return self._sum(torch.stack(losses).sum())

    # --- passes ---

    @contextmanager
    def _pass(self, micro_batch: MicroBatch, number: int) -> Iterator[None]:
        """Compute within in the recipe's precision; the same pass of the same micro-batch draws the same dropout.

        The wrapped model runs the last pass before a backward that adds gradients, and the
        unwrapped one all others: the wrapper takes a forward for the start of an exchange, which
        processes with more micro-batches begin later.
        """
        torch.manual_seed(derive_seed(micro_batch.seed, number))
        with self.accelerator.autocast():
            yield

    def _clean_pass(self, micro_batch: MicroBatch, density: Tensor | None) -> CleanPass:
        # FGM needs the gradient of the embedded tokens: that of zeros which are added to them.
        origin = None
        if self.recipe.adversary.startswith("fgm"):
            table = self.unwrapped.token_table
            ids = micro_batch.inputs.ids
            shape = (*ids.shape, table.shape[1])  # (V * batch, tokens, H)
            dtype = self.unwrapped.dtype
            origin = torch.zeros(shape, dtype=dtype, device=ids.device, requires_grad=True)

        model = self.unwrapped if self._has_second_pass else self.model
        with self._pass(micro_batch, CLEAN):
            logits = model(micro_batch.inputs, origin, micro_batch.mix)
        logits = _widened(logits)  # (batch, outputs)

        factor = None
        if density is not None:
            bins = gradient_norm_bins(target_probability(logits.detach(), micro_batch.target))
            factor = ghm_weights(density)[bins]
        return CleanPass(logits, origin, factor, self._losses(micro_batch, logits, factor))

    def _losses(self, micro_batch: MicroBatch, logits: Tensor, factor: Tensor | None) -> Tensor:
        losses = self._objective.loss(logits, micro_batch.target)  # (batch,)
        if self._lists is not None:
            losses = (1 - self.recipe.ranking_weight) * losses
        return losses if factor is None else factor * losses

    def _loss(
        self,
        micro_batch: MicroBatch,
        clean: CleanPass,
        attack: WholeBatchAttack | None,
        lists: BatchListLosses | None,
    ) -> Tensor:
        """Return the micro-batch's share of the batch's loss."""
        passes = {CLEAN: clean.logits}
        terms = [clean.losses]  # (batch,) each
        if self._has_second_pass:
            own = self._attack(micro_batch, clean, attack)
            logits = passes[SECOND] = self._second_pass(self.model, micro_batch, own)
            terms.append(self._losses(micro_batch, logits, clean.factor))
            if self.recipe.r_drop:
                terms.append(self.recipe.r_drop * symmetric_kl(clean.logits, logits))

        loss = (micro_batch.weight * torch.stack(terms).mean(0)).sum()
        if lists is None:
            return loss
        ranking = [lists.loss(number, micro_batch, logits) for number, logits in passes.items()]
        return loss + torch.stack(ranking).sum() / len(terms)

    def _second_pass(self, model: nn.Module, micro_batch: MicroBatch, attack: Attack) -> Tensor:
        """Return the logits under an attack, `(batch, outputs)`."""
        arguments = (micro_batch.inputs, attack.delta, micro_batch.mix)
        with self._pass(micro_batch, SECOND):
            if attack.weights is None:
                return _widened(model(*arguments))

            prefix = "" if model is self.unwrapped else "module."
            weights = {prefix + name: weight for name, weight in attack.weights.items()}
            return _widened(functional_call(model, weights, arguments))

    def _attack(
        self, micro_batch: MicroBatch, clean: CleanPass | None, attack: WholeBatchAttack | None
    ) -> Attack:
        """Return what the second pass is run with; nothing where it only draws another dropout."""
        if isinstance(attack, TableAttack):
            return attack.at(micro_batch.inputs.ids)
        if isinstance(attack, WeightAttack):
            return attack.attack()
        if self.recipe.adversary == "fgm-row" and clean is not None:
            assert clean.origin is not None
            # Of unweighted losses: each row's gradient is scaled to one length.
            (gradient,) = torch.autograd.grad(clean.losses.sum(), clean.origin, retain_graph=True)
            views = micro_batch.inputs.present.shape[1]
            return attack_rows(gradient, views, self.recipe.epsilon)
        return Attack()

    # --- what depends on the whole batch ---

    @torch.no_grad()
    def _clean_logits(self, micro_batches: list[MicroBatch]) -> list[Tensor]:
        """Return the logits of the clean pass of each micro-batch, `(batch, outputs)` each, without a graph."""
        logits = []
        for micro_batch in micro_batches:
            with self._pass(micro_batch, CLEAN):
                each = self.unwrapped(micro_batch.inputs, None, micro_batch.mix)
            logits.append(_widened(each))
        return logits

    @torch.no_grad()
    def _second_logits(
        self, micro_batches: list[MicroBatch], attack: WholeBatchAttack | None
    ) -> list[Tensor]:
        """Return the logits of the second pass of each micro-batch, `(batch, outputs)` each, without a graph."""
        return [
            self._second_pass(self.unwrapped, micro_batch, self._attack(micro_batch, None, attack))
            for micro_batch in micro_batches
        ]

    def _density(self, micro_batches: list[MicroBatch], logits: list[Tensor]) -> Tensor:
        """Return the sum of weights in each bin of gradient density, over the whole batch, `(BINS,)`."""
        dtype = micro_batches[0].weight.dtype
        density = torch.zeros(BINS, device=self.accelerator.device, dtype=dtype)
        for micro_batch, each in zip(micro_batches, logits, strict=True):
            bins = gradient_norm_bins(target_probability(each, micro_batch.target))
            density.index_add_(0, bins, micro_batch.weight)
        return self._sum(density)

    def _whole_batch_attack(
        self,
        micro_batches: list[MicroBatch],
        density: Tensor | None,
        lists: BatchListLosses | None,
        unsplit: CleanPass | None,
        batch: Rows,
    ) -> WholeBatchAttack | None:
        """Return the attack that follows from the clean loss of the whole batch, where the adversary needs one.

        An `unsplit` batch has its clean pass already, whose graph is kept.
        """
        attack: WholeBatchAttack
        if self.recipe.adversary == "fgm-table":
            table = self.unwrapped.token_table
            tokens = self._distinct_tokens(batch)
            width, dtype = table.shape[1], self.unwrapped.dtype
            attack = TableAttack(tokens, width, dtype, self.recipe.epsilon)
        elif self.recipe.adversary == "awp":
            attack = WeightAttack(self.unwrapped, self.recipe.epsilon)
        else:
            return None

        keep = unsplit is not None
        for micro_batch in micro_batches:
            clean = unsplit or self._clean_pass(micro_batch, density)
            loss = (micro_batch.weight * clean.losses).sum()
            if lists is not None:
                loss = loss + lists.loss(CLEAN, micro_batch, clean.logits)
            if isinstance(attack, TableAttack):
                assert clean.origin is not None
                (gradient,) = torch.autograd.grad(loss, clean.origin, retain_graph=keep)
                attack.add(micro_batch.inputs.ids, gradient)
            else:
                weights = attack.weights
                attack.add(torch.autograd.grad(loss, weights, retain_graph=keep, allow_unused=True))
        attack.finish(self._sum)
        return attack

    def _distinct_tokens(self, batch: Rows) -> Tensor:
        """Return the distinct token ids of the batch's rows on all processes, ascending."""
        pairs = self.sample.pairs
        rows = self.sample.rows[batch]
        ids = [pairs.ids(int(row), view)[0] for row in rows for view in pairs.views]
        distinct = np.unique(np.concatenate([[pairs.special.padding], *ids]))
        return torch.from_numpy(distinct.astype(np.int64)).to(self.accelerator.device)

    def _sum(self, tensor: Tensor) -> Tensor:
        total: Tensor = self.accelerator.reduce(tensor, reduction="sum")
        return total


def _widened(logits: Tensor) -> Tensor:
    """Return logits in fp32 or wider."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
