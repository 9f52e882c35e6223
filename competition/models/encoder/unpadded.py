"""What an encoder makes of each text, pooled, without computing what that does not depend on.

The library's own pass computes every token of a padded batch in every layer. Here, padding is left
out of all that looks at tokens one by one (projections, feed-forward, norms). Where a head reads
the first token alone, the last layer asks for nothing else: behind its keys and values, one token
per text goes on. The same numbers but for rounding.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import groupby
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

# Families whose layers are BERT's, with the same names; the value is whether positions are counted
# from behind the padding's id, as in RoBERTa.
POSITIONS_BEHIND_PADDING = {"bert": False, "roberta": True, "xlm-roberta": True, "camembert": True}

LayerPass = Callable[[nn.Module, Tensor, "Packing", bool], Tensor]

UNPADDED_METHOD = "unpadded_pass"  # of a layer that is sharded
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
        """Return the texts with this mask, `(texts, width)`."""
        shape = (mask.shape[0], mask.shape[1])
        if tokens == mask.numel():
            return cls(tokens, shape, None, None)
        return cls(tokens, shape, places, mask.bool()[:, None, None])

    def pack(self, padded: Tensor) -> Tensor:
        """Leave padding out: `(texts, width, …)` -> `(tokens, …)`."""
        flat = padded.flatten(0, 1)
        return flat if self.places is None else flat.index_select(0, self.places)

    def spread(self, packed: Tensor) -> Tensor:
        """Put zeros in the place of padding: `(tokens, H)` -> `(texts, width, H)`."""
        if self.places is not None:
            padded = packed.new_zeros(math.prod(self.shape), packed.shape[1])
            packed = padded.index_copy(0, self.places, packed)
        return torch.unflatten(packed, 0, self.shape)


@dataclass(frozen=True)
class Packing:
    """The T tokens of a batch without its padding."""

    whole: Part
    first: Tensor  # (texts,) of each text's first token among the T
    parts: tuple[Part, ...]  # what attends together

    @classmethod
    def of(cls, inputs: Inputs) -> "Packing":
        """Return the packing of a batch that attends as a whole."""
        lengths = inputs.mask.sum(1)
        whole = Part.of(inputs.mask, len(inputs.places), inputs.places)
        return cls(whole, lengths.cumsum(0) - lengths, (whole,))

    def in_cache(self, mask: Tensor, heads: int) -> "Packing":
        """Let few enough neighbouring texts attend together, at most MAX_SCORES scores or one text."""
        parts = []
        lengths = mask.sum(1).tolist()
        begin = 0
        for end in range(1, len(lengths) + 1):
            if end < len(lengths):
                texts = end + 1 - begin  # with the next one
                width = max(lengths[begin : end + 1])
                if heads * texts * width**2 <= MAX_SCORES:
                    continue

            part = mask[begin:end, : max(lengths[begin:end])]
            parts.append(Part.of(part, sum(lengths[begin:end]), part.flatten().nonzero()[:, 0]))
            begin = end
        return replace(self, parts=tuple(parts))

    def of_one_length(self, mask: Tensor) -> "Packing":
        """Let neighbouring texts of one length attend together: none is padded, and nothing copied."""
        runs = [(width, len(list(run))) for width, run in groupby(mask.sum(1).tolist())]
        parts = [Part(texts * width, (texts, width), None, None) for width, texts in runs]
        return replace(self, parts=tuple(parts))


def runs_unpadded(encoder: Any) -> bool:
    """Return whether `pooled_states` knows an encoder's architecture and variation."""
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
    in_parts: bool = True,
) -> Tensor:
    """Return the last layer's tokens, pooled: `(V * batch, H)`, or `(V * batch, 2 H)` for `first+mean`.

    Args:
        encoder: for which `runs_unpadded` holds.
        inputs: the texts.
        delta: added to the embedded tokens, `(V * batch, tokens, H)`.
        pooling: `first`, `mean`, `last` or `first+mean`.
        run: `layer_pass`, or what it was compiled to.
        save_memory: forget what happens inside of a layer, and compute it again for the gradient.
        in_parts: on a CPU, let some texts attend after the others; a compiled pass takes all at once.
    """
    packing = Packing.of(inputs)
    if in_parts and inputs.ids.device.type == "cpu":
        # Scores are kept where they are dropped; without dropout, the library's kernel cuts them up.
        heads = encoder.config.num_attention_heads
        mask = inputs.mask
        packing = packing.in_cache(mask, heads) if encoder.training else packing.of_one_length(mask)
    hidden = _embed(encoder, inputs, delta, packing.whole)  # (T, H)

    layers = encoder.encoder.layer
    for layer in layers:
        last = pooling == FIRST and layer is layers[-1]
        if save_memory and torch.is_grad_enabled():
            hidden = checkpoint(run, layer, hidden, packing, last, use_reentrant=False)
        else:
            hidden = run(layer, hidden, packing, last)

    if pooling == FIRST:
        return hidden  # (texts, H), by the last layer
    return pool(packing.whole.spread(hidden), inputs.mask, pooling)


def _embed(encoder: Any, inputs: Inputs, delta: Tensor | None, whole: Part) -> Tensor:
    """Return the embedded tokens without padding, `(T, H)`."""
    embedded = encoder.get_input_embeddings()(whole.pack(inputs.ids))
    if delta is not None:
        embedded = embedded + whole.pack(delta).to(embedded.dtype)

    types = whole.pack(inputs.types)
    if encoder.config.type_vocab_size <= 1:
        types = torch.zeros_like(types)
    positions = whole.pack(_positions(encoder, inputs))

    # The library's embeddings take a batch of texts: here one, of all tokens.
    hidden: Tensor = encoder.embeddings(
        inputs_embeds=embedded[None], token_type_ids=types[None], position_ids=positions[None]
    )[0]
    return hidden


def _positions(encoder: Any, inputs: Inputs) -> Tensor:
    """Return the position of each token, `(texts, tokens)`; that of padding is not read."""
    behind_padding = POSITIONS_BEHIND_PADDING[encoder.config.model_type]
    begin = encoder.config.pad_token_id + 1 if behind_padding else 0
    positions = torch.arange(begin, begin + inputs.ids.shape[1], device=inputs.ids.device)
    return positions.expand_as(inputs.ids)


def layer_pass(layer: Any, hidden: Tensor, packing: Packing, last: bool) -> Tensor:
    """Run one layer: `(T, H)` -> `(T, H)`, or with `last` the first token of each text, `(texts, H)`."""
    attention = layer.attention.self
    if last:
        asking = hidden[packing.first]  # (texts, H)
        query = attention.query(asking)
        key, value = _project(hidden, attention.key, attention.value)
    else:
        asking = hidden
        query, key, value = _project(hidden, attention.query, attention.key, attention.value)

    attended = attend(attention, query, key, value, packing, last)
    attended = layer.attention.output(attended, asking)
    output: Tensor = layer.output(layer.intermediate(attended), attended)
    return output


def as_method(layers: Iterable[Any], run: LayerPass) -> LayerPass:
    """Make `run` the method UNPADDED_METHOD of each layer, so that its exchanges can be hooked in.

    Returns:
        A layer pass that calls that method.
    """
    for layer in layers:
        setattr(layer, UNPADDED_METHOD, MethodType(run, layer))
    return lambda layer, *arguments: getattr(layer, UNPADDED_METHOD)(*arguments)


def compiled_pass() -> LayerPass:
    """Return `layer_pass`, compiled once for texts of any length."""
    import torch._functorch.config as functorch

    # An attack keeps the graph of the clean pass, whose buffers must stay.
    functorch.donated_buffer = False
    return torch.compile(layer_pass, dynamic=True)


def _project(hidden: Tensor, *projections: nn.Linear) -> tuple[Tensor, ...]:
    """Return tokens `(T, H)` by each of some projections, all in one product where none has an adapter."""
    if any(type(projection) is not nn.Linear for projection in projections):
        return tuple(projection(hidden) for projection in projections)

    weight = torch.cat([projection.weight for projection in projections])
    bias = torch.cat([projection.bias for projection in projections])
    return functional.linear(hidden, weight, bias).chunk(len(projections), 1)


def attend(
    attention: Any, query: Tensor, key: Tensor, value: Tensor, packing: Packing, last: bool
) -> Tensor:
    """Return what each token attends to, `(T, H)`, or with `last` what each first token does, `(texts, H)`.

    Parts of the batch attend one after the other.
    """
    share = attention.dropout.p if attention.training else 0.0
    heads = attention.num_attention_heads
    tokens = [part.tokens for part in packing.parts]
    asking = [part.shape[0] for part in packing.parts] if last else tokens
    queries = torch.split(query, asking)
    keys = torch.split(key, tokens)
    values = torch.split(value, tokens)

    attended = []
    for part, q, k, v in zip(packing.parts, queries, keys, values, strict=True):
        padded = q[:, None] if last else part.spread(q)  # (texts, asking, H)
        of_part = _attend_part(
            _split_heads(padded, heads),
            _split_heads(part.spread(k), heads),
            _split_heads(part.spread(v), heads),
            part.mask,
            share,
        )
        of_part = of_part.transpose(1, 2).flatten(2)  # (texts, asking, H)
        attended.append(of_part[:, 0] if last else part.pack(of_part))
    return torch.cat(attended)


def _split_heads(tokens: Tensor, heads: int) -> Tensor:
    """Return `(texts, tokens, H)` as `(texts, heads, tokens, H / heads)`."""
    return torch.unflatten(tokens, 2, (heads, -1)).transpose(1, 2)


def _attend_part(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, share: float
) -> Tensor:
    """Return attention of which a `share` is dropped, `(texts, heads, asking, H / heads)`."""
    if not share or query.is_cuda:
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=share
        )

    # With dropout the library has no fused kernel for CPUs, and its masks are slow to draw.
    texts, heads, _, size = query.shape
    bias = key.new_zeros(texts, 1, 1, key.shape[2])
    if mask is not None:
        bias = bias.masked_fill(~mask, float("-inf"))
    bias = bias.expand(-1, heads, -1, -1)

    q, k, v, b = (x.flatten(0, 1) for x in (query, key, value, bias))  # (texts * heads, …)
    scores = torch.baddbmm(b, q, k.transpose(1, 2), alpha=size**-0.5)
    attended = fast_dropout(scores.softmax(-1), share) @ v
    return torch.unflatten(attended, 0, (texts, heads))
