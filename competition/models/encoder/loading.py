"""Encoders from outside: no weight is random, none is left out in silence, and each is tried once."""

from collections import Counter
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import sentencepiece
import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES as ENCODER_DECODERS,
)
from transformers.utils import cached_file

import competition.models.encoder.quiet  # noqa: F401
from competition.config.recipe import NEW_HEAD, PRETRAINED_HEAD, YES_NO_HEAD
from competition.core.console import warn
from competition.core.errors import InputError, escape_controls, join_names
from competition.data.pairs import SpecialTokens
from competition.models.encoder.families import (
    adjust_config,
    counts_from_padding,
    hidden_states,
    is_decoder,
    token_table,
)

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
# How tokenizers spell the special tokens that a folder may fail to name.
_SPECIAL_SPELLINGS = {
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "pad_token": ("[PAD]", "<pad>"),
    "mask_token": ("[MASK]", "<mask>"),
}
_SAMPLE_TEXT = "A red Shoe, 42 café 赤い靴 zapato"
_PLAIN_TEXT = "a red shoe"  # which no tokenizer changes before it cuts it


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
        in_4_bits: keep the weights of linear layers in 4 bits, on the first GPU (QLoRA).
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
    if head == NEW_HEAD and getattr(encoder, "pooler", None) is not None:
        encoder.pooler = nn.Identity()  # some families call it, whether there is one or not
    return encoder


def _in_4_bits() -> dict[str, Any]:
    """Return how the library is told to quantise as QLoRA does (Dettmers et al. 2023)."""
    quantisation = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": quantisation, "device_map": {"": 0}}


def encoder_of(model: Any) -> Any:
    """Return the encoder of what `read_encoder` has loaded."""
    return getattr(model, model.base_model_prefix, model)


def read_tokenizer(source: str) -> Any:
    """Load the tokenizer of a folder or of a name on the model hub, with [CLS], [SEP] and padding.

    A `tokenizer.json` says all of what a tokenizer does. Without the name of its class beside it,
    the library takes the family's, which may lower-case a cased text or cut it otherwise: then the
    file is read as it is.

    Raises:
        InputError: it lacks a special token or a vocabulary, or would read otherwise than it was
            trained to.
        LoadError: it cannot be loaded.
    """
    tokenizer: Any = None
    fault: Exception | None = None
    ids: list[int] = []

    # First as the library reads it, by a class.
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        ids = _ids(tokenizer, _SAMPLE_TEXT)
    except Exception as error:
        fault = error

    # Then as its own file says, where the two differ or no class could read it.
    try:
        file = cached_file(source, "tokenizer.json", _raise_exceptions_for_missing_entries=False)
        if file is not None:
            own = Tokenizer.from_file(file)
            if fault or not _does_as_file_says(tokenizer, ids, own):
                tokenizer = PreTrainedTokenizerFast.from_pretrained(source)
                fault = None
    except Exception as error:
        fault = error
    if fault is not None:
        raise LoadError(f"its tokenizer: {first_line(fault)}") from fault

    _check_vocabulary(source, tokenizer)
    _name_special_tokens(source, tokenizer, _reads_forward(source))
    return tokenizer


def _reads_forward(source: str) -> bool:
    """Return whether a folder or name is a decoder's; False where that cannot be read, which `read_encoder` reports."""
    try:
        return is_decoder(AutoConfig.from_pretrained(source, trust_remote_code=False))
    except Exception:
        return False


def _does_as_file_says(tokenizer: Any, ids: list[int], file: Tokenizer) -> bool:
    """Return whether a tokenizer does what its file says: the same `ids`, and as many tokens."""
    same = file.encode(_SAMPLE_TEXT, add_special_tokens=False).ids == ids
    return same and len(tokenizer.get_vocab()) == file.get_vocab_size()


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


def _check_vocabulary(source: str, tokenizer: Any) -> None:
    """Raise InputError where no word is known, or a sentencepiece model is misread."""
    ids = _ids(tokenizer, _SAMPLE_TEXT)
    if set(ids) <= set(tokenizer.all_special_ids):  # unknown ones at most
        raise InputError(
            f"The tokenizer of {source!r} knows no word, so its vocabulary is missing: bring its tokenizer.json, or "
            "the vocab.txt or sentencepiece model that it was trained with."
        )

    if (Path(source) / "tokenizer.json").is_file():
        return
    for model in sorted(Path(source).glob("*.model")):
        processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
        expected = processor.encode(_PLAIN_TEXT, out_type=str)
        pieces = tokenizer.tokenize(_PLAIN_TEXT)
        if pieces != expected:
            raise InputError(
                f"The sentencepiece model {str(model)!r} cuts {_PLAIN_TEXT!r} into {join_names(expected)}, the "
                f"library's {type(tokenizer).__name__} into {join_names(pieces)}: bring the tokenizer.json of the "
                "encoder, or name the right tokenizer_class in tokenizer_config.json."
            )


def _name_special_tokens(source: str, tokenizer: Any, decodes: bool) -> None:
    """Name the tokens of [CLS], [SEP], padding and [MASK] where a tokenizer does not.

    A decoder reads none of them, and is padded by any.
    """
    tokenizer.cls_token = tokenizer.cls_token or tokenizer.bos_token
    tokenizer.sep_token = tokenizer.sep_token or tokenizer.eos_token
    if decodes:
        tokenizer.cls_token = tokenizer.cls_token or tokenizer.eos_token
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token

    vocabulary = tokenizer.get_vocab()

    for role, names in _SPECIAL_SPELLINGS.items():
        if getattr(tokenizer, role) is None:
            setattr(tokenizer, role, next((name for name in names if name in vocabulary), None))
        # Pre-training alone needs [MASK], and says so.
        if getattr(tokenizer, role) is None and role != "mask_token":
            raise InputError(
                f"The tokenizer of {source!r} has no {role}, which each text needs: name it in "
                "tokenizer_config.json, or take an encoder."
            )


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


@torch.no_grad()
def _try_texts(source: str, encoder: Any, tokenizer: Any, special: SpecialTokens) -> None:
    """Read two texts that differ in their last word, with and without padding.

    Raises:
        InputError: they cannot be read, their first tokens come out the same, so that the model is
            causal, or padding changes the states.
    """
    family = encoder.config.model_type
    words = _ids(tokenizer, _SAMPLE_TEXT)
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


def first_line(error: BaseException | None) -> str:
    """Return the first line of the library's message."""
    lines = str(error).strip().splitlines()
    return escape_controls(lines[0]).rstrip(".") if lines else type(error).__name__
