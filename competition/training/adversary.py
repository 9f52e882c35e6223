"""Attacks on the clean pass, with which the second, adversarial pass is run. No weight is ever changed for them.

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
    """The attack of a second pass: one of the two, or neither, where it only draws another dropout."""

    delta: Tensor | None = None  # (V * batch, tokens, H), added to the embedded tokens
    weights: dict[str, Tensor] | None = None  # in the place of the model's parameters


def _scaled(gradient: Tensor, norm: Tensor, length: float | Tensor) -> Tensor:
    """Return `gradient` with `length` in the place of `norm`; zero where there is no gradient."""
    positive = norm.clamp_min(torch.finfo(norm.dtype).tiny)
    return torch.where(norm > 0, gradient * (length / positive), 0.0)


def attack_rows(gradient: Tensor, views: int, epsilon: float) -> Attack:
    """Return the attack `fgm-row`, by each example's gradient on its embedded tokens, its views together.

    Args:
        gradient: `(V * batch, tokens, H)`.
        views: V, how many texts an example has.
        epsilon: the length of each example's attack.
    """
    by_example = gradient.reshape(views, -1, *gradient.shape[1:])  # (V, batch, tokens, H)
    norm = by_example.square().sum((0, 2, 3), keepdim=True).sqrt()
    return Attack(delta=_scaled(by_example, norm, epsilon).flatten(0, 1))


class TableAttack:
    """`fgm-table`: gradients on embedded tokens are added up by token over the batch, then scaled at once."""

    def __init__(self, tokens: Tensor, hidden: int, dtype: torch.dtype, epsilon: float) -> None:
        """`tokens` are the distinct ids of the whole optimiser batch, ascending, the same on every process."""
        self._tokens = tokens
        self._epsilon = epsilon
        self._rows = torch.zeros(len(tokens), hidden, device=tokens.device, dtype=dtype)

    def add(self, ids: Tensor, gradient: Tensor) -> None:
        """Add the gradient `(V * batch, tokens, H)` at the tokens `ids (V * batch, tokens)`."""
        places = torch.searchsorted(self._tokens, ids.flatten())
        self._rows.index_add_(0, places, gradient.flatten(0, 1))

    def finish(self, reduce: Reduce) -> None:
        """Scale the sum of all gradients: from here on the rows hold epsilon g / ||g||."""
        rows = reduce(self._rows)
        self._rows = _scaled(rows, rows.norm(), self._epsilon)

    def at(self, ids: Tensor) -> Attack:
        """Return what the table's move adds to the tokens `ids`."""
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
        """Add one micro-batch's gradients; None for a matrix that it does not use."""
        for total, gradient in zip(self._gradients.values(), gradients, strict=True):
            if gradient is not None:
                total += gradient

    def finish(self, reduce: Reduce) -> None:
        """Scale the sums to epsilon ||w|| g / ||g||, with norms over rows that have a gradient."""
        for name, weight in self._weights.items():
            gradient = reduce(self._gradients[name])
            length = self._epsilon * weight.detach()[gradient.flatten(1).any(1)].norm()
            self._gradients[name] = _scaled(gradient, gradient.norm(), length)

    def attack(self) -> Attack:
        """Return the moved weights; their gradient is that of the weights."""
        moved = {name: weight + self._gradients[name] for name, weight in self._weights.items()}
        return Attack(weights=moved)
