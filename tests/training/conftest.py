"""A tiny encoder, pairs with every feature, and recipes without dropout."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from competition.data.tokens import Pairs, views
from competition.data.vocabulary import Vocabulary
from competition.model.encoder import load_tokenizer, make_tiny
from competition.model.relevance import RelevanceModel
from competition.model.sources import Sources
from competition.recipe import EncoderRecipe
from competition.training.loop import make_accelerator
from competition.training.step import Sample, Step

FEATURES = ("brand", "color", "country", "char3")
ALL_AT_ONCE = 1_000_000  # tokens: no batch is split
IN_PIECES = 100  # tokens: every batch is


def recipe(**keys: Any) -> EncoderRecipe:
    """A recipe without dropout, on all features."""
    content = {"name": "x", "dropout": 0.0, "features": FEATURES, "token_budget": ALL_AT_ONCE, "max_length": 48}
    return EncoderRecipe(**(content | keys))


@dataclass(frozen=True)
class Bench:
    """What the tests of this folder train on."""

    sources: Sources
    examples: pd.DataFrame
    products: pd.DataFrame

    def pairs(self, recipe: EncoderRecipe) -> Pairs:
        """The examples as a recipe reads them."""
        assert self.sources.vocabulary is not None
        texts = views(recipe.architecture, recipe.field_order)
        vocabulary = Vocabulary.load(self.sources.vocabulary)
        tokenizer = load_tokenizer(self.sources.encoder)
        return Pairs.make(tokenizer, self.examples, self.products, texts, recipe.max_length, vocabulary, True)

    def model(self, recipe: EncoderRecipe, seed: int = 5) -> RelevanceModel:
        """A model in float64 and in evaluation mode, so that the encoder's dropout is off while gradients flow."""
        return RelevanceModel.make(recipe, self.sources, seed).double().eval()

    def sample(self, recipe: EncoderRecipe, weight: np.ndarray | None = None) -> Sample:
        """All rows, their targets running through the classes (or through gains)."""
        pairs = self.pairs(recipe)
        n = len(pairs)
        target = np.arange(n) % {"classes": 4, "substitute": 2, "gain": 4}[recipe.kind]
        weight = np.linspace(0.5, 1.5, n) if weight is None else weight
        return Sample(pairs, np.arange(n), target / (3.0 if recipe.kind == "gain" else 1.0), weight)

    def step(self, recipe: EncoderRecipe, model: RelevanceModel, weight: np.ndarray | None = None) -> Step:
        """The step of a recipe on all rows."""
        return Step(make_accelerator(), model, model, recipe, self.sample(recipe, weight), seed=3)


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory, catalogue: tuple[pd.DataFrame, pd.DataFrame]) -> Bench:
    """24 examples, five of them without a product in the catalogue."""
    folder = tmp_path_factory.mktemp("bench")
    examples, products = catalogue
    make_tiny(folder / "tiny", products, 1, "test")
    Vocabulary.make(products).save(folder / "vocabulary", "test")
    lost = examples["product_id"].iloc[[1, 6, 11, 16, 21]]
    known = products[~products["product_id"].isin(lost)]
    return Bench(Sources(folder / "tiny", folder / "vocabulary"), examples.head(24), known)


def gradient(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every parameter's gradient."""
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float = 1e-9) -> None:
    """Both hold the same names and values, and are not all zero."""
    assert found.keys() == expected.keys()
    assert any(bool(tensor.abs().max() > 1e-4) for tensor in expected.values())
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")
