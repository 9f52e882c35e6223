"""How what training starts from is made: folds, encoders, vocabularies, vectors, translations."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from competition.config.recipe import BaseRecipe, PretrainingRecipe
from competition.core.console import progress
from competition.core.errors import CompError
from competition.core.fingerprint import derive_seed, fingerprint
from competition.core.json_files import read_manifest
from competition.core.parquet import read_fingerprint, read_table, write_table
from competition.core.workspace import SCHEMA, Workspace
from competition.data import folds, store
from competition.data.store import DataCard
from competition.data.text import FIELDS
from competition.data.token_store import (
    SequenceMaker,
    SequenceStore,
    StoredSequences,
    write_sequences,
)
from competition.models.encoder.paths import Sources
from competition.pipeline.inputs import TINY, folds_inputs

if TYPE_CHECKING:
    from competition.training.loop import Log


class Materials:
    """Makes what training starts from; the tables are read once."""

    def __init__(self, workspace: Workspace, tracker: str | None = None) -> None:
        """`tracker` is the experiment tracker that is told of training, if any."""
        self.workspace, self.tracker = workspace, tracker

    @cached_property
    def examples(self) -> pd.DataFrame:
        """All examples, sorted by example_id."""
        return store.load_examples(self.workspace)

    @cached_property
    def products(self) -> pd.DataFrame:
        """All products."""
        return store.load_products(self.workspace)

    @cached_property
    def training_products(self) -> pd.DataFrame:
        """The products of training rows: what is fitted before the folds comes from them alone."""
        return store.training_products(self.examples, self.products)

    @cached_property
    def card(self) -> DataCard:
        """What is known of the data."""
        return store.load_card(self.workspace)

    @cache  # noqa: B019 - one Maker per command
    def fold_of_rows(self, scheme: str) -> pd.Series:
        """The fold of each example, with its index, from the checked file of a scheme."""
        table = read_table(self.workspace.folds(scheme), folds_inputs(self.card, scheme))
        folds.check_folds(self.examples, table, scheme)
        return folds.fold_of_rows(self.examples, table)

    def fold_of_training(self, scheme: str) -> pd.Series:
        """The fold of each training row, by example_id."""
        train = (self.examples["split"] == "train").to_numpy()
        ids = self.examples["example_id"].to_numpy()[train]
        return pd.Series(self.fold_of_rows(scheme).to_numpy()[train], index=ids)

    # --- folds and encoder ---

    def folds(self, scheme: str, inputs: str) -> None:
        """Write `folds/<scheme>.parquet`."""
        table = folds.make_folds(self.examples, scheme)
        folds.check_folds(self.examples, table, scheme)
        write_table(self.workspace.folds(scheme), table, inputs)

    def encoder(self, source: str, folder: Path, inputs: str, seed: int) -> None:
        """Write an encoder's folder."""
        from competition.models.encoder.encoder import fetch, make_tiny

        with progress(f"encoder {folder.name}"):
            if source == TINY:
                make_tiny(folder, self.training_products, derive_seed(seed, TINY), inputs)
            else:
                fetch(folder, source, inputs)

    def pretrain(
        self, recipe: PretrainingRecipe, sources: Sources, folder: Path, inputs: str
    ) -> None:
        """Write the folder of an encoder that was pre-trained on the catalogue."""
        from competition.data.catalogue import select_products
        from competition.training.pretrain import pretrain

        products = select_products(self.examples, self.products, recipe.test_copies)
        with self.open_log(
            self.workspace.encoder_log(recipe.name), recipe, f"{recipe.name}/{inputs[:8]}"
        ) as log:
            unfinished = self.workspace.checkpoints(recipe.name, "encoder")
            stored = self.tokens(sources.encoder)
            pretrain(recipe, products, sources, folder, inputs, log, unfinished, stored)

    def open_log(
        self, path: Path, recipe: BaseRecipe, training: str, **always: Any
    ) -> AbstractContextManager["Log"]:
        """The log of a training, and behind it the tracker; there, `training` is what it is called."""
        from competition.training.trackers import open_log

        folder = self.workspace.tracking / (self.tracker or "")
        return open_log(
            path, self.tracker, folder, training, recipe.model_dump(mode="json"), **always
        )

    # --- what is read of the rows, as numbers ---

    def stored(self, sources: Sources, units: bool) -> StoredSequences:
        """The tokens of all texts, with `units` the 3-grams of products, too; made where they are missing."""
        grams = self.grams(sources.vocabulary) if units and sources.vocabulary else None
        return StoredSequences(self.tokens(sources.encoder), grams)

    def tokens(self, encoder: Path) -> SequenceStore:
        """The token ids of all queries and product fields by an encoder's tokenizer."""
        from competition.data.tokenizer import make_token_maker, tokenizer_fingerprint
        from competition.models.encoder.encoder import load_tokenizer

        tokenizer = load_tokenizer(encoder)
        name = fingerprint([SCHEMA, "tokens", tokenizer_fingerprint(tokenizer)])
        texts = [self.examples[["query"]], *(self.products[[field]] for field in FIELDS)]
        return self._sequences(
            "tokens", self.workspace.tokens(name), name, texts, make_token_maker(tokenizer)
        )

    def grams(self, folder: Path) -> SequenceStore:
        """The ids of the 3-grams of all products by the vocabulary of a folder."""
        from competition.data.vocabulary import Vocabulary, make_gram_maker, product_units

        name = fingerprint([SCHEMA, "grams", read_manifest(folder)])
        make = make_gram_maker(Vocabulary.load(folder))
        return self._sequences(
            "3-grams", self.workspace.grams, name, product_units(self.products), make
        )

    def _sequences(
        self,
        name: str,
        folder: Path,
        maker: str,
        tables: Sequence[pd.DataFrame],
        make: SequenceMaker,
    ) -> SequenceStore:
        """The sequences of a folder, which are made unless it holds those of this maker and these data."""
        inputs = fingerprint([maker, self.card.all_rows])
        if read_manifest(folder) != inputs:
            with self.workspace.lock(f"{name} {folder.name}", wait=True):
                if read_manifest(folder) != inputs:
                    write_sequences(folder, inputs, name, tables, make)
        return SequenceStore(folder)

    def write_text_features(self, inputs: str) -> None:
        """Write `data/text_features.parquet`: the features of `lexical` and BM25."""
        from competition.models.lexical.bm25 import bm25_features
        from competition.models.lexical.text_features import text_features

        with progress(f"text features of {len(self.examples):,} rows"):
            parts = [make(self.examples, self.products) for make in (text_features, bm25_features)]
        write_table(self.workspace.text_features, pd.concat(parts, axis=1).reset_index(), inputs)

    def vocabulary(self, inputs: str) -> None:
        """Write `data/vocabulary/`."""
        from competition.data.vocabulary import Vocabulary

        with progress(f"vocabulary of {len(self.training_products):,} products"):
            Vocabulary.make(self.training_products).save(self.workspace.vocabulary, inputs)

    def gram_vectors(self, inputs: str, seed: int) -> None:
        """Write `data/char3/`."""
        from competition.data.vocabulary import Vocabulary, gram_vectors, save_vectors

        vocabulary = Vocabulary.load(self.workspace.vocabulary)
        with progress(f"3-gram vectors of {len(self.training_products):,} products"):
            vectors = gram_vectors(vocabulary, self.training_products, derive_seed(seed, "char3"))
        save_vectors(self.workspace.gram_vectors, vectors, inputs)

    def translations(self, source: str, path: Path, inputs: str) -> None:
        """Write the translations of Spanish training text; what an earlier file of the same model holds is kept."""
        from competition.data.augment import texts_to_translate
        from competition.models.encoder.translation import Translator

        texts = texts_to_translate(self.examples, self.products)
        known = _earlier_translations(path)
        missing = [text for text in texts if text not in known]
        if missing:
            with progress("translation", len(missing), "texts") as work:
                for new in Translator(source).translate(missing, work):
                    known |= new
                    _save_translations(path, known, "unfinished")
        _save_translations(path, {text: known[text] for text in texts}, inputs)


def read_translations(path: Path, inputs: str) -> dict[str, str]:
    """Text -> translation of a file."""
    table = read_table(path, inputs)
    return dict(zip(table["text"], table["translation"], strict=True))


def _earlier_translations(path: Path) -> dict[str, str]:
    """Those of a file, finished or not; none where it is missing or damaged."""
    recorded = read_fingerprint(path)
    if recorded is None:
        return {}
    try:
        return read_translations(path, recorded)
    except CompError:
        return {}


def _save_translations(path: Path, translations: Mapping[str, str], inputs: str) -> None:
    rows = pd.DataFrame(sorted(translations.items()), columns=["text", "translation"], dtype="str")
    write_table(path, rows, inputs)
