"""Folds that train adapters: every method, kills and resumes, and what is saved."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from transformers import AutoModel

from competition.models.encoder.encoder import fetch
from competition.models.encoder.paths import Sources
from competition.training.finetune import predict_fold
from tests.esci import KINDS
from tests.rerankers import make_model, make_reranker, pair_tokenizer
from tests.training.test_trained_heads import ROWS, files_of, make_recipe, run
from tests.zoo import killed_in_step

pytestmark = pytest.mark.slow

Catalogue = tuple[pd.DataFrame, pd.DataFrame]
METHODS: dict[str, dict[str, Any]] = {
    "plain": {},
    "fgm-ema": {"adversary": "fgm-table", "r_drop": 0.5, "ema": 0.9, "mixup": 0.2},
    "fgm-row": {"adversary": "fgm-row", "lean": False},
    "awp": {"adversary": "awp", "ema": 0.9},
    "checkpointing": {"checkpointing": True},
    "best": {"weights": "best", "epochs": 2},
    "bf16": {"lora": {"quantize": "bf16"}, "adversary": "fgm-table"},
    "4bit": {"lora": {"quantize": "4bit"}, "adversary": "fgm-table", "ema": 0.9},
}


@pytest.fixture(scope="module")
def start(catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An encoder and a reranker, by the `head` that they go with."""
    folder = tmp_path_factory.mktemp("start")
    make_model(AutoModel, "bert").save_pretrained(folder / "new")
    pair_tokenizer(catalogue[1], "bert").save_pretrained(folder / "new")
    make_reranker(folder / "pretrained", "bert", catalogue[1])
    for head in ("new", "pretrained"):
        fetch(folder / f"{head}-copy", str(folder / head), "test", head)
    return {head: folder / f"{head}-copy" for head in ("new", "pretrained")}


@pytest.mark.parametrize("method", METHODS)
def test_adapters_train_by_every_method(
    method: str, start: dict[str, Path], catalogue: Catalogue, tmp_path: Path
) -> None:
    """Killed in step 2, a fold ends in the same bytes; only adapters and head are saved; the base is untouched."""
    if method == "4bit":
        pytest.importorskip("bitsandbytes")
    head = "pretrained" if method in ("plain", "fgm-ema", "bf16") else "new"
    keys = {"lora": {"rank": 2, "alpha": 4}, "checkpoint_steps": 1} | METHODS[method]
    recipe = make_recipe(head=head, **keys)
    sources = Sources(start[head])
    before = files_of(start[head])
    corpus, fold, (_, test) = run(recipe, sources, catalogue, tmp_path / "whole")
    with killed_in_step(2):
        run(recipe, sources, catalogue, tmp_path / "killed")
    left = list((tmp_path / "killed").rglob("state.safetensors"))
    assert left
    _, killed, _ = run(recipe, sources, catalogue, tmp_path / "killed")

    saved = files_of(fold.folder)
    assert files_of(killed.folder) == saved
    assert {Path(name).name for name in saved} == {
        "made_from.json", "adapter_config.json", "adapter_model.safetensors", "relevance.safetensors",
    }  # fmt: skip
    assert files_of(start[head]) == before
    again = predict_fold(recipe, KINDS["gain"], corpus, sources, fold.folder, "test", ROWS[18:])
    pd.testing.assert_frame_equal(again, test, check_exact=True)
    assert np.isfinite(test["gain"]).all()
    assert test["gain"].std() > 0


def test_adapters_learn(start: dict[str, Path], catalogue: Catalogue, tmp_path: Path) -> None:
    """Trained ones predict otherwise than a head alone does."""
    outputs = {}
    for rate in (1e-9, 1e-2):
        recipe = make_recipe(
            head="new", lora={"rank": 2}, learning_rate=rate, head_learning_rate=1e-9
        )
        _, _, (_, test) = run(recipe, Sources(start["new"]), catalogue, tmp_path / str(rate))
        outputs[rate] = test["gain"].to_numpy()
    assert np.abs(outputs[1e-2] - outputs[1e-9]).max() > 1e-3
