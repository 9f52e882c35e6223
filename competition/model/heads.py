"""From what the encoder reads of a pair's views to tanh features, one class per architecture, and on to logits.

Each architecture takes `hidden (batch, views, tokens, H)`, `mask (batch, views, tokens)`, `present (batch, views)` and
`extra (batch, E)`, the features that stand beside it, and gives `(batch, H)` in -1..1.
"""

import math

import torch
from torch import Tensor, nn

from competition.model.inputs import Mix


class CrossEncoder(nn.Module):
    """[CLS] and the features -> dropout -> dense -> tanh."""

    reads_first = True  # of each view no other token

    def __init__(self, hidden: int, extra: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(hidden + extra, hidden)

    def forward(self, hidden: Tensor, mask: Tensor, present: Tensor, extra: Tensor) -> Tensor:
        """See the module."""
        features = torch.cat([hidden[:, 0, 0], extra], 1)
        return torch.tanh(self.dense(self.dropout(features)))


class MixtureOfExperts(nn.Module):
    """One expert per view (query with title, bullets, description); a gate weighs those whose field is there."""

    reads_first = True
    views = 3

    def __init__(self, hidden: int, extra: int, dropout: float) -> None:
        super().__init__()
        self.experts = nn.ModuleList(CrossEncoder(hidden, extra, dropout) for _ in range(self.views))
        self.gate = nn.Linear(self.views * hidden, self.views)

    def forward(self, hidden: Tensor, mask: Tensor, present: Tensor, extra: Tensor) -> Tensor:
        """See the module; a product without any text is left to the first expert."""
        open_ = present.clone()
        open_[:, 0] |= ~present.any(1)
        first = hidden[:, :, 0].masked_fill(~open_[:, :, None], 0.0)  # (batch, views, H)
        gate = self.gate(first.flatten(1)).masked_fill(~open_, float("-inf")).softmax(1)  # (batch, views)
        said = [
            expert(hidden[:, v : v + 1], mask[:, v : v + 1], present, extra) for v, expert in enumerate(self.experts)
        ]
        return (gate[:, :, None] * torch.stack(said, 1)).sum(1)


class TwoTower(nn.Module):
    """Query and product are read apart; each tower then attends to the other's tokens (views: query, product).

    u and v are the means of the towers' tokens after the cross attention; features u, v, |u - v|.
    """

    reads_first = False
    HEADS = 4

    def __init__(self, hidden: int, extra: int, dropout: float) -> None:
        super().__init__()
        self.cross = nn.MultiheadAttention(hidden, math.gcd(hidden, self.HEADS), dropout=dropout, batch_first=True)
        self.norm = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(3 * hidden + extra, hidden)

    def forward(self, hidden: Tensor, mask: Tensor, present: Tensor, extra: Tensor) -> Tensor:
        """See the module."""
        (query, product), (of_query, of_product) = hidden.unbind(1), mask.bool().unbind(1)
        u = self._tower(query, of_query, product, of_product)
        v = self._tower(product, of_product, query, of_query)
        features = torch.cat([u, v, (u - v).abs(), extra], 1)
        return torch.tanh(self.dense(self.dropout(features)))

    def _tower(self, tokens: Tensor, mask: Tensor, other: Tensor, of_other: Tensor) -> Tensor:
        """One tower's tokens, having attended to the other's, as their mean: `(batch, tokens, H)` -> `(batch, H)`."""
        attended, _ = self.cross(tokens, other, other, key_padding_mask=~of_other, need_weights=False)
        tokens = self.norm(tokens + attended)
        weight = mask[:, :, None].to(tokens.dtype)
        return (tokens * weight).sum(1) / weight.sum(1)


ARCHITECTURES: dict[str, type[CrossEncoder] | type[MixtureOfExperts] | type[TwoTower]] = {
    "cross-encoder": CrossEncoder,
    "mixture-of-experts": MixtureOfExperts,
    "two-tower": TwoTower,
}


class Output(nn.Module):
    """Tanh features -> (mixup) -> dropout -> logits.

    With `samples` above 1, the logits are the mean over that many dropout masks (multi-sample dropout, Inoue 2019).
    """

    def __init__(self, hidden: int, outputs: int, dropout: float, samples: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, outputs)
        self.samples = samples

    def forward(self, features: Tensor, mix: Mix | None = None) -> Tensor:
        """`(batch, H)` -> `(batch, outputs)`."""
        if mix is not None:
            features = mix.apply(features)
        samples = self.samples if self.training else 1
        # Not in bf16: scores of one query that differ in the third digit would be ties.
        with torch.autocast(features.device.type, enabled=False):
            features = features.to(self.output.weight.dtype)
            return torch.stack([self.output(self.dropout(features)) for _ in range(samples)]).mean(0)
