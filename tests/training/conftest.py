"""A small encoder, pairs with every feature, and recipes without dropout."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import BertConfig, BertModel

from competition.config.encoder_recipe import EncoderRecipe
from competition.config.recipe import PretrainingRecipe
from competition.data.catalogue import Catalogue
from competition.data.pairs import Pairs, views
from competition.data.pretraining_examples import PretrainingExamples
from competition.data.vocabulary import Vocabulary
from competition.models.encoder.encoder import (
    load_encoder,
    load_tokenizer,
    save,
    train_tokenizer,
)
from competition.models.encoder.model import RelevanceModel
from competition.models.encoder.paths import Sources
from competition.models.encoder.pretraining_model import PretrainingModel, vocabulary_sizes
from competition.training.gradients import BatchGradients
from competition.training.loop import make_accelerator
from competition.training.pretraining_gradients import PretrainingGradients
from competition.training.samples import Sample
from tests.esci import CONTEST, KINDS, LOCALES

FEATURES = ("brand", "color", "country", "char_trigrams")
WIDTH = 32  # dimensions of the encoder
ALL_AT_ONCE = 1_000_000  # tokens: no batch is split
IN_MICRO_BATCHES = 100  # tokens: every batch is


def make_recipe(**keys: Any) -> EncoderRecipe:
    """A recipe without dropout, on all features."""
    content = {
        "name": "x",
        "dropout": 0.0,
        "features": FEATURES,
        "token_budget": ALL_AT_ONCE,
        "max_length": 48,
    }
    return EncoderRecipe(**(content | keys))


@dataclass(frozen=True)
class Bench:
    """What the tests of this folder train on."""

    sources: Sources
    examples: pd.DataFrame
    products: pd.DataFrame
    _pairs: dict[object, Pairs] = field(default_factory=dict, init=False)

    def pairs(self, recipe: EncoderRecipe) -> Pairs:
        """The examples as a recipe reads them; each reading is made once."""
        texts = views(recipe.architecture, recipe.field_order, CONTEST)
        key = recipe.architecture, recipe.field_order, recipe.max_length
        if key not in self._pairs:
            assert self.sources.vocabulary is not None
            vocabulary = Vocabulary.load(self.sources.vocabulary)
            tokenizer = load_tokenizer(self.sources.encoder)
            self._pairs[key] = Pairs.make(
                tokenizer, self.examples, self.products, texts, recipe.max_length, vocabulary, True,
                locales=CONTEST.locales,
            )  # fmt: skip
        return self._pairs[key]

    def model(self, recipe: EncoderRecipe, seed: int = 5) -> RelevanceModel:
        """A model in float64 and in evaluation mode, so that the encoder's dropout is off while gradients flow."""
        return RelevanceModel.make(recipe, KINDS[recipe.kind], self.sources, seed).double().eval()

    def sample(self, recipe: EncoderRecipe, weight: np.ndarray | None = None) -> Sample:
        """All rows, their targets running through the classes (or through gains)."""
        pairs = self.pairs(recipe)
        n = len(pairs)
        target = np.arange(n) % {"classes": 4, "substitute": 2, "gain": 4}[recipe.kind]
        weight = np.linspace(0.5, 1.5, n) if weight is None else weight
        return Sample(pairs, np.arange(n), target / (3.0 if recipe.kind == "gain" else 1.0), weight)

    def step(
        self, recipe: EncoderRecipe, model: RelevanceModel, weight: np.ndarray | None = None
    ) -> BatchGradients:
        """The step of a recipe on all rows."""
        return BatchGradients(
            make_accelerator(), model, recipe, self.sample(recipe, weight), seed=3
        )


@pytest.fixture(scope="session")
def bench(
    tmp_path_factory: pytest.TempPathFactory, catalogue: tuple[pd.DataFrame, pd.DataFrame]
) -> Bench:
    """24 examples, five of them without a product in the catalogue."""
    folder = tmp_path_factory.mktemp("bench")
    examples, products = catalogue
    make_small(folder / "small", products, longest=512, layers=2, width=WIDTH)
    Vocabulary.make(products, CONTEST.categories).save(folder / "vocabulary", "test")
    lost = examples["product_id"].iloc[[1, 6, 11, 16, 21]]
    known = products[~products["product_id"].isin(lost)]
    sources = Sources(folder / "small", folder / "vocabulary", locales=len(LOCALES))
    return Bench(sources, examples.head(24), known)


# --- pre-training
# ------------------------------------------------------------------------------------------------


def pretraining(**keys: Any) -> PretrainingRecipe:
    """A recipe of all tasks for a few short steps, without averaged weights."""
    content = {
        "name": "p",
        "max_length": 32,
        "epochs": 1,
        "batch_size": 6,
        "learning_rate": 1e-3,
        "ema": 0.0,
    }
    return PretrainingRecipe(**(content | {"token_budget": ALL_AT_ONCE} | keys))


def make_small(
    folder: Path, products: pd.DataFrame, longest: int = 64, layers: int = 1, width: int = 16
) -> None:
    """Write an encoder of `layers` layers of `width` dimensions that reads `longest` tokens."""
    tokenizer = train_tokenizer(products, 500)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=width, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=2 * width, initializer_range=width**-0.5,
        max_position_embeddings=longest, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = BertModel(config, add_pooling_layer=False)
    folder.mkdir(parents=True)
    save(folder, tokenizer, model)


@dataclass(frozen=True)
class Shelf:
    """A catalogue, a small encoder and a vocabulary to pre-train with."""

    sources: Sources
    products: pd.DataFrame

    @property
    def described(self) -> pd.DataFrame:
        """The products as a workspace holds them, without how often each is read."""
        return self.products[list(CONTEST.product_columns)]

    def examples(
        self, recipe: PretrainingRecipe, products: pd.DataFrame | None = None
    ) -> PretrainingExamples:
        """The mini-batches of a recipe on `products`, all of them unless named."""
        assert self.sources.vocabulary is not None
        tokenizer, vocabulary = (
            load_tokenizer(self.sources.encoder),
            Vocabulary.load(self.sources.vocabulary),
        )
        read = self.products if products is None else products
        return PretrainingExamples(
            Catalogue.make(tokenizer, read, CONTEST, vocabulary, recipe.seed), tokenizer, recipe
        )

    def model(
        self, recipe: PretrainingRecipe, examples: PretrainingExamples, seed: int = 5
    ) -> PretrainingModel:
        """A model in float64 and in evaluation mode, so that dropout is off while gradients flow."""
        assert self.sources.vocabulary is not None
        sizes = vocabulary_sizes(
            tuple(recipe.learned_categories(CONTEST.categories)),
            Vocabulary.load(self.sources.vocabulary),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = PretrainingModel(load_encoder(self.sources.encoder), examples.tasks, sizes)
        return model.double().eval()

    def run(
        self, recipe: PretrainingRecipe, products: pd.DataFrame | None = None
    ) -> PretrainingGradients:
        """What counts the gradients of a recipe, with a model of its own."""
        examples = self.examples(recipe, products)
        return PretrainingGradients(
            make_accelerator(), self.model(recipe, examples), recipe, examples
        )


@pytest.fixture(scope="session")
def shelf(
    tmp_path_factory: pytest.TempPathFactory, catalogue: tuple[pd.DataFrame, pd.DataFrame]
) -> Shelf:
    """160 products, every third of which is read twice per epoch."""
    folder, products = tmp_path_factory.mktemp("shelf"), catalogue[1].head(160)
    make_small(folder / "small", products)
    Vocabulary.make(products, CONTEST.categories).save(folder / "vocabulary", "test")
    return Shelf(
        Sources(folder / "small", folder / "vocabulary"),
        products.assign(copies=1 + (np.arange(160) % 3 == 0)),
    )


# --- gradients
# ---------------------------------------------------------------------------------------------------


def gradient(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every parameter's gradient."""
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(
    found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float = 1e-9
) -> None:
    """Both hold the same names and values but for the tolerance of a value of 1 or less, and are not all zero."""
    assert found.keys() == expected.keys()
    assert any(bool(tensor.abs().max() > 1e-4) for tensor in expected.values())
    for name, tensor in expected.items():
        torch.testing.assert_close(
            found[name], tensor, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )
