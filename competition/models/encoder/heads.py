"""From what the encoder reads of a pair's views to tanh features, one class per architecture, and on to logits.

Each architecture takes what is `read` of the views, `mask (batch, views, tokens)`, `present (batch,
views)` and `extra (batch, E)`, the features that stand beside it, and gives `(batch, H)` in -1..1.
`read` is `(batch, views, W)` where the architecture `pools` its texts, `(batch, views, tokens, W)`
where it reads their tokens. An architecture may give `similarities` as the last columns behind its
tanh features; these go to the logits without dropout.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from competition.models.encoder.inputs import Mixup
from competition.models.encoder.pooling import BOTH, FIRST, LAST


def pool(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Return one vector per text: `(texts, tokens, H)` -> `(texts, H)`, or `(texts, 2 H)` for `first+mean`.

    `mask (texts, tokens)` is 1 on tokens; padding never counts. Means are taken in fp32 or wider.
    """
    # The token, wherever the padding stands.
    if pooling == LAST:
        places = torch.arange(mask.shape[1], device=mask.device)
        last = (mask * places).argmax(1)  # (texts,)
        return hidden[torch.arange(len(hidden), device=hidden.device), last]

    first = hidden[:, 0]
    if pooling == FIRST:
        return first

    wide = torch.promote_types(hidden.dtype, torch.float32)
    weight = mask[:, :, None].to(wide)  # (texts, tokens, 1)
    mean = (hidden * weight).sum(1) / weight.sum(1)  # (texts, H)
    return torch.cat([first.to(wide), mean], 1) if pooling == BOTH else mean


class CrossEncoder(nn.Module):
    """The pooled text and the features -> dropout -> dense -> tanh."""

    pools = True
    similarities = 0

    def __init__(self, width: int, hidden: int, extra: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(width + extra, hidden)

    def forward(self, read: Tensor, mask: Tensor, present: Tensor, extra: Tensor) -> Tensor:
        """Return tanh features, `(batch, H)`; for the arguments see the module."""
        features = torch.cat([read[:, 0], extra], 1)  # (batch, W + E)
        return torch.tanh(self.dense(self.dropout(features)))


class MixtureOfExperts(nn.Module):
    """One expert per view (query with title, bullets, description).

    A gate weighs those whose field is there.
    """

    pools = True
    similarities = 0
    views = 3  # as many as `data.pairs.views` gives it

    def __init__(self, width: int, hidden: int, extra: int, dropout: float) -> None:
        super().__init__()
        self.experts = nn.ModuleList(
            CrossEncoder(width, hidden, extra, dropout) for _ in range(self.views)
        )
        self.gate = nn.Linear(self.views * width, self.views)

    def forward(self, read: Tensor, mask: Tensor, present: Tensor, extra: Tensor) -> Tensor:
        """Return tanh features, `(batch, H)`.

        A product without any text is left to the first expert.
        """
        is_open = present.clone()  # (batch, views)
        is_open[:, 0] |= ~present.any(1)

        # The gate sees no field that is missing, and gives its expert no weight.
        known = read.masked_fill(~is_open[:, :, None], 0.0)  # (batch, views, W)
        scores = self.gate(known.flatten(1)).masked_fill(~is_open, float("-inf"))
        weights = scores.softmax(1)  # (batch, views)

        answers = [
            expert(read[:, v : v + 1], mask[:, v : v + 1], present, extra)
            for v, expert in enumerate(self.experts)
        ]
        features = torch.stack(answers, 1)  # (batch, views, H)
        mixture: Tensor = (weights[:, :, None] * features).sum(1)  # (batch, H)
        return mixture


class TwoTower(nn.Module):
    """Query and product are read apart; each tower then attends to the other's tokens (views: query, product).

    u and v are the means of the towers' tokens after the cross attention; features u, v, |u - v|.
    """

    pools = False
    similarities = 0
    HEADS = 4

    def __init__(self, width: int, hidden: int, extra: int, dropout: float) -> None:
        super().__init__()
        self.cross = nn.MultiheadAttention(
            width, math.gcd(width, self.HEADS), dropout=dropout, batch_first=True
        )
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(3 * width + extra, hidden)

    def forward(self, read: Tensor, mask: Tensor, present: Tensor, extra: Tensor) -> Tensor:
        """Return tanh features, `(batch, H)`; for the arguments see the module."""
        query, product = read.unbind(1)  # (batch, tokens, W) each
        query_mask, product_mask = mask.bool().unbind(1)
        u = self._tower(query, query_mask, product, product_mask)  # (batch, W)
        v = self._tower(product, product_mask, query, query_mask)
        features = torch.cat([u, v, (u - v).abs(), extra], 1)  # (batch, 3 W + E)
        return torch.tanh(self.dense(self.dropout(features)))

    def _tower(self, tokens: Tensor, mask: Tensor, other: Tensor, other_mask: Tensor) -> Tensor:
        """Let a tower attend to the other, and average it: `(batch, tokens, W)` -> `(batch, W)`."""
        attended, _ = self.cross(
            tokens, other, other, key_padding_mask=~other_mask, need_weights=False
        )
        tokens = self.norm(tokens + attended)
        weight = mask[:, :, None].to(tokens.dtype)
        mean: Tensor = (tokens * weight).sum(1) / weight.sum(1)
        return mean


class BiEncoder(nn.Module):
    """Query and product are read apart and compared, as embedding models are made for (views: query, product).

    u and v are the pooled texts, brought to one length. |u - v| and u * v -> dropout -> dense ->
    tanh; behind these features comes the cosine of u and v, standardised, which needs no training
    to rank products.
    """

    pools = True
    similarities = 1
    center: Tensor
    scale: Tensor

    def __init__(self, width: int, hidden: int, extra: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(2 * width + extra, hidden)
        self.register_buffer("center", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, read: Tensor, mask: Tensor, present: Tensor, extra: Tensor) -> Tensor:
        """Return tanh features and the standardised cosine, `(batch, H + 1)`."""
        # Brought to the length sqrt(W), that of W values of size 1.
        length = math.sqrt(read.shape[2])
        u, v = (functional.normalize(side, dim=1) * length for side in read.unbind(1))  # (batch, W)
        features = torch.cat([(u - v).abs(), u * v, extra], 1)  # (batch, 2 W + E)
        tanh_features = torch.tanh(self.dense(self.dropout(features)))  # (batch, H)
        cosine = (self.cosine(read) - self.center) / self.scale  # (batch,)
        return torch.cat([tanh_features, cosine[:, None]], 1)

    def cosine(self, read: Tensor) -> Tensor:
        """Return the cosine of query and product, `(batch,)`, in fp32 or wider."""
        wide = torch.promote_types(read.dtype, torch.float32)
        query, product = read.to(wide).unbind(1)  # (batch, W) each
        return functional.cosine_similarity(query, product)

    def standardise(self, cosines: Tensor) -> None:
        """Standardise from now on, so that these `cosines (n,)` have mean 0 and deviation 1."""
        self.center.copy_(cosines.mean())
        self.scale.copy_(cosines.std(correction=0).clamp_min(1e-4))


ARCHITECTURES: dict[
    str, type[CrossEncoder] | type[MixtureOfExperts] | type[TwoTower] | type[BiEncoder]
] = {
    "cross-encoder": CrossEncoder,
    "bi-encoder": BiEncoder,
    "mixture-of-experts": MixtureOfExperts,
    "two-tower": TwoTower,
}


class OutputLayer(nn.Module):
    """Tanh features -> (mixup) -> dropout -> logits; the last columns, `similarities`, pass no dropout.

    With `samples` above 1, the logits are the mean over that many dropout masks (multi-sample
    dropout, Inoue 2019).
    """

    def __init__(
        self,
        hidden: int,
        outputs: int,
        dropout: float,
        samples: int,
        similarities: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden + similarities, outputs, bias=bias)
        self.samples = samples
        self.sizes = [hidden, similarities]

    def forward(self, features: Tensor, mix: Mixup | None = None) -> Tensor:
        """Return logits: `(batch, H + similarities)` -> `(batch, outputs)`."""
        if mix is not None:
            features = mix.apply(features)
        samples = self.samples if self.training else 1

        # Not in bf16: scores of one query that differ in the third digit would be ties.
        with torch.autocast(features.device.type, enabled=False):
            features = features.to(self.output.weight.dtype)
            tanh_features, similarities = torch.split(features, self.sizes, 1)
            logits = [
                self.output(torch.cat([self.dropout(tanh_features), similarities], 1))
                for _ in range(samples)
            ]
            return torch.stack(logits).mean(0)  # (samples, batch, outputs) -> (batch, outputs)
