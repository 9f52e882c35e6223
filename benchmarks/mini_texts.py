"""The texts that `mini` learns from: its tokenizer, and made-up queries. See `benchmarks.mini`."""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from competition.core.errors import InputError
from competition.data.tokenizer import tokenise
from competition.models.encoder.encoder import SPECIAL_TOKENS

# --- the tokenizer
# -----------------------------------------------------------------------------------------------

CHARACTERS = 2_000  # the most probable single characters, which are kept whether the catalogue has them or not
_SCRIPTS = ("LATIN", "HIRAGANA", "KATAKANA", "CJK", "IDEOGRAPHIC")
_SPACE = "▁"  # how a unigram tokenizer writes the blank before a word


def prune(
    teacher: Any, texts: Sequence[str], pieces: int
) -> tuple[PreTrainedTokenizerFast, NDArray[np.int64]]:
    """Return a lower-casing tokenizer of the teacher's pieces that matter most, and their ids in the teacher.

    A piece counts by its log-probability in the teacher or in `texts`, whichever is larger, so that
    words of the catalogue stay as well as those of the language. The ids are those of all pieces
    but the special tokens, which come first: piece `i` of the result is `len(SPECIAL_TOKENS) + i`.

    Args:
        teacher: a fast unigram tokenizer.
        texts: the catalogue's.
        pieces: the size of the new vocabulary, with its special tokens.

    Raises:
        InputError: the teacher's tokenizer is not unigram.
    """
    backend = getattr(teacher, "backend_tokenizer", None)
    content = json.loads(backend.to_str())["model"] if backend else {}
    if content.get("type") != "Unigram":
        raise InputError(
            "The teacher's tokenizer is not a fast unigram one: take e5-small, or an encoder like XLM-R."
        )
    special = set(teacher.all_special_tokens) | {"<mask>"}
    vocabulary: list[tuple[str, float]] = [(piece, score) for piece, score in content["vocab"]]
    candidates = np.array(
        [i for i, (piece, _) in enumerate(vocabulary) if piece not in special and _fits(piece)]
    )

    # How often the catalogue would use each candidate, if all of them were kept.
    everything = _unigram([vocabulary[i] for i in candidates])
    used = np.asarray(tokenise(everything, texts).values)
    counts = np.bincount(used, minlength=len(SPECIAL_TOKENS) + len(candidates))[
        len(SPECIAL_TOKENS) :
    ]

    score = np.array([vocabulary[i][1] for i in candidates])
    rank = np.maximum(score, np.log((counts + 0.1) / max(1, counts.sum())))

    # Single characters go before all else: without one, a word that holds it would be unknown.
    single = np.array([len(vocabulary[i][0].replace(_SPACE, "")) <= 1 for i in candidates])
    probable = np.zeros(len(candidates), bool)
    probable[np.flatnonzero(single)[np.argsort(-score[single], kind="stable")[:CHARACTERS]]] = True
    rank[single & (probable | (counts > 0))] = np.inf

    kept = candidates[np.sort(np.argsort(-rank, kind="stable")[: pieces - len(SPECIAL_TOKENS)])]
    return _unigram([vocabulary[i] for i in kept]), kept


def _fits(piece: str) -> bool:
    """Whether a piece is in lower case and of signs, numbers, Latin and Japanese letters alone."""
    letters = (character for character in piece if character.isalpha())
    return piece == piece.lower() and all(
        unicodedata.name(letter, "").startswith(_SCRIPTS) for letter in letters
    )


def _unigram(pieces: Iterable[tuple[str, float]]) -> PreTrainedTokenizerFast:
    """A unigram tokenizer of some pieces with their log-probabilities, behind the special tokens."""
    special = list(SPECIAL_TOKENS.values())
    first, separator = SPECIAL_TOKENS["cls_token"], SPECIAL_TOKENS["sep_token"]
    vocabulary = [*((token, 0.0) for token in special), *pieces]
    tokenizer = Tokenizer(
        models.Unigram(vocabulary, unk_id=special.index(SPECIAL_TOKENS["unk_token"]))
    )
    blanks = normalizers.Replace(Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), blanks]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always")
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {separator}",
        pair=f"{first} $A {separator} $B:1 {separator}:1",
        special_tokens=[(token, special.index(token)) for token in (first, separator)],
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL_TOKENS)


# --- made-up queries
# ---------------------------------------------------------------------------------------------

LONGEST = 60  # characters of a made-up query
_BREAKS = {"jp": re.compile(r"[\s,、。・()（）【】\[\]/|]+")}
_OTHER_BREAKS = re.compile(r'[\s,;:()|/\[\]"“”]+')
_STOP_WORDS = {
    *(
        "a",
        "an",
        "and",
        "by",
        "for",
        "from",
        "in",
        "of",
        "on",
        "pack",
        "pcs",
        "set",
        "the",
        "to",
        "with",
    ),
    *("con", "de", "el", "en", "la", "las", "los", "para", "por", "que", "y", "&", "-", "+"),
}


def words_of(text: str, locale: str) -> list[str]:
    """Return the words of a text; in Japanese, what stands between signs."""
    return [word for word in _BREAKS.get(locale, _OTHER_BREAKS).split(text) if word]


def made_up_query(product: Any, rng: np.random.Generator) -> str:
    """Return what somebody might type to find a product: pieces of its title or bullets, and sometimes its brand.

    Args:
        product: with `locale`, `title`, in which there are words, `bullets`, `brand` and `color`.
        rng: what is drawn comes from.
    """
    japanese = product.locale == "jp"
    from_title = rng.random() < 0.75
    words = [] if from_title else words_of(product.bullets[:300], product.locale)
    words = words or words_of(product.title, product.locale)
    pieces = _characters(words, rng) if japanese else _words(words, rng)
    if product.brand and rng.random() < (0.3 if japanese else 0.2):
        pieces = [product.brand, *pieces]
    if product.color and not japanese and rng.random() < 0.08:
        pieces = [*pieces, product.color]
    query = " ".join(dict.fromkeys(pieces))[:LONGEST].strip()
    return query.lower() if rng.random() < 0.8 else query


def _characters(words: list[str], rng: np.random.Generator) -> list[str]:
    """One or two pieces of two to ten characters, since Japanese has no blanks between words."""
    pieces = []
    for _ in range(2 if rng.random() < 0.5 else 1):
        word = words[rng.integers(len(words))]
        length = min(len(word), int(rng.integers(2, 11)))
        start = int(rng.integers(len(word) - length + 1))
        pieces.append(word[start : start + length])
    return pieces


def _words(words: list[str], rng: np.random.Generator) -> list[str]:
    """One run of words, two runs, or single words in their order; without stop words at the ends."""
    telling = [place for place, word in enumerate(words) if word.lower() not in _STOP_WORDS]
    if not telling:
        return words[:2]

    way = rng.random()
    if way < 0.45:
        drawn = _run(words, 5, rng)
    elif way < 0.75:
        drawn = _run(words, 3, rng) + _run(words, 3, rng)
    else:
        count = min(len(telling), int(rng.integers(1, 6)))
        drawn = [words[place] for place in np.sort(rng.choice(telling, count, replace=False))]

    drawn = list(dict.fromkeys(drawn))
    inside = [place for place, word in enumerate(drawn) if word.lower() not in _STOP_WORDS]
    return drawn[inside[0] : inside[-1] + 1] if inside else [words[telling[0]]]


def _run(words: list[str], longest: int, rng: np.random.Generator) -> list[str]:
    """One to `longest` words that stand behind each other."""
    length = int(rng.integers(1, longest + 1))
    start = int(rng.integers(max(1, len(words) - length + 1)))
    return words[start : start + length]
