"""Attacks on the clean pass: what the second, adversarial pass is run with. No weight is ever changed for them.

- `fgm-table` (Fast Gradient Method, Miyato et al. 2017 in its common form): the gradient of the
  whole optimiser batch's clean loss on the word-embedding table, scaled to the length epsilon. Only
  rows of tokens in the batch have a gradient, so only those are kept: the same numbers as the whole
  table. It needs the whole batch before the first adversarial pass.
- `fgm-row` (Miyato et al. 2017): each example's own gradient on its own embedded tokens, each of
length epsilon.
- `awp` (adversarial weight perturbation, Wu et al. 2020): every weight matrix moves along the
  batch's gradient by epsilon times its own norm, of an embedding table that of the rows with a
  gradient: what a brand moves by must not grow with the number of brands. The pass runs with w + d
  in the place of w.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Reduce = Callable[[Tensor], Tensor]  # the sum of a tensor over all processes


@dataclass(frozen=True)
class Attack:
    """What a second pass is run with: one of the two, or neither, where it only draws another dropout."""

    delta: Tensor | None = None  # (V * batch, tokens, H), added to the embedded tokens
    weights: dict[str, Tensor] | None = None  # in the place of the model's parameters


def _scaled(gradient: Tensor, norm: Tensor, length: float | Tensor) -> Tensor:
    """`gradient` with `length` in the place of `norm`; zero where there is no gradient."""
    return torch.where(
        norm > 0, gradient * (length / norm.clamp_min(torch.finfo(norm.dtype).tiny)), 0.0
    )


def attack_rows(gradient: Tensor, views: int, epsilon: float) -> Attack:
    """`fgm-row`: from each example's `gradient (V * batch, tokens, H)` on its embedded tokens, its views together."""
    by_example = gradient.unflatten(0, (views, -1))  # (V, batch, tokens, H)
    norm = by_example.square().sum((0, 2, 3), keepdim=True).sqrt()
    return Attack(delta=_scaled(by_example, norm, epsilon).flatten(0, 1))


class TableAttack:
    """`fgm-table`: gradients on embedded tokens are added up by token over the batch, then scaled at once."""

    def __init__(self, tokens: Tensor, hidden: int, dtype: torch.dtype, epsilon: float) -> None:
        """`tokens` are the distinct ids of the whole optimiser batch, ascending, the same on every process."""
        self._tokens, self._epsilon = tokens, epsilon
        self._rows = torch.zeros(len(tokens), hidden, device=tokens.device, dtype=dtype)

    def add(self, ids: Tensor, gradient: Tensor) -> None:
        """Count the gradient `(V * batch, tokens, H)` at the tokens `ids (V * batch, tokens)`."""
        self._rows.index_add_(
            0, torch.searchsorted(self._tokens, ids.flatten()), gradient.flatten(0, 1)
        )

    def finish(self, reduce: Reduce) -> None:
        """All gradients are added: from here on the rows hold epsilon g / ||g||."""
        rows = reduce(self._rows)
        self._rows = _scaled(rows, rows.norm(), self._epsilon)

    def at(self, ids: Tensor) -> Attack:
        """What the table's move adds to the tokens `ids`."""
        return Attack(delta=self._rows[torch.searchsorted(self._tokens, ids)])


class WeightAttack:
    """`awp`: gradients on the weight matrices are added up over the batch."""

    def __init__(self, model: nn.Module, epsilon: float) -> None:
        self._weights = {
            n: p for n, p in model.named_parameters() if p.requires_grad and p.ndim > 1
        }
        self._gradients = {name: torch.zeros_like(weight) for name, weight in self._weights.items()}
        self._epsilon = epsilon

    @property
    def weights(self) -> list[Tensor]:
        """The matrices that move, in the order in which `add` takes their gradients."""
        return list(self._weights.values())

    def add(self, gradients: tuple[Tensor | None, ...]) -> None:
        """Count one micro-batch's gradients; None for a matrix that it does not use."""
        for total, gradient in zip(self._gradients.values(), gradients, strict=True):
            if gradient is not None:
                total += gradient

    def finish(self, reduce: Reduce) -> None:
        """All gradients are added: from here on they hold epsilon ||w|| g / ||g||, norms over rows with a gradient."""
        for name, weight in self._weights.items():
            gradient = reduce(self._gradients[name])
            length = self._epsilon * weight.detach()[gradient.flatten(1).any(1)].norm()
            self._gradients[name] = _scaled(gradient, gradient.norm(), length)

    def attack(self) -> Attack:
        """The moved weights; their gradient is that of the weights."""
        return Attack(
            weights={name: weight + self._gradients[name] for name, weight in self._weights.items()}
        )
