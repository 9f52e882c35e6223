"""The trial of an encoder that was loaded: its weights are finite, and it reads a few short texts as it should."""

from typing import Any

import torch

from competition.core.errors import InputError, join_names
from competition.data.pairs import SpecialTokens
from competition.models.encoder.families import (
    counts_from_padding,
    hidden_states,
    is_decoder,
    token_table,
)
from competition.models.encoder.loading import first_line
from competition.models.encoder.tokenizer_loading import SAMPLE_TEXT, text_ids


def check_encoder(source: str, encoder: Any, tokenizer: Any) -> None:
    """Try an encoder with its tokenizer on a few short texts.

    Raises:
        InputError: a weight is not finite, a token has no embedding, the first token does not see
            all others, or padding changes what becomes of a text.
    """
    weights = encoder.state_dict()
    broken = [name for name, weight in weights.items() if not bool(weight.isfinite().all())]
    if broken:
        raise InputError(
            f"The encoder {source!r} has weights that are not finite: {join_names(broken)}: take another copy."
        )

    try:
        embedded = len(token_table(encoder))
    except NotImplementedError:
        raise InputError(
            f"The encoder {source!r} ({encoder.config.model_type}) has no table of word embeddings: take another."
        ) from None

    # Tokens without an embedding would end training in the middle of an epoch.
    last = max(tokenizer.get_vocab().values())
    if last >= embedded:
        raise InputError(
            f"The tokenizer of {source!r} has tokens up to number {last:,}, its encoder embeds {embedded:,}, the "
            f"last of which is {embedded - 1:,}: bring the tokenizer that it was trained with."
        )

    special = SpecialTokens.of(tokenizer)
    padding = getattr(encoder.config, "pad_token_id", None)
    if counts_from_padding(encoder.config) and padding in (special.first, special.separator):
        raise InputError(
            f"The encoder {source!r} counts positions where a token is not number {padding} (pad_token_id of its "
            "config.json), which its tokenizer gives to [CLS] or [SEP]: correct pad_token_id."
        )

    _try_texts(source, encoder, tokenizer, special)


@torch.no_grad()
def _try_texts(source: str, encoder: Any, tokenizer: Any, special: SpecialTokens) -> None:
    """Read two texts that differ in their last word, with and without padding.

    Raises:
        InputError: they cannot be read, their first tokens come out the same, so that the model is
            causal, or padding changes the states.
    """
    family = encoder.config.model_type
    words = text_ids(tokenizer, SAMPLE_TEXT)
    ids = torch.tensor([[special.first, *words, special.separator]] * 2)  # (2, tokens)
    ids[1, -2] = words[0] if words[0] != words[-1] else special.separator
    mask = torch.ones_like(ids)
    types = torch.zeros_like(ids)

    # The same texts with padding on the right.
    padding = torch.full((2, 24), special.padding)
    zeros = torch.zeros_like(padding)
    padded_ids = torch.cat([ids, padding], 1)
    padded_mask = torch.cat([mask, zeros], 1)
    padded_types = torch.cat([types, zeros], 1)

    # In float32 and without dropout, so that what differs is what was read.
    encoder.eval()
    try:
        states = hidden_states(encoder, ids, mask, types)  # (2, tokens, H)
        padded = hidden_states(encoder, padded_ids, padded_mask, padded_types)
        padded = padded[:, : ids.shape[1]]
    except Exception as error:
        raise InputError(
            f"The encoder {source!r} ({family}) cannot read a text ({first_line(error)}): take another."
        ) from None

    expected = (*ids.shape, encoder.config.hidden_size)
    if tuple(states.shape) != expected:
        raise InputError(
            f"The encoder {source!r} ({family}) makes numbers of the shape {tuple(states.shape)} "
            f"of texts, not {expected}, one vector per token: take another."
        )
    if not is_decoder(encoder.config) and torch.equal(states[0, 0], states[1, 0]):
        raise InputError(
            f"The encoder {source!r} ({family}) is causal: its first token, of which scores are "
            "made, sees no other, so that all texts would score the same; take one that reads in both directions, or "
            "a decoder of the families Gemma, Llama, Mistral or Qwen."
        )
    if not torch.allclose(states, padded, rtol=0, atol=1e-3 * float(states.abs().max())):
        raise InputError(
            f"What the encoder {source!r} ({family}) makes of a text depends on the padding "
            "beside it: take another."
        )
