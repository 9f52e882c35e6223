"""Tokenizers from outside: read as they were trained, with the special tokens that texts need."""

from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import cached_file

import competition.models.encoder.quiet  # noqa: F401
from competition.core.errors import InputError, join_names
from competition.models.encoder.families import is_decoder
from competition.models.encoder.loading import LoadError, first_line

# How tokenizers spell the special tokens that a folder may fail to name.
_SPECIAL_SPELLINGS = {
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "pad_token": ("[PAD]", "<pad>"),
    "mask_token": ("[MASK]", "<mask>"),
}
SAMPLE_TEXT = "A red Shoe, 42 café 赤い靴 zapato"
_PLAIN_TEXT = "a red shoe"  # which no tokenizer changes before it cuts it


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
        ids = text_ids(tokenizer, SAMPLE_TEXT)
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
    same = file.encode(SAMPLE_TEXT, add_special_tokens=False).ids == ids
    return same and len(tokenizer.get_vocab()) == file.get_vocab_size()


def _check_vocabulary(source: str, tokenizer: Any) -> None:
    """Raise InputError where no word is known, or a sentencepiece model is misread."""
    ids = text_ids(tokenizer, SAMPLE_TEXT)
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


def text_ids(tokenizer: Any, text: str) -> list[int]:
    """Return the ids of a text without special tokens."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
