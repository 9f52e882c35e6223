"""Build what training starts from: folds, encoders, vocabularies, translations, stored tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from competition.config.base_recipe import BaseRecipe
from competition.config.encoder_recipe import NEW_HEAD
from competition.config.recipe import PretrainingRecipe
from competition.core.console import progress
from competition.core.errors import CompError, pluralize
from competition.core.fingerprint import derive_seed, fingerprint
from competition.core.json_files import read_manifest
from competition.core.lazy import pd
from competition.core.parquet import read_fingerprint, read_table, write_table
from competition.core.workspace import SCHEMA
from competition.data import folds
from competition.models.encoder.paths import Sources
from competition.pipeline.artifacts import Translations
from competition.pipeline.recipes import TINY
from competition.pipeline.tables import Tables

if TYPE_CHECKING:
    from competition.data.token_store import SequenceMaker, SequenceStore, StoredSequences
    from competition.pipeline.plan import Plan
    from competition.training.loop import Log


def build_folds(tables: Tables, scheme: str, inputs: str) -> None:
    """Write `folds/<scheme>.parquet`."""
    table = folds.make_folds(tables.examples, scheme, tables.contest)
    folds.check_folds(tables.examples, table, scheme)
    write_table(tables.workspace.folds(scheme), table, inputs)


def build_text_features(tables: Tables, inputs: str) -> None:
    """Write `data/text_features.parquet`: the features of `lexical` and BM25."""
    from competition.models.lexical.bm25 import bm25_features
    from competition.models.lexical.text_features import text_features

    examples = tables.examples
    products = tables.products
    with progress(f"text features of {pluralize(len(examples), 'row')}"):
        makers = (text_features, bm25_features)
        parts = [make(examples, products, tables.contest) for make in makers]

    features = pd.concat(parts, axis=1).reset_index()  # (examples, example_id and features)
    write_table(tables.workspace.text_features, features, inputs)


# --- encoders ---


def build_encoder(
    tables: Tables, source: str, folder: Path, inputs: str, seed: int, head: str = NEW_HEAD
) -> None:
    """Write an encoder's folder, with the `head` that recipes ask for."""
    from competition.models.encoder.encoder import TINY_PRODUCTS, fetch, make_tiny

    with progress(f"encoder {folder.name}"):
        if source == TINY:
            products = tables.some_training_products(TINY_PRODUCTS)
            make_tiny(folder, products, derive_seed(seed, TINY), inputs)
        else:
            fetch(folder, source, inputs, head)


def build_pretrained(tables: Tables, plan: Plan, recipe: PretrainingRecipe) -> None:
    """Write the folder of an encoder that is pre-trained on the catalogue."""
    from competition.data.catalogue import select_products
    from competition.training.pretrain import pretrain

    sources = plan.artifacts.pretraining_sources(recipe)
    folder = plan.artifacts.encoder_folder(recipe.name)
    inputs = plan.artifacts.encoder_fingerprint(recipe.name)

    products = select_products(tables.examples, tables.products, recipe.test_copies)
    unfinished = plan.workspace.checkpoints(recipe.name, "encoder")
    log_path = plan.workspace.encoder_log(recipe.name)
    # An encoder of other inputs is another run of the tracker.
    with training_log(plan, log_path, recipe, name=f"{recipe.name}/{inputs[:8]}") as log:
        stored = encoder_tokens(tables, sources.encoder)
        pretrain(recipe, products, tables.contest, sources, folder, inputs, log, unfinished, stored)


def training_log(
    plan: Plan, path: Path, recipe: BaseRecipe, name: str, **always: Any
) -> AbstractContextManager[Log]:
    """Open the log of a training, and behind it the experiment tracker, in which it is called `name`."""
    from competition.training.trackers import open_log

    tracker = plan.settings.tracker
    folder = plan.workspace.tracking / (tracker or "")
    return open_log(path, tracker, folder, name, recipe.model_dump(mode="json"), **always)


# --- texts as numbers, built where they are first read ---


def stored_tokens(
    tables: Tables, sources: Sources, units: bool, text: bool = True
) -> StoredSequences:
    """Return the tokens of all texts where `text` is read as it is, and with `units` the 3-grams of products."""
    from competition.data.token_store import StoredSequences

    grams = product_grams(tables, sources.vocabulary) if units and sources.vocabulary else None
    return StoredSequences(encoder_tokens(tables, sources.encoder) if text else None, grams)


def encoder_tokens(tables: Tables, encoder: Path) -> SequenceStore:
    """Return the token ids of all queries and product fields by an encoder's tokenizer."""
    from competition.data.tokenizer import make_token_maker, tokenizer_fingerprint
    from competition.models.encoder.encoder import load_tokenizer

    # Encoders whose tokenizers agree share a folder.
    tokenizer = load_tokenizer(encoder)
    maker = fingerprint([SCHEMA, "tokens", tokenizer_fingerprint(tokenizer)])

    fields = tables.contest.fields
    texts = [tables.examples[["query"]], *(tables.products[[field]] for field in fields)]
    folder = tables.workspace.tokens(maker)
    return _sequences(tables, "tokens", folder, maker, texts, make_token_maker(tokenizer))


def product_grams(tables: Tables, vocabulary: Path) -> SequenceStore:
    """Return the ids of the 3-grams of all products by the vocabulary of a folder."""
    from competition.data.vocabulary import Vocabulary, make_gram_maker, product_units

    maker = fingerprint([SCHEMA, "grams", read_manifest(vocabulary)])
    make = make_gram_maker(Vocabulary.load(vocabulary))
    units = product_units(tables.products, tables.contest.categories)
    return _sequences(tables, "3-grams", tables.workspace.grams, maker, units, make)


def _sequences(
    tables: Tables,
    name: str,
    folder: Path,
    maker: str,
    texts: Sequence[pd.DataFrame],
    make: SequenceMaker,
) -> SequenceStore:
    """Return the sequences of a folder, which are built unless it holds those of this maker and these data."""
    from competition.data.token_store import SequenceStore, write_sequences

    inputs = fingerprint([maker, tables.card.all_rows])
    if read_manifest(folder) != inputs:
        with tables.workspace.lock(f"{name} {folder.name}", wait=True):
            # Another process may have built them in the meantime.
            if read_manifest(folder) != inputs:
                write_sequences(folder, inputs, name, texts, make)

    return SequenceStore(folder)


# --- vocabulary, vectors, translations ---


def build_vocabulary(tables: Tables, inputs: str) -> None:
    """Write `data/vocabulary/`."""
    from competition.data.vocabulary import Vocabulary

    rows = tables.training_product_rows
    with progress(f"vocabulary of {len(rows):,} products"):
        vocabulary = Vocabulary.make(tables.products, tables.contest.categories, rows)
        vocabulary.save(tables.workspace.vocabulary, inputs)


def build_gram_vectors(tables: Tables, inputs: str, seed: int) -> None:
    """Write `data/char3/`."""
    from competition.data.vocabulary import (
        WORD2VEC_PRODUCTS,
        Vocabulary,
        gram_vectors,
        save_vectors,
    )

    vocabulary = Vocabulary.load(tables.workspace.vocabulary)
    products = tables.some_training_products(WORD2VEC_PRODUCTS)
    with progress(f"3-gram vectors of {len(tables.training_product_rows):,} products"):
        vectors = gram_vectors(vocabulary, products, derive_seed(seed, "char3"))
    save_vectors(tables.workspace.gram_vectors, vectors, inputs)


def build_translations(tables: Tables, file: Translations) -> None:
    """Write the translations of training text; what an earlier file of the same model holds is kept."""
    from competition.data.augment import texts_to_translate
    from competition.models.encoder.translation import Translator

    texts = texts_to_translate(tables.examples, tables.products, tables.contest)
    known = _earlier_translations(file.path)
    missing = [text for text in texts if text not in known]
    if missing:
        with progress("translation", len(missing), "texts") as work:
            for new in Translator(file.source).translate(missing, work):
                known |= new
                # What is translated so far survives an interruption.
                _save_translations(file.path, known, "unfinished")

    _save_translations(file.path, {text: known[text] for text in texts}, file.fingerprint)


def read_translations(path: Path, inputs: str) -> dict[str, str]:
    """Return text -> translation of a file."""
    table = read_table(path, inputs)
    return dict(zip(table["text"], table["translation"], strict=True))


def _earlier_translations(path: Path) -> dict[str, str]:
    """Return the translations of a file, finished or not; none where it is missing or damaged."""
    recorded = read_fingerprint(path)
    if recorded is None:
        return {}

    try:
        return read_translations(path, recorded)
    except CompError:
        return {}


def _save_translations(path: Path, translations: Mapping[str, str], inputs: str) -> None:
    # Sorted, so that equal translations are equal bytes.
    rows = pd.DataFrame(sorted(translations.items()), columns=["text", "translation"], dtype="str")
    write_table(path, rows, inputs)
