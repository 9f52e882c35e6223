"""What an encoder makes of the first token of each text, without computing what that does not depend on.

The library's own pass computes every token of a padded batch in every layer. Here, padding is left out of all that
looks at tokens one by one (projections, feed-forward, norms), and the last layer, of which a head reads the first token
alone, asks for nothing else: behind its keys and values, one token per text goes on. The same numbers but for rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from competition.model.dropout import drop
from competition.model.inputs import Inputs

# Architectures whose layers are BERT's, with the same names; the value is where positions begin, in multiples of the
# padding's id, behind which RoBERTa's family counts.
FAMILY = {"bert": False, "roberta": True, "xlm-roberta": True, "camembert": True}

Layer = Callable[[nn.Module, Tensor, "Packing", bool], Tensor]


@dataclass(frozen=True)
class Packing:
    """Where the tokens of a batch lie among its padding."""

    places: Tensor  # (T,) of the tokens in the flattened batch
    first: Tensor  # (texts,) of each text's first token among the T
    mask: Tensor | None  # (texts, 1, 1, tokens) bool, whether a key is a token; None without padding
    shape: torch.Size  # (texts, tokens)

    @classmethod
    def of(cls, inputs: Inputs) -> "Packing":
        """That of a batch."""
        shape = inputs.ids.shape
        lengths = inputs.mask.sum(1)
        padded = len(inputs.places) < shape.numel()
        mask = inputs.mask.bool()[:, None, None] if padded else None
        return cls(inputs.places, lengths.cumsum(0) - lengths, mask, shape)

    def pack(self, padded: Tensor) -> Tensor:
        """`(texts, tokens, …)` -> `(T, …)`."""
        flat = padded.flatten(0, 1)
        return flat if self.mask is None else flat.index_select(0, self.places)

    def spread(self, packed: Tensor) -> Tensor:
        """`(T, H)` -> `(texts, tokens, H)`, zeros in the place of padding."""
        if self.mask is not None:
            packed = packed.new_zeros(self.shape.numel(), packed.shape[1]).index_copy(0, self.places, packed)
        return packed.unflatten(0, self.shape)


def is_lean(encoder: Any) -> bool:
    """Whether an encoder is one of the architectures that `first_states` knows."""
    return encoder.config.model_type in FAMILY and not getattr(encoder.config, "is_decoder", False)


def first_states(encoder: Any, inputs: Inputs, delta: Tensor | None, run: Layer, save_memory: bool) -> Tensor:
    """The last layer's first tokens, `(V * batch, 1, H)`.

    Args:
        encoder: for which `is_lean` holds.
        inputs: the texts.
        delta: added to the embedded tokens, `(V * batch, tokens, H)`.
        run: `layer_pass`, or what it was compiled to.
        save_memory: forget what happens inside of a layer, and compute it again for the gradient.
    """
    packing = Packing.of(inputs)
    ids, types, position = (packing.pack(x) for x in (inputs.ids, inputs.types, _positions(encoder, inputs)))
    embedded = encoder.get_input_embeddings()(ids)
    if delta is not None:
        embedded = embedded + packing.pack(delta)
    types = types if encoder.config.type_vocab_size > 1 else torch.zeros_like(types)
    hidden: Tensor = encoder.embeddings(
        inputs_embeds=embedded[None], token_type_ids=types[None], position_ids=position[None]
    )[0]  # (T, H)
    layers = encoder.encoder.layer
    for layer in layers:
        last = layer is layers[-1]
        if save_memory and torch.is_grad_enabled():
            hidden = checkpoint(run, layer, hidden, packing, last, use_reentrant=False)
        else:
            hidden = run(layer, hidden, packing, last)
    return hidden[:, None]


def _positions(encoder: Any, inputs: Inputs) -> Tensor:
    """`(texts, tokens)`; what it says of padding is not read."""
    begin = encoder.config.pad_token_id + 1 if FAMILY[encoder.config.model_type] else 0
    return torch.arange(begin, begin + inputs.ids.shape[1], device=inputs.ids.device).expand_as(inputs.ids)


def layer_pass(layer: Any, hidden: Tensor, packing: Packing, last: bool) -> Tensor:
    """One layer: all tokens `(T, H)` -> all, or of the `last` layer the first of each text, `(texts, H)`."""
    own = layer.attention.self
    asking = hidden[packing.first] if last else hidden
    if last:
        key, value = _project(hidden, packing, own.num_attention_heads, own.key, own.value)
        query = own.query(asking).unflatten(1, (own.num_attention_heads, 1, -1))
    else:
        query, key, value = _project(hidden, packing, own.num_attention_heads, own.query, own.key, own.value)
    share = own.dropout.p if own.training else 0.0
    attended = _attend(query, key, value, packing.mask, share).transpose(1, 2).flatten(2)  # (texts, asking, H)
    attended = attended[:, 0] if last else packing.pack(attended)
    attended = layer.attention.output(attended, asking)
    behind: Tensor = layer.output(layer.intermediate(attended), attended)
    return behind


def _project(hidden: Tensor, packing: Packing, heads: int, *projections: nn.Linear) -> tuple[Tensor, ...]:
    """Tokens `(T, H)` by each of some projections, all in one product: `(texts, heads, tokens, H / heads)` each."""
    weight, bias = (torch.cat([getattr(p, name) for p in projections]) for name in ("weight", "bias"))
    padded = packing.spread(functional.linear(hidden, weight, bias))
    return padded.unflatten(2, (len(projections), heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, share: float) -> Tensor:
    """Scaled dot-product attention of which `share` is dropped, `(texts, heads, asking, H / heads)`."""
    if not share or query.is_cuda:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=share)
    # With dropout the library has no fused kernel for CPUs, and its masks are slow to draw.
    texts, heads, _, size = query.shape
    allowed = key.new_zeros(texts, 1, 1, key.shape[2])
    if mask is not None:
        allowed = allowed.masked_fill(~mask, float("-inf"))
    allowed = allowed.expand(-1, heads, -1, -1)
    q, k, v, bias = (x.flatten(0, 1) for x in (query, key, value, allowed))  # (texts * heads, …)
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=size**-0.5)
    return (drop(scores.softmax(-1), share) @ v).unflatten(0, (texts, heads))
