"""Published rerankers keep their head: their scores are those of sentence-transformers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from competition.config.encoder_recipe import EncoderRecipe
from competition.core.errors import InputError
from competition.data.layout import documents
from competition.data.store import product_rows
from competition.data.text import clean_all
from competition.models.encoder.encoder import fetch
from competition.models.encoder.inputs import Inputs, Mixup
from competition.models.encoder.model import RelevanceModel
from competition.models.encoder.paths import Sources
from competition.training.batches import collate
from competition.training.corpus import Corpus
from tests.esci import CONTEST, FIELD_ORDERS, KINDS
from tests.rerankers import make_reranker

FAMILIES = ("bert", "xlm-roberta", "modernbert")
Catalogue = tuple[pd.DataFrame, pd.DataFrame]


def reranker_recipe(**keys: object) -> EncoderRecipe:
    """A reranker that predicts gains as it is."""
    content = {"name": "x", "kind": "gain", "head": "pretrained", "epochs": 0, "max_length": 40}
    return EncoderRecipe(**(content | keys))  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=FAMILIES)
def reranker(
    request: pytest.FixtureRequest, catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The workspace's copy of a reranker, beside its source."""
    folder = tmp_path_factory.mktemp(request.param)
    make_reranker(folder / "source", request.param, catalogue[1])
    fetch(folder / "copy", str(folder / "source"), "test", "pretrained")
    return folder / "copy"


def inputs_of(
    recipe: EncoderRecipe, folder: Path, catalogue: Catalogue, rows: list[int]
) -> tuple[Inputs, list[tuple[str, str]]]:
    """A batch, and its pairs as texts."""
    examples, products = catalogue[0].head(12), catalogue[1]
    corpus = Corpus.make(recipe, CONTEST, Sources(folder), examples, products)
    of_row = products.iloc[product_rows(examples, products)]
    texts = clean_all(documents(of_row, FIELD_ORDERS[recipe.field_order])["document"])
    pairs = list(zip(clean_all(examples["query"]), texts, strict=True))
    return collate(corpus.pairs, np.array(rows), torch.device("cpu")), [pairs[i] for i in rows]


@pytest.mark.parametrize("max_length", [24, 64])
def test_zero_shot_scores_are_those_of_sentence_transformers(
    max_length: int, reranker: Path, catalogue: Catalogue
) -> None:
    """Cut or uncut; both by the sigmoid of one logit."""
    library = pytest.importorskip("sentence_transformers", reason="the reference is not installed")
    recipe = reranker_recipe(max_length=max_length)
    inputs, pairs = inputs_of(recipe, reranker, catalogue, list(range(12)))
    model = RelevanceModel.make(recipe, KINDS["gain"], Sources(reranker), seed=0).eval()
    with torch.no_grad():
        logits = model(inputs)
    scores = model.outputs(logits)[:, 0].numpy()

    reference = library.CrossEncoder(
        str(reranker.parent / "source"), max_length=max_length, device="cpu"
    )
    expected = reference.predict(pairs, activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(logits[:, 0].numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(scores, reference.predict(pairs), atol=1e-5)
    assert expected.std() > 1e-3


def test_mates_in_the_batch_change_nothing(reranker: Path, catalogue: Catalogue) -> None:
    recipe = reranker_recipe(max_length=64)
    model = RelevanceModel.make(recipe, KINDS["gain"], Sources(reranker), seed=0).eval()
    with torch.no_grad():
        together = model(inputs_of(recipe, reranker, catalogue, list(range(12)))[0])
        alone = [model(inputs_of(recipe, reranker, catalogue, [i])[0]) for i in range(12)]
    torch.testing.assert_close(torch.cat(alone), together, rtol=0, atol=1e-5)


def test_mixup_mixes_what_the_last_layer_reads(reranker: Path, catalogue: Catalogue) -> None:
    """Of a linear layer, that mixes the logits."""
    recipe = reranker_recipe()
    model = RelevanceModel.make(recipe, KINDS["gain"], Sources(reranker), seed=0).eval()
    inputs, _ = inputs_of(recipe, reranker, catalogue, [0, 1, 2])
    mix = Mixup(torch.tensor([2, 0, 1]), 0.75)
    with torch.no_grad():
        torch.testing.assert_close(model(inputs, mix=mix), mix.apply(model(inputs)))


def test_a_head_of_one_output_answers_a_label_too(reranker: Path, catalogue: Catalogue) -> None:
    """The probability of the label is the sigmoid of the logit."""
    gain = RelevanceModel.make(reranker_recipe(), KINDS["gain"], Sources(reranker), seed=0).eval()
    recipe = reranker_recipe(kind="substitute")
    label = RelevanceModel.make(recipe, KINDS["substitute"], Sources(reranker), seed=0).eval()
    inputs, _ = inputs_of(recipe, reranker, catalogue, [0, 1, 2])
    with torch.no_grad():
        torch.testing.assert_close(label.outputs(label(inputs)), gain.outputs(gain(inputs)))


def test_a_head_of_another_size_is_refused(reranker: Path) -> None:
    with pytest.raises(InputError, match="head gives 1 numbers, and kind = 'classes' has 4"):
        RelevanceModel.make(reranker_recipe(kind="classes"), KINDS["classes"], Sources(reranker), 0)


def test_an_encoder_without_a_head_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="brings no trained head"):
        fetch(tmp_path / "copy", str(tiny), "test", "pretrained")


def test_a_head_that_cannot_be_taken_apart_is_refused(catalogue: Catalogue, tmp_path: Path) -> None:
    """ALBERT's pooler is a bare layer, whose activation and choice of token are the model's."""
    make_reranker(tmp_path / "source", "albert", catalogue[1])
    with pytest.raises(InputError, match="cannot be read apart from its encoder"):
        fetch(tmp_path / "copy", str(tmp_path / "source"), "test", "pretrained")
