"""What training starts from. Translations are kept by text: a model is loaded only for what is new."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from competition.config.encoder_recipe import EncoderRecipe
from competition.config.recipe import PretrainingRecipe
from competition.core.console import Progress
from competition.core.errors import CompError
from competition.core.json_files import read_manifest
from competition.core.parquet import read_fingerprint
from competition.core.workspace import Workspace
from competition.data import store, tokenizer
from competition.data.augment import texts_to_translate
from competition.data.text import clean
from competition.models.encoder import translation
from competition.models.encoder.paths import Sources
from competition.pipeline import build_inputs
from competition.pipeline.artifacts import Translations
from competition.pipeline.build_inputs import build_translations, read_translations, stored_tokens
from competition.pipeline.plan import Plan
from competition.pipeline.tables import Tables
from competition.training import pretrain
from competition.training.corpus import Corpus
from tests.esci import CONTEST, FIELDS

Catalogue = tuple[pd.DataFrame, pd.DataFrame]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What each translation model that was loaded has been asked; it answers in capitals, in portions of 20 texts."""
    found: list[list[str]] = []

    class Capitals:
        def __init__(self, source: str) -> None:
            assert source == "model"
            found.append([])

        def translate(self, texts: Sequence[str], work: Progress) -> Iterator[dict[str, str]]:
            for first in range(0, len(texts), 20):
                found[-1] += texts[first : first + 20]
                work.advance(len(texts[first : first + 20]))
                yield {text: text.upper() for text in texts[first : first + 20]}

    monkeypatch.setattr(translation, "Translator", Capitals)
    return found


def tables_of(folder: Path, catalogue: Catalogue) -> Tables:
    """The tables of a workspace that holds these rows."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "competition.toml").write_text("")
    workspace = Workspace.open(folder)
    store.save(workspace, CONTEST, *catalogue, "test")
    return Tables(workspace, CONTEST)


def test_pre_training_reads_products_as_often_as_the_recipe_says(
    tmp_path: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[pd.DataFrame] = []
    monkeypatch.setattr(
        pretrain, "pretrain", lambda recipe, products, *rest: given.append(products)
    )
    monkeypatch.setattr(build_inputs, "encoder_tokens", lambda *_: None)
    examples, _ = catalogue
    split = examples.set_index(["locale", "product_id"])["split"]
    for copies in (0, 1, 3):
        recipe = PretrainingRecipe(name="x", test_copies=copies)
        tables = tables_of(tmp_path / "w", catalogue)
        plan = Plan.open(tables.workspace, {"x": recipe})
        build_inputs.build_pretrained(tables, plan, recipe)
        read = given[-1].set_index(["locale", "product_id"])["copies"]
        assert read.to_dict() == {
            key: 1 if split[key] == "train" else copies
            for key in split.index
            if split[key] == "train" or copies
        }


def without_a_spanish_query(catalogue: Catalogue) -> Catalogue:
    """The rows without those of the first Spanish query that is trained on."""
    examples, products = catalogue
    spanish = examples[(examples["locale"] == "es") & (examples["split"] == "train")]
    return examples[examples["query_id"] != spanish["query_id"].iloc[0]], products


def test_only_new_texts_are_translated(
    tmp_path: Path, catalogue: Catalogue, asked: list[list[str]]
) -> None:
    path, fewer = tmp_path / "translations.parquet", without_a_spanish_query(catalogue)
    before, now = texts_to_translate(*fewer, CONTEST), texts_to_translate(*catalogue, CONTEST)
    assert 20 < len(before) < len(now)
    build_translations(tables_of(tmp_path / "fewer", fewer), Translations("model", path, "one"))
    assert asked == [before]
    assert read_translations(path, "one") == {text: text.upper() for text in before}
    build_translations(tables_of(tmp_path / "all", catalogue), Translations("model", path, "two"))
    assert asked == [before, [text for text in now if text not in before]]
    assert read_translations(path, "two") == {text: text.upper() for text in now}


def test_no_model_is_loaded_when_nothing_is_missing(
    tmp_path: Path, catalogue: Catalogue, asked: list[list[str]]
) -> None:
    path, fewer = tmp_path / "translations.parquet", without_a_spanish_query(catalogue)
    build_translations(tables_of(tmp_path / "all", catalogue), Translations("model", path, "one"))
    build_translations(tables_of(tmp_path / "fewer", fewer), Translations("model", path, "two"))
    assert len(asked) == 1
    assert list(read_translations(path, "two")) == texts_to_translate(
        *fewer, CONTEST
    )  # and nothing of the rows that are gone
    examples, products = catalogue
    nothing = tmp_path / "nothing.parquet"
    english = (examples[examples["locale"] != "es"], products)
    build_translations(tables_of(tmp_path / "none", english), Translations("model", nothing, "x"))
    assert len(asked) == 1
    assert read_translations(nothing, "x") == {}


def test_an_interrupted_translation_goes_on_where_it_was(
    tmp_path: Path, catalogue: Catalogue, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, texts = tmp_path / "translations.parquet", texts_to_translate(*catalogue, CONTEST)
    capitals = translation.Translator

    class Interrupted(capitals):  # type: ignore[misc, valid-type]
        def translate(self, texts: Sequence[str], work: Progress) -> Iterator[dict[str, str]]:
            yield next(iter(super().translate(texts, work)))
            raise KeyboardInterrupt

    monkeypatch.setattr(translation, "Translator", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_translations(
            tables_of(tmp_path / "w", catalogue), Translations("model", path, "inputs")
        )
    assert read_fingerprint(path) != "inputs"  # a part is never taken for the whole
    with pytest.raises(CompError, match="out of date"):
        read_translations(path, "inputs")
    monkeypatch.setattr(translation, "Translator", capitals)
    build_translations(tables_of(tmp_path / "w", catalogue), Translations("model", path, "inputs"))
    assert asked == [texts[:20], texts[20:]]
    assert read_translations(path, "inputs") == {text: text.upper() for text in texts}


# --- texts as numbers
# --------------------------------------------------------------------------------------------


@pytest.fixture
def tokenised(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that a tokenizer is asked for, in order."""
    asked: list[str] = []
    encode = tokenizer._tokenise_chunk

    def counted(known: Any, texts: list[str], max_length: int) -> Any:
        asked.extend(texts)
        return encode(known, texts, max_length)

    monkeypatch.setattr(tokenizer, "_tokenise_chunk", counted)
    return asked


def sources(tables: Tables) -> Sources:
    """The offline encoder and a vocabulary, made in the workspace."""
    folders = Sources(tables.workspace.encoder("tiny"), tables.workspace.vocabulary)
    if not folders.encoder.is_dir():
        build_inputs.build_encoder(tables, "tiny", folders.encoder, "encoder", seed=1)
        build_inputs.build_vocabulary(tables, "vocabulary")
    return folders


def corpus(tables: Tables, **keys: Any) -> Corpus:
    """The pairs of a recipe, as runs ask for them."""
    recipe = EncoderRecipe(
        name="x", features=("brand", "char_trigrams"), **{"max_length": 48} | keys
    )
    folders = sources(tables)
    return Corpus.make(
        recipe,
        CONTEST,
        folders,
        tables.examples,
        tables.products,
        stored=stored_tokens(tables, folders, units=True),
    )


def test_a_second_recipe_tokenises_nothing(
    tmp_path: Path, catalogue: Catalogue, tokenised: list[str]
) -> None:
    tables = tables_of(tmp_path, catalogue)
    corpus(tables)
    examples, products = catalogue
    texts = {*examples["query"], *(text for field in FIELDS for text in products[field])}
    assert sorted(tokenised) == sorted(map(clean, texts))  # each once
    tokenised.clear()
    for keys in ({"field_order": "ptdbbc", "max_length": 32}, {"architecture": "two-tower"}):
        corpus(tables, **keys)
    assert tokenised == []


def test_another_process_finds_them_until_the_rows_change(
    tmp_path: Path, catalogue: Catalogue, tokenised: list[str]
) -> None:
    corpus(tables_of(tmp_path, catalogue))
    tokenised.clear()
    again = Tables(Workspace.open(tmp_path), CONTEST)
    corpus(again)
    assert tokenised == []
    examples, products = catalogue
    other = tables_of(tmp_path, (examples, products.assign(title=products["title"] + "!")))
    folder = next(again.workspace.tokens("").iterdir())
    before = read_manifest(folder)
    build_inputs.encoder_tokens(other, again.workspace.encoder("tiny"))
    assert tokenised
    assert read_manifest(folder) != before


def test_derived_texts_tokenise_what_is_new(
    tmp_path: Path, catalogue: Catalogue, tokenised: list[str]
) -> None:
    tables = tables_of(tmp_path, catalogue)
    corpus(tables)
    tokenised.clear()
    pairs = corpus(tables, query_context=True, rebalance=True).pairs
    known = {clean(text) for field in FIELDS for text in catalogue[1][field]}
    assert tokenised
    assert not known.intersection(tokenised)
    assert len(pairs) >= len(catalogue[0])


def test_stored_pairs_are_those_that_are_made_anew(tmp_path: Path, catalogue: Catalogue) -> None:
    examples, products = catalogue
    tables = tables_of(
        tmp_path, (examples, products[products.index % 5 != 0].reset_index(drop=True))
    )
    folders = sources(tables)
    for keys in (
        {},
        {"architecture": "mixture-of-experts"},
        {"query_context": True, "rebalance": True},
    ):
        recipe = EncoderRecipe(name="x", features=("brand", "char_trigrams"), max_length=24, **keys)  # type: ignore[arg-type]
        parts = (recipe, CONTEST, folders, tables.examples, tables.products)
        new, stored = (
            Corpus.make(*parts).pairs,
            Corpus.make(*parts, stored=stored_tokens(tables, folders, units=True)).pairs,
        )
        np.testing.assert_array_equal(new.lengths(), stored.lengths())
        assert new.attributes is not None
        assert stored.attributes is not None
        for row in range(len(new)):
            for view in new.views:
                (ids, first), (found, also_first) = new.ids(row, view), stored.ids(row, view)
                assert ids.tolist() == found.tolist()
                assert first == also_first
                assert new.has_text(row, view) == stored.has_text(row, view)
        for one, other in zip(
            new.attributes.product_grams, stored.attributes.product_grams, strict=True
        ):
            assert [one[i].tolist() for i in range(len(one))] == [
                other[i].tolist() for i in range(len(other))
            ]
