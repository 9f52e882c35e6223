"""Families of encoders that differ from BERT: how far they read, what they must be given, what they cannot do.

A family is the library's `model_type`. What is not listed here is read as BERT is.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from competition.config.encoder_recipe import YES_NO_HEAD, EncoderRecipe
from competition.config.recipe import PretrainingRecipe
from competition.core.errors import InputError

# Positions are counted from behind the padding's id, so that many rows of the table are never
# reached.
_COUNT_FROM_PADDING = frozenset(
    {
        "camembert", "data2vec-text", "esm", "ibert", "lilt", "longformer", "luke", "markuplm", "mpnet", "roberta",
        "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
    }
)  # fmt: skip
# These let padding into what they make of a text, by convolutions, pools, hashes or a Fourier
# transform. Texts of one length are read at a time, without padding: nothing of a text's result may
# depend on its company.
_READ_PADDING = frozenset({"convbert", "fnet", "funnel", "nystromformer", "yoso"})
# Language models whose tokens see those before them alone.
_DECODERS = frozenset(
    {
        "gemma", "gemma2", "gemma3_text", "granite", "llama", "mistral", "olmo2", "phi3", "qwen2", "qwen3", "smollm3",
    }
)  # fmt: skip
_LAYER = re.compile(r"\.(\d+)\.")  # the first number in a weight's name is that of its layer
# Their attention masks with fp32's smallest number, which bf16 cannot hold.
_NOT_IN_BF16 = frozenset({"deberta"})


def is_decoder(config: Any) -> bool:
    """Return whether a family's tokens see only those before them, so that the last one has read the text."""
    both_ways = getattr(config, "use_bidirectional_attention", False)
    return config.model_type in _DECODERS and not both_ways


def counts_from_padding(config: Any) -> bool:
    """Return whether a family's first position stands behind the padding's id."""
    return config.model_type in _COUNT_FROM_PADDING


def position_limit(config: Any) -> int | None:
    """Return how many tokens an encoder of this configuration reads at most.

    None means that there is no limit.
    """
    family = config.model_type
    if family in ("deberta", "deberta-v2") and not config.position_biased_input:
        return None  # relative positions alone

    limit: int | None = getattr(config, "max_position_embeddings", None)
    if limit is None or limit < 1:  # XLNet says -1
        return None
    if family == "mpnet":
        # Its padding is 1, whatever its configuration says.
        return limit - 2
    return limit - config.pad_token_id - 1 if counts_from_padding(config) else limit


def adjust_config(config: Any) -> None:
    """Fix what the library would decide from batch to batch.

    BigBird in blocks turns to whole attention at its first short batch and stays there, so that
    results would depend on the order of texts.
    """
    if config.model_type == "big_bird":
        config.attention_type = "original_full"


def check_precision(encoder: Any, recipe: EncoderRecipe | PretrainingRecipe) -> None:
    """Refuse a precision in which the encoder's family cannot compute.

    Raises:
        InputError: names the key of the recipe.
    """
    family = encoder.config.model_type
    if recipe.precision == "bf16" and family in _NOT_IN_BF16:
        raise InputError(
            f'The recipe {recipe.name!r} has precision = "bf16", in which encoders of the family {family!r} cannot '
            'compute: set precision = "auto", and only the head does.'
        )


def check_pretraining(encoder: Any, recipe: PretrainingRecipe) -> None:
    """Refuse a pre-training of an encoder that cannot learn from masked words.

    Raises:
        InputError: names the key of the recipe.
    """
    check_precision(encoder, recipe)
    if is_decoder(encoder.config):
        raise InputError(
            f"The recipe {recipe.name!r} pre-trains by masked words, which decoders such as "
            f"{encoder.config.model_type!r} cannot: name another encoder."
        )


def check_recipe(encoder: Any, recipe: EncoderRecipe) -> None:
    """Refuse a recipe that asks for what the encoder's family cannot do.

    Raises:
        InputError: names the key of the recipe.
    """
    check_precision(encoder, recipe)
    family = encoder.config.model_type
    if is_decoder(encoder.config):
        check_decoder(family, recipe)
    elif recipe.head == YES_NO_HEAD:
        raise InputError(
            f'The recipe {recipe.name!r} has head = "yes-no", which encoders of the family {family!r} do not '
            'have: name a decoder, or set head = "new".'
        )
    if recipe.checkpointing and not encoder.supports_gradient_checkpointing:
        raise InputError(
            f"The recipe {recipe.name!r} has checkpointing = true, which encoders of the family {family!r} cannot: "
            "set checkpointing = false and lower token_budget."
        )


def check_decoder(family: str, recipe: EncoderRecipe) -> None:
    """Raise InputError where a recipe reads a decoder otherwise than by one text's last tokens."""
    keys = {
        "architecture": ("cross-encoder",),
        "pooling": ("auto", "last", "mean"),
    }
    for key, values in keys.items():
        if (value := getattr(recipe, key)) not in values:
            raise InputError(
                f"The recipe {recipe.name!r} has {key} = {value!r}, which decoders such as {family!r} cannot, "
                f"whose tokens see only those before them: set {key} = {values[0]!r}."
            )


def layer_number(name: str) -> int | None:
    """Return the layer, from 0, that a weight of an encoder belongs to, by its name; None for embeddings."""
    match = _LAYER.search(name)
    return int(match[1]) if match else None


def freeze(encoder: Any, embeddings: bool, layers: int) -> None:
    """Keep an encoder's embeddings as they are, and with `layers` so many of its first layers and the embeddings.

    Embeddings are all weights that are named before the first layer.

    Raises:
        InputError: there are not more layers than that.
    """
    number = -1
    numbers = {}
    for name, _ in encoder.named_parameters():
        found = layer_number(f".{name}")
        number = number if found is None else found
        numbers[name] = number
    if layers >= 1 + max(numbers.values(), default=-1):
        raise InputError(
            f"freeze_layers = {layers} leaves no layer to train: the encoder has "
            f"{1 + max(numbers.values(), default=-1)}."
        )

    for name, weight in encoder.named_parameters():
        if numbers[name] < layers and (layers or embeddings):
            weight.requires_grad_(False)


def token_table(encoder: Any) -> Tensor:
    """Return the word embeddings, `(tokens, E)`, where E may be less than H."""
    weight: Tensor = encoder.get_input_embeddings().weight
    return weight


def hidden_states(
    encoder: Any, ids: Tensor, mask: Tensor, types: Tensor, delta: Tensor | None = None
) -> Tensor:
    """Return the last layer's state of each token, `(batch, tokens, H)`; that of padding means nothing.

    Args:
        encoder: of any family that `loading.read_encoder` takes.
        ids: `(batch, tokens)`, padded on the right, for decoders on either side.
        mask: `(batch, tokens)`, 1 on tokens.
        types: `(batch, tokens)`, 1 on the second text; families without token types never see it.
        delta: added to the embedded tokens, `(batch, tokens, E)`; where adversarial training
            attacks.
    """
    if encoder.config.model_type not in _READ_PADDING or bool(mask.all()):
        return _states(encoder, ids, mask, types, delta)

    # Texts of one length at a time.
    lengths = mask.sum(1)  # (batch,)
    states = None
    for length in sorted(set(lengths.tolist())):
        rows = (lengths == length).nonzero()[:, 0]
        own_delta = None if delta is None else delta[rows, :length]
        own = _states(
            encoder, ids[rows, :length], mask[rows, :length], types[rows, :length], own_delta
        )  # (rows, length, H)
        if states is None:
            states = own.new_zeros(*ids.shape, own.shape[2])
        padding = ids.shape[1] - length
        states = states.index_put((rows,), functional.pad(own, (0, 0, 0, padding)))
    assert states is not None  # a batch holds a text
    return states


def _states(encoder: Any, ids: Tensor, mask: Tensor, types: Tensor, delta: Tensor | None) -> Tensor:
    """Run the library's own pass, with what the family must be given."""
    family = encoder.config.model_type
    # FNet has no attention to mask.
    more: dict[str, Any] = {} if family == "fnet" else {"attention_mask": mask}
    if getattr(encoder.config, "type_vocab_size", 1) > 1:
        more["token_type_ids"] = types
    if family == "funnel":
        # [CLS] is of neither text.
        more["token_type_ids"] = types.index_fill(1, types.new_zeros(1), 2)
    # A head reads the first token, which must see all others.
    if family == "longformer":
        more["global_attention_mask"] = functional.one_hot(mask.new_zeros(len(mask)), mask.shape[1])

    if is_decoder(encoder.config):
        # Positions are those of the text, wherever it is padded.
        more |= {"position_ids": (mask.cumsum(1) - 1).clamp_min(0), "use_cache": False}

    precision = (
        torch.autocast(ids.device.type, enabled=False) if family in _NOT_IN_BF16 else nullcontext()
    )
    with precision, _moved(encoder, delta):
        hidden: Tensor = encoder(input_ids=ids, **more).last_hidden_state
    return hidden


@contextmanager
def _moved(encoder: Any, delta: Tensor | None) -> Iterator[None]:
    """Add `delta` to what the word embeddings give, wherever the family goes on from there."""
    if delta is None:
        yield
        return

    def add(module: nn.Module, arguments: Any, output: Any) -> Any:
        # I-BERT gives a scale beside the embedded tokens.
        embedded, *rest = output if isinstance(output, tuple) else (output,)
        move = delta.transpose(0, 1) if encoder.config.model_type == "xlnet" else delta
        # Longformer pads to its window.
        move = functional.pad(move, (0, 0, 0, embedded.shape[1] - move.shape[1]))
        moved = embedded + move.to(embedded.dtype)
        return (moved, *rest) if rest else moved

    handle = encoder.get_input_embeddings().register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
