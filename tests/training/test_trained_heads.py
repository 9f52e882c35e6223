"""Folds that start from a reranker: as it is, or trained on; what is saved is what predicted."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from competition.config.encoder_recipe import EncoderRecipe
from competition.models.encoder.encoder import fetch
from competition.models.encoder.paths import Sources
from competition.training.corpus import Corpus
from competition.training.finetune import Fold, predict_fold, train_fold
from competition.training.loop import Log
from tests.esci import CONTEST, KINDS
from tests.rerankers import make_reranker
from tests.zoo import killed_in_step

ROWS = np.arange(24)
Catalogue = tuple[pd.DataFrame, pd.DataFrame]


@pytest.fixture(scope="module")
def reranker(catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reranker")
    make_reranker(folder / "source", "bert", catalogue[1])
    fetch(folder / "copy", str(folder / "source"), "test", "pretrained")
    return folder / "copy"


def run(
    recipe: EncoderRecipe, sources: Sources, catalogue: Catalogue, folder: Path
) -> tuple[Corpus, Fold, tuple[pd.DataFrame, pd.DataFrame]]:
    """Train on 12 rows, hold 6 out, test on 6."""
    corpus = Corpus.make(recipe, CONTEST, sources, catalogue[0].head(24), catalogue[1])
    fold = Fold("0", folder / "fold-0", "test", sources, ROWS[:12], ROWS[12:18], ROWS[18:])
    fold = replace(fold, checkpoints=folder / "left")
    kind = KINDS[recipe.kind]
    outputs = train_fold(recipe, kind, corpus, fold, Log(folder / "log"), lambda _: 0.5)
    return corpus, fold, outputs


def files_of(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def make_recipe(**keys: Any) -> EncoderRecipe:
    content = {"name": "x", "kind": "gain", "head": "pretrained", "max_length": 40, "batch_size": 4}
    return EncoderRecipe(**(content | {"epochs": 1, "learning_rate": 1e-3} | keys))


def test_a_reranker_predicts_as_it_is_and_saves_its_head_alone(
    reranker: Path, catalogue: Catalogue, tmp_path: Path
) -> None:
    recipe = make_recipe(epochs=0)
    corpus, fold, (held_out, test) = run(recipe, Sources(reranker), catalogue, tmp_path)
    assert sorted(files_of(fold.folder)) == ["made_from.json", "seed-2022/relevance.safetensors"]
    assert held_out["gain"].std() > 0
    again = predict_fold(
        recipe, KINDS["gain"], corpus, fold.sources, fold.folder, "test", ROWS[18:]
    )
    pd.testing.assert_frame_equal(again, test, check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "keys", [{}, {"ema": 0.9, "adversary": "fgm-table", "r_drop": 0.5, "mixup": 0.2}]
)
def test_a_reranker_that_is_trained_on_is_a_reranker(
    keys: dict[str, Any], reranker: Path, catalogue: Catalogue, tmp_path: Path
) -> None:
    """Killed in step 2, it ends in the same bytes; transformers reads the folder, head and all."""
    recipe = make_recipe(checkpoint_steps=1, **keys)
    corpus, fold, (_, test) = run(recipe, Sources(reranker), catalogue, tmp_path / "whole")
    with killed_in_step(2):
        run(recipe, Sources(reranker), catalogue, tmp_path / "killed")
    _, killed, _ = run(recipe, Sources(reranker), catalogue, tmp_path / "killed")
    assert files_of(killed.folder) == files_of(fold.folder)

    again = predict_fold(
        recipe, KINDS["gain"], corpus, fold.sources, fold.folder, "test", ROWS[18:]
    )
    pd.testing.assert_frame_equal(again, test, check_exact=True)

    alone = AutoModelForSequenceClassification.from_pretrained(fold.folder / "seed-2022").eval()
    ids, types = corpus.pairs.ids(18, corpus.pairs.views[0])
    tokens = torch.tensor(ids[None].astype(np.int64))
    second = (torch.arange(len(ids)) >= types).long()[None]
    with torch.no_grad():
        logit = alone(input_ids=tokens, token_type_ids=second).logits[0, 0]
    row = test[test["example_id"] == corpus.pairs.example_id[18]]
    assert float(row["gain"].iloc[0]) == pytest.approx(float(logit.sigmoid()), abs=1e-5)

    before = load_file(reranker / "model.safetensors")
    after = load_file(fold.folder / "seed-2022" / "model.safetensors")
    assert before.keys() == after.keys()
    assert not torch.equal(before["classifier.weight"], after["classifier.weight"])
