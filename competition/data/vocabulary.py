"""What a model reads of a pair beside its tokens: categories such as its brand, locale and 3-grams as ids.

The vocabularies come from the products of training rows: no query and no label is looked at, so all
folds share them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from competition.core.arrays import Codes
from competition.core.atomic import atomic_folder
from competition.core.json_files import read_json, write_json, write_manifest
from competition.data.grams import by_frequency, gram_codes
from competition.data.ragged import Ragged, concatenate
from competition.data.store import evenly_spaced, field_names
from competition.data.text import map_distinct, simplify
from competition.data.token_store import SequenceMaker

# Ids of names; those of the vocabulary follow.
MISSING = 0
RARE = 1
PADDING = 0  # of grams
MIN_TIMES = 2  # a name that is seen once is rare
MIN_GRAMS = 15
UNITS = ("query", "product", "description")  # the texts whose 3-grams are pooled, one unit each
_CHUNK = 20_000  # products at a time
_PLURAL = "s"  # behind a category, in the file of its names


def product_units(
    products: pd.DataFrame, categories: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the columns of each product's two units.

    The second is the last text, which describes it, and the first all fields before it and the
    categories; both are the same where there is one field.
    """
    fields = field_names(products)
    last = [name for name in fields if name not in categories][-1]
    return products[[name for name in fields if name != last] or [last]], products[[last]]


def unit_text(unit: pd.DataFrame) -> list[str]:
    """Return the text of each product's unit, from its columns."""
    columns = [map_distinct(simplify, unit[field]) for field in unit]
    return [" ".join(filter(None, row)) for row in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Vocabulary:
    """Names and grams by falling frequency, equally frequent ones by the alphabet."""

    names: Mapping[str, tuple[str, ...]]  # of each category
    grams: Codes  # (grams,); gram k has the id k + 1

    @classmethod
    def make(cls, products: pd.DataFrame, categories: Sequence[str]) -> "Vocabulary":
        """Make the vocabulary of a catalogue: names seen at least twice, 3-grams seen at least MIN_GRAMS times."""
        codes = np.empty(0, np.int64)
        counts = np.empty(0, np.int64)
        for first in range(0, len(products), _CHUNK):
            for unit in product_units(products.iloc[first : first + _CHUNK], categories):
                new_codes, new_counts = np.unique(
                    gram_codes(unit_text(unit))[0], return_counts=True
                )
                codes, counts = _add_counts(codes, counts, new_codes, new_counts)

        frequent = counts >= MIN_GRAMS
        grams = by_frequency(codes[frequent], counts[frequent])
        return cls({name: _frequent_names(products[name]) for name in categories}, grams)

    def name_ids(self, category: str, names: Sequence[str]) -> NDArray[np.int64]:
        """Return the id of each name of a category, `(names,)`.

        It is MISSING, RARE, or its place in the vocabulary behind these two.
        """
        places = {name: RARE + 1 + place for place, name in enumerate(self.names[category])}
        ids = {"": MISSING} | places

        # Each distinct name is simplified once.
        codes, distinct = pd.factorize(np.array(names, object))
        return np.array([ids.get(simplify(name), RARE) for name in distinct], np.int64)[codes]

    def gram_ids(self, texts: Sequence[str]) -> Ragged:
        """Return the ids of each simplified text's 3-grams, without those that are not in the vocabulary."""
        return concatenate(
            self._look_up(texts[first : first + _CHUNK]) for first in range(0, len(texts), _CHUNK)
        )

    def _look_up(self, texts: Sequence[str]) -> Ragged:
        codes, sizes = gram_codes(texts)  # (grams of all texts,), (texts,)
        if not len(self.grams):
            return Ragged(np.empty(0, np.int32), np.zeros(len(sizes), np.int64))

        known_codes, known_ids = self._sorted
        position = np.minimum(np.searchsorted(known_codes, codes), len(known_codes) - 1)
        known = known_codes[position] == codes
        ids = known_ids[position[known]].astype(np.int32)
        text_of_gram = np.repeat(np.arange(len(sizes)), sizes)
        return Ragged(ids, np.bincount(text_of_gram[known], minlength=len(sizes)))

    @cached_property
    def _sorted(self) -> tuple[Codes, Codes]:
        """The codes in the alphabet's order and the id of each."""
        order = np.argsort(self.grams)
        return self.grams[order], order + 1

    def save(self, folder: Path, inputs: str) -> None:
        """Write the vocabulary with the fingerprint of what it was made from."""
        with atomic_folder(folder) as temporary:
            names = {f"{category}{_PLURAL}": known for category, known in self.names.items()}
            write_json(temporary / "names.json", names)
            save_file({"grams": self.grams}, temporary / "grams.safetensors")
            write_manifest(temporary, inputs)

    @classmethod
    def load(cls, folder: Path) -> "Vocabulary":
        """Load the vocabulary of a folder that `save` wrote."""
        names = read_json(folder / "names.json")
        grams = load_file(folder / "grams.safetensors")["grams"]
        known = {plural.removesuffix(_PLURAL): tuple(each) for plural, each in names.items()}
        return cls(known, grams)


def make_gram_maker(vocabulary: Vocabulary) -> SequenceMaker:
    """Return a function that gives the ids of the 3-grams of `product_units`."""
    return lambda unit: vocabulary.gram_ids(unit_text(unit))


def _add_counts(
    codes: Codes, counts: Codes, new_codes: Codes, new_counts: Codes
) -> tuple[Codes, Codes]:
    """Return distinct codes in ascending order and how often each was seen, with those of another chunk.

    `counts` is changed in place.
    """
    position = np.searchsorted(codes, new_codes)
    known = np.isin(new_codes, codes, assume_unique=True)
    counts[position[known]] += new_counts[known]

    insert_at = position[~known]
    return (
        np.insert(codes, insert_at, new_codes[~known]),
        np.insert(counts, insert_at, new_counts[~known]),
    )


def _frequent_names(values: pd.Series) -> tuple[str, ...]:
    times: Counter[str] = Counter()
    for name, count in values.value_counts().items():
        times[simplify(str(name))] += int(count)
    del times[""]

    by_count = sorted((-count, name) for name, count in times.items() if count >= MIN_TIMES)
    return tuple(name for _, name in by_count)


# --- 3-gram vectors ---

DIMENSIONS = 64
DEVIATION = (
    0.02  # of random vectors, as of random weights in the encoders: what is new starts quiet
)
WORD2VEC_PRODUCTS = (
    50_000  # evenly spaced: bounded in time, on the one thread that repeats its bytes
)
_WORD2VEC = {"sg": 1, "window": 15, "negative": 20, "sample": 6e-5, "epochs": 3}


class _Sentences:
    """The texts of the product units as lists of gram ids, for as many passes as word2vec makes."""

    def __init__(self, units: Sequence[Ragged]) -> None:
        self._units = units

    def __iter__(self) -> Iterator[list[str]]:
        for unit in self._units:
            for i in range(len(unit)):
                if len(unit[i]):
                    yield [str(gram) for gram in unit[i].tolist()]


def gram_vectors(vocabulary: Vocabulary, products: pd.DataFrame, seed: int) -> NDArray[np.float32]:
    """Train skip-gram word2vec (Mikolov et al. 2013) on the 3-grams of product texts.

    Returns:
        `(grams + 1, DIMENSIONS)`; row k belongs to the gram with the id k, row 0 (padding) is zero.
        At most WORD2VEC_PRODUCTS products are read; a gram that they do not hold gets a small
        random vector.
    """
    from gensim.models import Word2Vec

    rng = np.random.default_rng(seed)
    vectors = rng.normal(0, DEVIATION, (len(vocabulary.grams) + 1, DIMENSIONS)).astype(np.float32)
    vectors[PADDING] = 0

    read = evenly_spaced(products, WORD2VEC_PRODUCTS)
    units = [
        vocabulary.gram_ids(unit_text(unit)) for unit in product_units(read, list(vocabulary.names))
    ]
    counts = np.bincount(np.concatenate([unit.values for unit in units]), minlength=len(vectors))
    # By id, so that the order in which the library meets the grams is ours.
    times = {str(gram): int(counts[gram]) for gram in range(1, len(vectors)) if counts[gram]}
    if not times:
        return vectors

    model = Word2Vec(vector_size=DIMENSIONS, min_count=1, workers=1, seed=seed, **_WORD2VEC)
    model.build_vocab_from_freq(times)
    model.train(_Sentences(units), total_words=int(counts.sum()), epochs=model.epochs)
    vectors[[int(gram) for gram in model.wv.index_to_key]] = model.wv.vectors
    return vectors


def save_vectors(folder: Path, vectors: NDArray[np.float32], inputs: str) -> None:
    """Write 3-gram vectors with the fingerprint of what they were made from."""
    with atomic_folder(folder) as temporary:
        save_file({"vectors": vectors}, temporary / "vectors.safetensors")
        write_manifest(temporary, inputs)


def load_vectors(folder: Path) -> NDArray[np.float32]:
    """Load the vectors of a folder that `save_vectors` wrote."""
    vectors: NDArray[np.float32] = load_file(folder / "vectors.safetensors")["vectors"]
    return vectors
