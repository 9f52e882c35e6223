"""Encoders from outside: no weight is random, and none is left out in silence."""

from collections import Counter
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BitsAndBytesConfig,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES as ENCODER_DECODERS,
)

import competition.models.encoder.quiet  # noqa: F401
from competition.config.encoder_recipe import NEW_HEAD, PRETRAINED_HEAD, YES_NO_HEAD
from competition.core.console import warn
from competition.core.errors import InputError, escape_controls, join_names
from competition.models.encoder.families import adjust_config

# The first part of the names that the library, and the authors of DeBERTa, give to the weights of a
# head.
_LANGUAGE_MODEL_HEADS = frozenset(
    {
        "cls", "decoder", "discriminator_predictions", "entity_predictions", "generator_lm_head",
        "generator_predictions", "lm_head", "lm_loss", "lm_predictions", "mask_predictions", "pred_layer",
        "predictions", "sop_classifier", "vocab_layer_norm", "vocab_projector", "vocab_transform",
    }
)  # fmt: skip
_TASK_HEADS = frozenset(
    {
        "answer_class", "classification_head", "classifier", "dense", "end_logits", "head", "logits_proj", "out_proj",
        "pre_classifier", "qa_classifier", "qa_outputs", "score", "sequence_summary", "splinter_qass", "start_logits",
    }
)  # fmt: skip
# Parts of an encoder that nothing here reads: the pooler, counted positions, and a leftover of
# mDeBERTa's training.
_NOT_READ = ("pooler", "position_ids", "word_embeddings._weight")
# The library's class for each `head` of a recipe.
_CLASSES: dict[str, Any] = {
    NEW_HEAD: AutoModel,
    PRETRAINED_HEAD: AutoModelForSequenceClassification,
    YES_NO_HEAD: AutoModelForCausalLM,
}
_WRAPPERS = {
    "_orig_mod.": "a compiled model was saved",
    "module.": "a model that was wrapped for several GPUs was saved",
    "base_model.model.": "a model that was wrapped for adapters was saved",
}


class LoadError(Exception):
    """The library could not load an encoder or tokenizer; the message is the reason."""


def read_encoder(
    source: str,
    tokenizer: Any | None = None,
    head: str = NEW_HEAD,
    in_4_bits: bool = False,
    **where: Any,
) -> Any:
    """Load the encoder of a folder or of a name on the model hub, in fp32, without the pooler, which nothing here uses.

    Only weights are read: no remote code, no pickled objects (`weights_only`). What a language
    model has beside its encoder is left out; the head of a task is too, and a warning says so.

    Args:
        source: the folder or name.
        tokenizer: gives the padding's id where the configuration has none.
        head: of a recipe; another than a new one is loaded with the encoder, and the pooler stays.
        in_4_bits: keep the weights of linear layers in 4 bits, on the first GPU if there is one (QLoRA).
        where: passed on to `from_pretrained`.

    Returns:
        The encoder, or the library's model of encoder and head, see `encoder_of`.

    Raises:
        InputError: it is not an encoder, or its weights are not those that its configuration asks for.
        LoadError: it cannot be loaded.
    """
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False, **where)
        _check_config(source, config)
        if tokenizer is not None and getattr(config, "pad_token_id", None) is None:
            config.pad_token_id = tokenizer.pad_token_id
        adjust_config(config)
        encoder, report = _CLASSES[head].from_pretrained(
            source, config=config, trust_remote_code=False, weights_only=True,
            dtype=torch.bfloat16 if in_4_bits else torch.float32,
            ignore_mismatched_sizes=True, output_loading_info=True, **where,
            **(_in_4_bits() if in_4_bits else {}),
        )  # fmt: skip
    except InputError:
        raise
    except UnpicklingError:
        raise InputError(
            f"The weights of the encoder {source!r} are a pickle that is damaged or holds more than tensors; nothing "
            "in it was run: take an encoder whose weights are safetensors."
        ) from None
    except Exception as error:
        raise LoadError(first_line(error)) from error

    _check_report(source, encoder, report, head)
    if in_4_bits:
        _keep_4_bits(encoder_of(encoder))
    if head == NEW_HEAD and getattr(encoder, "pooler", None) is not None:
        # Some families call it, whether there is one or not.
        encoder.pooler = nn.Identity()
    return encoder


def _in_4_bits() -> dict[str, Any]:
    """Return how the library is told to quantise as QLoRA does (Dettmers et al. 2023)."""
    quantisation = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    device = 0 if torch.cuda.is_available() else "cpu"
    return {"quantization_config": quantisation, "device_map": {"": device}}


def _keep_4_bits(encoder: Any) -> None:
    """Let layers of 4 bits be what they were loaded as, whoever uses them."""
    # PEFT asks the model whose layers it adapts, which is not the one that was loaded where a head came with it.
    encoder.is_loaded_in_4bit = True
    for module in encoder.modules():
        # On a CPU with AVX512-bf16, the first prediction would repack the weights, and round their scales anew.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def encoder_of(model: Any) -> Any:
    """Return the encoder of what `read_encoder` has loaded."""
    return getattr(model, model.base_model_prefix, model)


def _check_config(source: str, config: Any) -> None:
    """Raise InputError for what is not an encoder."""
    family = config.model_type
    if config.is_encoder_decoder or family in ENCODER_DECODERS:
        raise InputError(
            f"{source!r} is an encoder-decoder ({family}), which writes texts: take an encoder, such as BERT or XLM-R."
        )
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        raise InputError(
            f"{source!r} is a decoder ({family} with is_decoder or add_cross_attention in its config.json), whose "
            "first token sees no other: take an encoder, or set them to false where it was trained to read both ways."
        )
    quantised = getattr(config, "quantization_config", None)
    if quantised is not None:
        raise InputError(
            f"The weights of {source!r} are quantised, which cannot be fine-tuned: take the whole ones."
        )


def _check_report(source: str, encoder: Any, report: dict[str, Any], head: str) -> None:
    """Raise InputError unless the weights are those that the encoder is made of.

    A warning names a head that is left out.
    """
    is_new = head == NEW_HEAD
    missing = sorted(name for name in report["missing_keys"] if not (is_new and _is_unread(name)))
    unexpected = sorted(name for name in report["unexpected_keys"] if not _is_unread(name))
    if not is_new:
        _check_head(source, encoder, missing, head)

    # Heads are left over by right: those of language models in silence, those of tasks with a warning.
    heads = [name for name in unexpected if is_new and _first_part(name) in _TASK_HEADS]
    unknown = [
        name
        for name in unexpected
        if _first_part(name) not in (_TASK_HEADS if is_new else set()) | _LANGUAGE_MODEL_HEADS
    ]
    _check_prefix(source, missing, unexpected)

    # All that is wrong goes into one sentence.
    faults = []
    shapes = [
        f"{name} is {list(own)} instead of {list(expected)}"
        for name, own, expected in sorted(report["mismatched_keys"])
        if not _is_unread(name)
    ]
    if shapes:
        faults.append(f"of another shape than config.json asks for: {join_names(shapes)}")
    if missing:
        faults.append(f"missing: {join_names(missing)}")
    if unknown:
        faults.append(
            f"left over, since config.json knows no place for them: {join_names(unknown)}"
        )
    if faults:
        raise InputError(
            f"The weights of the encoder {source!r} do not go with its config.json ({type(encoder).__name__}); "
            f"{'; '.join(faults)}: bring the config.json and the weights of one model."
        )

    if heads:
        warn(
            f"The encoder {source!r} brings the trained head of a task ({join_names(heads)}), which is left out: "
            "fine-tuning begins with a new head."
        )


def _check_head(source: str, model: Any, missing: list[str], head: str) -> None:
    """Raise InputError where a folder brings an encoder without the head that a recipe asks for."""
    of_head = [name for name in missing if not name.startswith(f"{model.base_model_prefix}.")]
    kind, what = "a reranker", "*ForSequenceClassification"
    if head == YES_NO_HEAD:
        kind, what = "a language model", "*ForCausalLM"
    if of_head:
        raise InputError(
            f"The encoder {source!r} brings no trained head ({join_names(of_head)}: missing), which "
            f'head = "{head}" asks for: name {kind}, whose folder is that of a {what} model, '
            'or set head = "new".'
        )


def _first_part(name: str) -> str:
    return name.partition(".")[0]


def _check_prefix(source: str, missing: list[str], unexpected: list[str]) -> None:
    """Raise InputError where most of the missing weights are there, with one prefix before their names."""
    # What stands before the names of missing weights among the unexpected ones, and how often.
    names = set(missing)
    prefixes: Counter[str] = Counter()
    for name in unexpected:
        parts = name.split(".")
        for i in range(1, len(parts)):
            if ".".join(parts[i:]) in names:
                prefixes[".".join(parts[:i]) + "."] += 1

    prefix, count = prefixes.most_common(1)[0] if prefixes else ("", 0)
    if not prefix or 2 * count <= len(missing):
        return

    reasons = [reason for wrapper, reason in _WRAPPERS.items() if prefix.startswith(wrapper)]
    why = f" ({reasons[0]})" if reasons else ""
    raise InputError(
        f"The weights of the encoder {source!r} are named as those of a part of another model, {prefix!r} before "
        f"each name{why}: save the model inside of it, or take {prefix!r} out of the names."
    )


def _is_unread(name: str) -> bool:
    return any(part in name for part in _NOT_READ)


def first_line(error: BaseException | None) -> str:
    """Return the first line of the library's message."""
    lines = str(error).strip().splitlines()
    return escape_controls(lines[0]).rstrip(".") if lines else type(error).__name__
