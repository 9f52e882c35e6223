"""Vocabularies of brands, colors and 3-grams: a function of the catalogue's rows, whatever their order."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from competition.data.grams import gram_codes
from competition.data.store import evenly_spaced, some_products
from competition.data.text import simplify
from competition.data.vocabulary import (
    DEVIATION,
    DIMENSIONS,
    MIN_GRAMS,
    MISSING,
    RARE,
    Vocabulary,
    gram_vectors,
    load_vectors,
    product_units,
    save_vectors,
    unit_text,
)
from tests.esci import CONTEST, FIELDS

Catalogue = tuple[pd.DataFrame, pd.DataFrame]
MAKE_AND_SAVE = """
import sys
from pathlib import Path
from competition.data import synthetic
from competition.data.vocabulary import Vocabulary, gram_vectors, save_vectors
products = synthetic.make(60, noise=0.05, seed=7)[1]
vocabulary = Vocabulary.make(products, ("brand", "color"))
vocabulary.save(Path(sys.argv[1]) / "vocabulary", "test")
save_vectors(Path(sys.argv[1]) / "char_trigrams", gram_vectors(vocabulary, products, seed=1), "test")
"""


def products(*rows: dict[str, str]) -> pd.DataFrame:
    """A catalogue of products with these fields, all others empty."""
    return pd.DataFrame([dict.fromkeys(FIELDS, "") | row for row in rows], columns=list(FIELDS))


def unit_texts(rows: pd.DataFrame) -> list[list[str]]:
    """The text of each unit of each product."""
    return [unit_text(unit) for unit in product_units(rows, CONTEST.categories)]


def spelled(vocabulary: Vocabulary) -> list[str]:
    """The 3-grams of a vocabulary as text."""
    return [
        "".join(chr(code >> shift & 0x1FFFFF) for shift in (42, 21, 0))
        for code in vocabulary.grams.tolist()
    ]


def files(folder: Path) -> dict[str, bytes]:
    """The bytes of every file under a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def vocabulary(catalogue: Catalogue) -> Vocabulary:
    """That of the built-in catalogue."""
    return Vocabulary.make(catalogue[1], CONTEST.categories)


@pytest.fixture(scope="module")
def vectors(vocabulary: Vocabulary, catalogue: Catalogue) -> np.ndarray:
    """The 3-gram vectors of the built-in catalogue."""
    return gram_vectors(vocabulary, catalogue[1], seed=1)


# --- what is in it ---


def test_names_go_by_frequency_then_by_the_alphabet() -> None:
    times = {"zeta": 3, "beta": 2, "acme": 2, "once": 1}
    brands = [{"brand": name} for name, count in times.items() for _ in range(count)]
    colors = [{"color": name} for name in ("red", "red", "blue", "", "")]
    actual = Vocabulary.make(products(*brands, *colors), CONTEST.categories)
    assert (actual.names["brand"], actual.names["color"]) == (("zeta", "acme", "beta"), ("red",))


def test_rows_of_a_catalogue_are_read_as_a_catalogue_of_these_rows(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("competition.core.parquet._SLICE", 7)
    products = catalogue[1]
    rows = np.flatnonzero(np.arange(len(products)) % 3 > 0)

    actual = Vocabulary.make(products, CONTEST.categories, rows)

    expected = Vocabulary.make(products.iloc[rows], CONTEST.categories)
    assert actual.names == expected.names
    assert np.array_equal(actual.grams, expected.grams)
    for at_most in (1, 10, len(products)):
        some = some_products(products, rows, at_most)
        pd.testing.assert_frame_equal(some, evenly_spaced(products.iloc[rows], at_most))


def test_names_are_the_same_in_any_spelling() -> None:
    actual = Vocabulary.make(
        products(
            *({"brand": name} for name in ("<b>Acme</b>", "ACME!", "R&amp;D", "r-d", "_", "."))
        ),
        CONTEST.categories,
    )
    assert actual.names["brand"] == ("acme", "rd")
    assert actual.name_ids(
        "brand", ["acme", "A.c.m.e", " RD ", "other", "", "<br>", "!"]
    ).tolist() == [
        *(RARE + 1, RARE + 1, RARE + 2, RARE),
        *(MISSING, MISSING, MISSING),
    ]
    assert actual.name_ids("color", ["red", ""]).tolist() == [RARE, MISSING]


def test_a_gram_is_known_from_the_fifteenth_time_on() -> None:
    often, seldom = [{"title": "abc"}] * MIN_GRAMS, [{"title": "xyz"}] * (MIN_GRAMS - 1)
    actual = Vocabulary.make(products(*often, *seldom), CONTEST.categories)
    assert MIN_GRAMS == 15
    assert spelled(actual) == ["abc"]
    assert actual.gram_ids(["abc", "xyz", "abcabc"]).values.tolist() == [1, 1, 1]
    assert actual.gram_ids(["abc", "xyz", "abcabc"]).lengths.tolist() == [1, 0, 2]


def test_grams_are_counted_over_all_texts_of_a_product(catalogue: Catalogue) -> None:
    actual = Vocabulary.make(catalogue[1], CONTEST.categories)
    times: Counter[str] = Counter()
    for row in catalogue[1].to_dict("records"):
        unit = " ".join(
            row[field] for field in ("title", "brand", "color", "bullets") if row[field]
        )
        for text in (simplify(unit), simplify(row["description"])):
            times.update(text[i : i + 3] for i in range(len(text) - 2))
    kept = sorted((-count, gram) for gram, count in times.items() if count >= MIN_GRAMS)
    assert spelled(actual) == [gram for _, gram in kept]
    assert len(kept) > 500


def test_texts_are_lower_case_without_tags_and_punctuation() -> None:
    rows = products(
        {
            "title": "<b>Big</b> Bottle!",
            "brand": "AC-ME",
            "color": "Red",
            "bullets": "a<br>b",
            "description": "<p>C++</p>",
        }
    )
    assert unit_texts(rows) == [["big bottle acme red a b"], ["c"]]


def test_a_missing_field_says_nothing() -> None:
    rows = products({"title": "Big"}, {}, {"description": "red"})
    assert unit_texts(rows) == [["big", "", ""], ["", "", "red"]]
    known = Vocabulary(
        {"brand": (), "color": ()}, gram_codes(["big", "non", "one", "nan", "red"])[0]
    )
    assert [known.gram_ids(texts).lengths.tolist() for texts in unit_texts(rows)] == [
        [1, 0, 0],
        [0, 0, 1],
    ]


def test_an_empty_catalogue_has_an_empty_vocabulary(tmp_path: Path) -> None:
    Vocabulary.make(products(), CONTEST.categories).save(tmp_path / "v", "test")
    actual = Vocabulary.load(tmp_path / "v")
    assert (actual.names["brand"], actual.names["color"], len(actual.grams)) == ((), (), 0)
    assert actual.name_ids("brand", ["acme", ""]).tolist() == [RARE, MISSING]
    assert actual.gram_ids(["water", ""]).lengths.tolist() == [0, 0]
    assert len(actual.gram_ids([])) == 0
    assert (
        gram_vectors(actual, products({"title": "water"}), seed=1) == np.zeros((1, DIMENSIONS))
    ).all()


# --- what changes nothing ---


def test_no_order_of_rows_and_no_size_of_pieces_changes_it(
    vocabulary: Vocabulary, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = unit_texts(catalogue[1])[0]
    whole = vocabulary.gram_ids(texts)
    monkeypatch.setattr("competition.data.vocabulary._CHUNK", 50)
    other = Vocabulary.make(catalogue[1].sample(frac=1, random_state=1), CONTEST.categories)
    assert (other.names["brand"], other.names["color"]) == (
        vocabulary.names["brand"],
        vocabulary.names["color"],
    )
    np.testing.assert_array_equal(other.grams, vocabulary.grams)
    pieces = other.gram_ids(texts)
    np.testing.assert_array_equal(pieces.values, whole.values)
    np.testing.assert_array_equal(pieces.begins, whole.begins)


def test_saved_is_loaded(vocabulary: Vocabulary, vectors: np.ndarray, tmp_path: Path) -> None:
    vocabulary.save(tmp_path / "v", "test")
    actual = Vocabulary.load(tmp_path / "v")
    assert (actual.names["brand"], actual.names["color"]) == (
        vocabulary.names["brand"],
        vocabulary.names["color"],
    )
    np.testing.assert_array_equal(actual.grams, vocabulary.grams)
    save_vectors(tmp_path / "c", vectors, "test")
    np.testing.assert_array_equal(load_vectors(tmp_path / "c"), vectors)


def test_every_process_writes_the_same_bytes(
    vocabulary: Vocabulary, vectors: np.ndarray, tmp_path: Path
) -> None:
    vocabulary.save(tmp_path / "here" / "vocabulary", "test")
    save_vectors(tmp_path / "here" / "char_trigrams", vectors, "test")
    # Another order of sets than here, where the seed of hashes is random.
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", MAKE_AND_SAVE, str(tmp_path / "there")]
    subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], check=True)
    assert files(tmp_path / "there") == files(tmp_path / "here")
    assert len(files(tmp_path / "here")) == 5  # names, grams, vectors, and a stamp for each folder


# --- 3-gram vectors ---


def test_there_is_a_vector_for_each_gram_and_none_for_padding(
    vocabulary: Vocabulary, vectors: np.ndarray
) -> None:
    assert vectors.shape == (1 + len(vocabulary.grams), DIMENSIONS)
    assert vectors.dtype == np.float32
    assert (vectors[0] == 0).all()
    assert (np.abs(vectors[1:]).max(1) > 0).all()


def test_vectors_are_a_function_of_the_seed(
    vocabulary: Vocabulary, vectors: np.ndarray, catalogue: Catalogue
) -> None:
    assert gram_vectors(vocabulary, catalogue[1], seed=1).tobytes() == vectors.tobytes()
    assert gram_vectors(vocabulary, catalogue[1], seed=2).tobytes() != vectors.tobytes()


def test_a_gram_that_is_never_read_gets_a_small_random_vector() -> None:
    known = Vocabulary({"brand": (), "color": ()}, gram_codes(["abc", "bcd", "xyz"])[0])
    vectors = gram_vectors(known, products(*[{"title": "abcd"}] * 20), seed=1)
    assert (np.abs(vectors).max(1) > 0).tolist() == [False, True, True, True]
    assert vectors[3].std() == pytest.approx(DEVIATION, rel=0.5)
    start = np.random.default_rng(1).normal(0, DEVIATION, vectors.shape).astype(np.float32)
    assert (vectors[3] == start[3]).all()
    assert (vectors[1:3] != start[1:3]).any(1).all()


def test_grams_of_one_language_lie_together(vocabulary: Vocabulary, vectors: np.ndarray) -> None:
    grams = spelled(vocabulary)
    japanese = np.array([all(ord(character) > 0x3000 for character in gram) for gram in grams])
    latin = np.array([all(ord(character) < 0x250 for character in gram) for gram in grams])
    centred = vectors[1:] - vectors[1:].mean(0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    cosine = centred @ centred.T
    assert japanese.sum() > 50
    assert latin.sum() > 500
    assert (
        cosine[np.ix_(japanese, japanese)].mean() > 0.3 > 0 > cosine[np.ix_(japanese, latin)].mean()
    )
    np.fill_diagonal(cosine, -1)
    # By chance, a ninth of them would have a Japanese neighbour.
    assert japanese[cosine[japanese].argmax(1)].mean() > 0.5
