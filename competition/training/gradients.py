"""The gradient of one optimiser batch: the clean pass, the adversarial or second pass, and what ties the two.

For each row, the loss is the mean of its terms (clean; adversarial or second pass; alpha times
their divergence), and the batch's loss is sum(w * loss) / sum(w). Memory and processes only split
the batch: what depends on the whole of it (bins of gradient density, the attack on the table or on
the weights) is found in a phase of its own, before any gradient of a parameter is counted. A batch
that fits in one piece keeps the graph of its clean pass, so that an attack costs two forwards and
three backwards, one of which computes no gradient of a weight.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.func import functional_call

from competition.config.recipe import EncoderRecipe
from competition.core.fingerprint import derive_seed
from competition.data.pairs import Pairs
from competition.models.encoder.inputs import Inputs, Mixup
from competition.models.encoder.losses import (
    BINS,
    LOSSES,
    LossSpec,
    ghm_weights,
    gradient_norm_bins,
    one_hot,
    smooth,
    symmetric_kl,
    target_probability,
)
from competition.models.encoder.model import LOGITS, RelevanceModel
from competition.training.adversary import Attack, TableAttack, WeightAttack, attack_rows
from competition.training.batches import Rows, collate, micro_batches, shard
from competition.training.regularization import draw_mix

CLEAN, SECOND = 0, 1  # passes, which differ in their dropout


@dataclass(frozen=True)
class Sample:
    """What is trained on: rows of `pairs` with a target and a weight each."""

    pairs: Pairs
    rows: Rows  # (n,) into `pairs`
    target: np.ndarray  # (n,) class index or gain, or (n, outputs) a distribution or a gain
    weight: np.ndarray  # (n,) at least 0

    def mean_target(self, outputs: int) -> Tensor:
        """Return the weighted mean of the targets as distributions, or of the gains: `(outputs,)` in float64."""
        target = one_hot(torch.from_numpy(self.target), outputs).double()
        weight = torch.from_numpy(self.weight).double()[:, None]
        return (weight * target).sum(0) / weight.sum().clamp_min(torch.finfo(torch.float64).tiny)


@dataclass(frozen=True)
class MicroBatch:
    """A micro-batch on the device; targets and weights are mixed already where `mix` is there."""

    inputs: Inputs
    target: Tensor  # (batch, outputs)
    weight: Tensor  # (batch,)
    mix: Mixup | None
    seed: int  # of dropout, the same whenever a pass is repeated


@dataclass(frozen=True)
class Clean:
    """The clean pass of a piece, with its graph."""

    logits: Tensor  # (batch, outputs)
    origin: (
        Tensor | None
    )  # zeros that were added to the embedded tokens: their gradient is the tokens'
    factor: Tensor | None  # (batch,) of gradient density
    losses: Tensor  # (batch,)


@dataclass
class BatchGradients:
    """Counts gradients of a model for one recipe. `model` may be wrapped for several processes, `plain` is not."""

    accelerator: Accelerator
    model: nn.Module
    plain: RelevanceModel
    recipe: EncoderRecipe
    sample: Sample
    seed: int

    def __post_init__(self) -> None:
        self.token_budget = self.recipe.token_budget

    @cached_property
    def _lengths(self) -> np.ndarray:
        return self.sample.pairs.lengths()[self.sample.rows]

    @property
    def _objective(self) -> LossSpec:
        return LOSSES[self.recipe.loss]

    @property
    def _has_second_pass(self) -> bool:
        return self.recipe.r_drop > 0 or self.recipe.adversary != "none"

    def backward(self, chosen: Rows, step: int) -> Tensor:
        """Add the gradient of the optimiser batch `chosen`, number `step`; returns its loss, on the device."""
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        whole = float(self.sample.weight[chosen].sum())
        budget = self.token_budget // len(self.sample.pairs.views)
        groups = [
            micro_batches(shard(chosen, other, ranks), self._lengths, budget)
            for other in range(ranks)
        ]
        share = 1 / whole if whole else 0.0
        pieces = [
            self._piece(group, share, step, number) for number, group in enumerate(groups[rank])
        ]
        # A pass may be an exchange, so all processes take as many: who has less to do passes a row
        # that weighs nothing.
        for number in range(len(pieces), max(map(len, groups))):
            pieces.append(self._piece(chosen[:1], 0.0, step, number))
        density = self._density(pieces) if self._objective.density_weighted else None
        kept = (
            self._clean(pieces[0], density) if len(pieces) == 1 and self._has_second_pass else None
        )
        attack = self._whole_batch_attack(pieces, density, kept, chosen)
        losses = []
        for piece in pieces:
            # Gradients are exchanged once per optimiser batch, with its last piece.
            sync = nullcontext() if piece is pieces[-1] else self.accelerator.no_sync(self.model)
            with sync:
                # DDP averages gradients over processes, hence the factor `ranks`: the batch's loss
                # is a sum of pieces.
                loss = self._loss(piece, kept or self._clean(piece, density), attack)
                self.accelerator.backward(loss * ranks)
            losses.append(loss.detach())
        return self._sum(torch.stack(losses).sum())

    def _piece(self, group: Rows, share: float, step: int, number: int) -> MicroBatch:
        """The rows of `group`, weights already divided by the whole batch's."""
        device = self.accelerator.device
        seed = derive_seed(self.seed, step, self.accelerator.process_index, number)
        dtype = next(self.plain.parameters()).dtype
        target = torch.from_numpy(self.sample.target[group]).to(device, dtype)
        target = one_hot(target, LOGITS[self.recipe.kind])
        if self.recipe.label_smoothing:
            target = smooth(target, self.recipe.label_smoothing)
        weight = torch.from_numpy(self.sample.weight[group] * share).to(device, dtype)
        mix = None
        if self.recipe.mixup:
            mix = draw_mix(len(group), self.recipe.mixup, seed, device=device)
            target, weight = mix.apply(target), mix.apply(weight)
        return MicroBatch(
            collate(self.sample.pairs, self.sample.rows[group], device), target, weight, mix, seed
        )

    # --- passes ---

    def _forward(self, model: nn.Module, piece: MicroBatch, number: int, attack: Attack) -> Tensor:
        """The logits of a pass, at least in fp32. The same pass of the same piece draws the same dropout.

        `model` is the wrapped one for the last pass before a backward that counts gradients, and
        the plain one for all
        others: the wrapper takes a forward for the start of an exchange, which processes with more
            pieces begin later.
        """
        torch.manual_seed(derive_seed(piece.seed, number))
        arguments = (piece.inputs, attack.delta, piece.mix)
        with self.accelerator.autocast():
            if attack.weights is None:
                logits = model(*arguments)
            else:
                prefix = "" if model is self.plain else "module."
                weights = {prefix + name: weight for name, weight in attack.weights.items()}
                logits = functional_call(model, weights, arguments)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def _clean(self, piece: MicroBatch, density: Tensor | None) -> Clean:
        origin = None
        if self.recipe.adversary.startswith("fgm"):
            table, ids = self.plain.token_table, piece.inputs.ids
            origin = torch.zeros(
                *ids.shape, table.shape[1], dtype=table.dtype, device=ids.device, requires_grad=True
            )
        model = self.plain if self._has_second_pass else self.model
        logits = self._forward(model, piece, CLEAN, Attack(delta=origin))
        factor = None
        if density is not None:
            factor = ghm_weights(density)[
                gradient_norm_bins(target_probability(logits.detach(), piece.target))
            ]
        return Clean(logits, origin, factor, self._losses(piece, logits, factor))

    def _losses(self, piece: MicroBatch, logits: Tensor, factor: Tensor | None) -> Tensor:
        losses = self._objective.loss(logits, piece.target)
        return losses if factor is None else factor * losses

    def _loss(
        self, piece: MicroBatch, clean: Clean, attack: TableAttack | WeightAttack | None
    ) -> Tensor:
        """The piece's share of the batch's loss."""
        terms = [clean.losses]
        if self._has_second_pass:
            logits = self._forward(self.model, piece, SECOND, self._attack(piece, clean, attack))
            terms.append(self._losses(piece, logits, clean.factor))
            if self.recipe.r_drop:
                terms.append(self.recipe.r_drop * symmetric_kl(clean.logits, logits))
        return (piece.weight * torch.stack(terms).mean(0)).sum()

    # --- what depends on the whole batch ---

    @torch.no_grad()
    def _density(self, pieces: list[MicroBatch]) -> Tensor:
        """The sum of weights in each bin of gradient density, over the whole batch, `(BINS,)`."""
        density = torch.zeros(BINS, device=self.accelerator.device, dtype=pieces[0].weight.dtype)
        for piece in pieces:
            truth = target_probability(
                self._forward(self.plain, piece, CLEAN, Attack()), piece.target
            )
            density.index_add_(0, gradient_norm_bins(truth), piece.weight)
        return self._sum(density)

    def _whole_batch_attack(
        self, pieces: list[MicroBatch], density: Tensor | None, kept: Clean | None, chosen: Rows
    ) -> TableAttack | WeightAttack | None:
        """The attack that follows from the clean loss of the whole batch, for the adversaries that need it."""
        attack: TableAttack | WeightAttack
        if self.recipe.adversary == "fgm-table":
            table = self.plain.token_table
            attack = TableAttack(
                self._tokens(chosen), table.shape[1], table.dtype, self.recipe.epsilon
            )
        elif self.recipe.adversary == "awp":
            attack = WeightAttack(self.plain, self.recipe.epsilon)
        else:
            return None
        for piece in pieces:
            clean = kept or self._clean(piece, density)
            loss = (piece.weight * clean.losses).sum()
            if isinstance(attack, TableAttack):
                assert clean.origin is not None
                (gradient,) = torch.autograd.grad(loss, clean.origin, retain_graph=kept is not None)
                attack.add(piece.inputs.ids, gradient)
            else:
                attack.add(
                    torch.autograd.grad(
                        loss, attack.weights, retain_graph=kept is not None, allow_unused=True
                    )
                )
        attack.finish(self._sum)
        return attack

    def _attack(
        self, piece: MicroBatch, clean: Clean, attack: TableAttack | WeightAttack | None
    ) -> Attack:
        """What the second pass of a piece is run with; nothing where it only draws another dropout."""
        if isinstance(attack, TableAttack):
            return attack.at(piece.inputs.ids)
        if isinstance(attack, WeightAttack):
            return attack.attack()
        if self.recipe.adversary == "fgm-row":
            assert clean.origin is not None
            (gradient,) = torch.autograd.grad(clean.losses.sum(), clean.origin, retain_graph=True)
            return attack_rows(gradient, piece.inputs.present.shape[1], self.recipe.epsilon)
        return Attack()

    def _tokens(self, chosen: Rows) -> Tensor:
        """The distinct token ids of the batch's rows on all processes, ascending."""
        pairs = self.sample.pairs
        ids = [
            pairs.ids(int(row), view)[0] for row in self.sample.rows[chosen] for view in pairs.views
        ]
        distinct = np.unique(np.concatenate([[pairs.special.padding], *ids]))
        return torch.from_numpy(distinct.astype(np.int64)).to(self.accelerator.device)

    def _sum(self, tensor: Tensor) -> Tensor:
        return self.accelerator.reduce(tensor, reduction="sum")
