"""The parts of a model, made once from the built-in catalogue, and batches of its pairs."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from competition.config.encoder_recipe import EncoderRecipe
from competition.data.pairs import Pairs, views
from competition.data.vocabulary import Vocabulary, gram_vectors, save_vectors
from competition.models.encoder.encoder import load_tokenizer, make_tiny
from competition.models.encoder.inputs import Inputs
from competition.models.encoder.paths import Sources
from competition.training.batches import collate
from tests.esci import CONTEST, LOCALES

FEATURES = ("brand", "color", "country", "char_trigrams")


def recipe(**keys: Any) -> EncoderRecipe:
    """A recipe on all features, or as `keys` say."""
    return EncoderRecipe(**({"name": "x", "features": FEATURES, "max_length": 48} | keys))


def batch(pairs: Pairs, rows: list[int] | range) -> Inputs:
    """What a model is given for these rows."""
    return collate(pairs, np.array(rows), torch.device("cpu"))


@pytest.fixture(scope="session")
def sources(
    tmp_path_factory: pytest.TempPathFactory, catalogue: tuple[pd.DataFrame, pd.DataFrame]
) -> Sources:
    """The tiny encoder, the vocabulary and word2vec's vectors of a small catalogue."""
    folder = tmp_path_factory.mktemp("sources")
    make_tiny(folder / "tiny", catalogue[1], seed=1, inputs="test")
    vocabulary = Vocabulary.make(catalogue[1], CONTEST.categories)
    vocabulary.save(folder / "vocabulary", "test")
    save_vectors(folder / "char_trigrams", gram_vectors(vocabulary, catalogue[1], seed=1), "test")
    return Sources(
        folder / "tiny", folder / "vocabulary", folder / "char_trigrams", locales=len(LOCALES)
    )


@pytest.fixture(scope="session")
def tiny(sources: Sources) -> Path:
    """The folder of the tiny encoder."""
    return sources.encoder


class Shop:
    """20 examples, of which the rows LOST have no product in the catalogue."""

    LOST = (1, 6, 11)

    def __init__(self, sources: Sources, catalogue: tuple[pd.DataFrame, pd.DataFrame]) -> None:
        examples, products = catalogue
        self.sources, self.examples = sources, examples.head(20)
        lost = self.examples["product_id"].iloc[list(self.LOST)]
        self.products = products[~products["product_id"].isin(lost)]

    @property
    def vocabulary(self) -> Vocabulary:
        assert self.sources.vocabulary is not None
        return Vocabulary.load(self.sources.vocabulary)

    def pairs(self, recipe: EncoderRecipe) -> Pairs:
        """The examples as a recipe reads them."""
        return Pairs.make(
            load_tokenizer(self.sources.encoder),
            self.examples,
            self.products,
            views(recipe.architecture, recipe.field_order, CONTEST),
            recipe.max_length,
            self.vocabulary if recipe.features else None,
            "char_trigrams" in recipe.features,
            locales=CONTEST.locales,
        )


@pytest.fixture(scope="session")
def shop(sources: Sources, catalogue: tuple[pd.DataFrame, pd.DataFrame]) -> Shop:
    """Pairs to feed to models."""
    return Shop(sources, catalogue)
