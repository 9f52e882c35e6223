"""Folds that train decoders: adapters or all weights, a new head or the words yes and no, killed and resumed."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from transformers import AutoModelForCausalLM

from competition.models.encoder.encoder import fetch
from competition.models.encoder.paths import Sources
from competition.training.finetune import predict_fold
from tests.esci import KINDS
from tests.rerankers import make_decoder
from tests.training.test_trained_heads import ROWS, files_of, make_recipe, run
from tests.zoo import killed_in_step

pytestmark = pytest.mark.slow

Catalogue = tuple[pd.DataFrame, pd.DataFrame]
LORA = {"lora": {"rank": 2, "alpha": 4}}
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("qwen3", "yes-no", LORA | {"adversary": "fgm-table", "r_drop": 0.5, "ema": 0.9, "mixup": 0.2}),
    ("qwen3", "yes-no", {}),
    ("llama", "new", LORA | {"adversary": "awp", "ema": 0.9}),
    ("gemma2", "new", {"adversary": "fgm-row", "kind": "classes"}),
    ("mistral", "new", {"lora": {"quantize": "bf16"}, "checkpointing": True}),
    ("qwen3", "yes-no", {"lora": {"quantize": "4bit"}, "checkpointing": True}),
]


@pytest.mark.parametrize(("family", "head", "keys"), CASES)
def test_a_decoder_ends_in_the_same_bytes(
    family: str, head: str, keys: dict[str, Any], catalogue: Catalogue, tmp_path: Path
) -> None:
    """What is saved predicts what training predicted, and the base is as it was."""
    if keys.get("lora", {}).get("quantize") == "4bit":
        pytest.importorskip("bitsandbytes")
    make_decoder(AutoModelForCausalLM, family, tmp_path / "source", catalogue[1])
    fetch(tmp_path / "copy", str(tmp_path / "source"), "test", head)
    sources, before = Sources(tmp_path / "copy"), files_of(tmp_path / "copy")
    recipe = make_recipe(head=head, checkpoint_steps=1, **keys)
    corpus, fold, (_, test) = run(recipe, sources, catalogue, tmp_path / "whole")
    with killed_in_step(2):
        run(recipe, sources, catalogue, tmp_path / "killed")
    _, killed, _ = run(recipe, sources, catalogue, tmp_path / "killed")
    assert files_of(killed.folder) == files_of(fold.folder)
    assert files_of(tmp_path / "copy") == before

    kind = KINDS[recipe.kind]
    again = predict_fold(recipe, kind, corpus, sources, fold.folder, "test", ROWS[18:])
    pd.testing.assert_frame_equal(again, test, check_exact=True)
    values = test.drop(columns="example_id").to_numpy()
    assert np.isfinite(values).all()
    assert (values.std(0) > 0).all()
