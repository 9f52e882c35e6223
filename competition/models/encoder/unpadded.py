"""What an encoder makes of each text, pooled, without computing what that does not depend on.

The library's own pass computes every token of a padded batch in every layer. Here, padding is left
out of all that looks at tokens one by one (projections, feed-forward, norms). Where a head reads
the first token alone, the last layer asks for nothing else: behind its keys and values, one token
per text goes on. The same numbers but for rounding.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from competition.models.encoder.dropout import fast_dropout
from competition.models.encoder.heads import pool
from competition.models.encoder.inputs import Inputs
from competition.models.encoder.pooling import FIRST

# Architectures whose layers are BERT's, with the same names; the value is where positions begin, in
# multiples of the padding's id, behind which RoBERTa's family counts.
POSITIONS_BEHIND_PADDING = {"bert": False, "roberta": True, "xlm-roberta": True, "camembert": True}

LayerPass = Callable[[nn.Module, Tensor, "Packing", bool], Tensor]

UNPADDED_METHOD = "lean_pass"  # of a layer that is sharded
MAX_SCORES = 1 << 18  # of attention, that a CPU computes at once: they stay in its cache


@dataclass(frozen=True)
class Part:
    """Texts that lie behind each other and attend together, padded to the longest of them."""

    tokens: int  # without padding
    shape: tuple[int, int]  # (texts, width)
    places: Tensor | None  # (tokens,) in the flattened texts; None without padding
    mask: Tensor | None  # (texts, 1, 1, width) bool, whether a key is a token; None without padding

    @classmethod
    def of(cls, mask: Tensor, tokens: int, places: Tensor) -> "Part":
        """The texts with this mask, `(texts, width)`."""
        shape = (mask.shape[0], mask.shape[1])
        if tokens == mask.numel():
            return cls(tokens, shape, None, None)
        return cls(tokens, shape, places, mask.bool()[:, None, None])

    def pack(self, padded: Tensor) -> Tensor:
        """`(texts, width, …)` -> `(tokens, …)`."""
        flat = padded.flatten(0, 1)
        return flat if self.places is None else flat.index_select(0, self.places)

    def spread(self, packed: Tensor) -> Tensor:
        """`(tokens, H)` -> `(texts, width, H)`, zeros in the place of padding."""
        if self.places is not None:
            packed = packed.new_zeros(math.prod(self.shape), packed.shape[1]).index_copy(
                0, self.places, packed
            )
        return packed.unflatten(0, self.shape)


@dataclass(frozen=True)
class Packing:
    """The T tokens of a batch without its padding."""

    whole: Part
    first: Tensor  # (texts,) of each text's first token among the T
    parts: tuple[Part, ...]  # what attends together

    @classmethod
    def of(cls, inputs: Inputs, heads: int, in_parts: bool) -> "Packing":
        """That of a batch; with `in_parts`, few enough texts attend together."""
        lengths = inputs.mask.sum(1)
        whole = Part.of(inputs.mask, len(inputs.places), inputs.places)
        parts = tuple(_parts(inputs.mask, lengths.tolist(), heads)) if in_parts else (whole,)
        return cls(whole, lengths.cumsum(0) - lengths, parts)


def _parts(mask: Tensor, lengths: list[int], heads: int) -> Iterator[Part]:
    begin = 0
    for end in range(1, len(lengths) + 1):
        if (
            end < len(lengths)
            and heads * (end + 1 - begin) * max(lengths[begin : end + 1]) ** 2 <= MAX_SCORES
        ):
            continue
        part = mask[begin:end, : max(lengths[begin:end])]
        yield Part.of(part, sum(lengths[begin:end]), part.flatten().nonzero()[:, 0])
        begin = end


def runs_unpadded(encoder: Any) -> bool:
    """Whether an encoder is one of the architectures that `pooled_states` knows, without a variation of them."""
    config = encoder.config
    varied = getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False)
    absolute = getattr(config, "position_embedding_type", "absolute") == "absolute"
    return config.model_type in POSITIONS_BEHIND_PADDING and absolute and not varied


def pooled_states(
    encoder: Any,
    inputs: Inputs,
    delta: Tensor | None,
    pooling: str,
    run: LayerPass,
    save_memory: bool,
) -> Tensor:
    """Return the last layer's tokens, pooled: `(V * batch, H)`, or `(V * batch, 2 H)` for `first+mean`.

    Args:
        encoder: for which `is_lean` holds.
        inputs: the texts.
        delta: added to the embedded tokens, `(V * batch, tokens, H)`.
        pooling: `first`, `mean` or `first+mean`.
        run: `layer_pass`, or what it was compiled to.
        save_memory: forget what happens inside of a layer, and compute it again for the gradient.
    """
    in_parts = run is layer_pass and inputs.ids.device.type == "cpu"
    packing = Packing.of(inputs, encoder.config.num_attention_heads, in_parts)
    pack = packing.whole.pack
    ids, types, position = (
        pack(x) for x in (inputs.ids, inputs.types, _positions(encoder, inputs))
    )
    embedded = encoder.get_input_embeddings()(ids)
    if delta is not None:
        embedded = embedded + pack(delta)
    types = types if encoder.config.type_vocab_size > 1 else torch.zeros_like(types)
    hidden: Tensor = encoder.embeddings(
        inputs_embeds=embedded[None], token_type_ids=types[None], position_ids=position[None]
    )[0]  # (T, H)
    layers = encoder.encoder.layer
    for layer in layers:
        last = pooling == FIRST and layer is layers[-1]
        if save_memory and torch.is_grad_enabled():
            hidden = checkpoint(run, layer, hidden, packing, last, use_reentrant=False)
        else:
            hidden = run(layer, hidden, packing, last)
    return hidden if pooling == FIRST else pool(packing.whole.spread(hidden), inputs.mask, pooling)


def _positions(encoder: Any, inputs: Inputs) -> Tensor:
    """`(texts, tokens)`; what it says of padding is not read."""
    begin = (
        encoder.config.pad_token_id + 1
        if POSITIONS_BEHIND_PADDING[encoder.config.model_type]
        else 0
    )
    return torch.arange(begin, begin + inputs.ids.shape[1], device=inputs.ids.device).expand_as(
        inputs.ids
    )


def layer_pass(layer: Any, hidden: Tensor, packing: Packing, last: bool) -> Tensor:
    """One layer: all tokens `(T, H)` -> all, or with `last` only the first of each text, `(texts, H)`."""
    own, asking = layer.attention.self, hidden
    if last:
        asking = hidden[packing.first]
        query, (key, value) = own.query(asking), _project(hidden, own.key, own.value)
    else:
        query, key, value = _project(hidden, own.query, own.key, own.value)
    attended = layer.attention.output(_attention(own, query, key, value, packing, last), asking)
    behind: Tensor = layer.output(layer.intermediate(attended), attended)
    return behind


def as_method(layers: Iterable[Any], run: LayerPass) -> LayerPass:
    """Make `run` the method METHOD of each layer, as which its exchanges can be hooked in; returns what calls that."""
    for layer in layers:
        setattr(layer, UNPADDED_METHOD, MethodType(run, layer))
    return lambda layer, *arguments: getattr(layer, UNPADDED_METHOD)(*arguments)


def compiled_pass() -> LayerPass:
    """`layer_pass`, compiled once for texts of any length."""
    import torch._functorch.config as functorch

    functorch.donated_buffer = (
        False  # an attack keeps the graph of the clean pass, whose buffers must stay
    )
    return torch.compile(layer_pass, dynamic=True)


def _project(hidden: Tensor, *projections: nn.Linear) -> tuple[Tensor, ...]:
    """Tokens `(T, H)` by each of some projections, all in one product."""
    weight, bias = (
        torch.cat([getattr(p, name) for p in projections]) for name in ("weight", "bias")
    )
    return functional.linear(hidden, weight, bias).chunk(len(projections), 1)


def _attention(
    own: Any, query: Tensor, key: Tensor, value: Tensor, packing: Packing, last: bool
) -> Tensor:
    """What each query attends to, part by part: `(T, H)`, or `(texts, H)` where `last` says that the first ask."""
    share = own.dropout.p if own.training else 0.0
    tokens = [part.tokens for part in packing.parts]
    askers = [part.shape[0] for part in packing.parts] if last else tokens
    attended = []
    for part, q, k, v in zip(
        packing.parts, query.split(askers), key.split(tokens), value.split(tokens), strict=True
    ):
        asking = q[:, None] if last else part.spread(q)
        q, k, v = (
            _heads(x, own.num_attention_heads) for x in (asking, part.spread(k), part.spread(v))
        )
        found = _attend(q, k, v, part.mask, share).transpose(1, 2).flatten(2)  # (texts, asking, H)
        attended.append(found[:, 0] if last else part.pack(found))
    return torch.cat(attended)


def _heads(tokens: Tensor, heads: int) -> Tensor:
    """`(texts, tokens, H)` -> `(texts, heads, tokens, H / heads)`."""
    return tokens.unflatten(2, (heads, -1)).transpose(1, 2)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, share: float) -> Tensor:
    """Scaled dot-product attention of which `share` is dropped, `(texts, heads, asking, H / heads)`."""
    if not share or query.is_cuda:
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=share
        )
    # With dropout the library has no fused kernel for CPUs, and its masks are slow to draw.
    texts, heads, _, size = query.shape
    allowed = key.new_zeros(texts, 1, 1, key.shape[2])
    if mask is not None:
        allowed = allowed.masked_fill(~mask, float("-inf"))
    allowed = allowed.expand(-1, heads, -1, -1)
    q, k, v, bias = (x.flatten(0, 1) for x in (query, key, value, allowed))  # (texts * heads, …)
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=size**-0.5)
    return (fast_dropout(scores.softmax(-1), share) @ v).unflatten(0, (texts, heads))
