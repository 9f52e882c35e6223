"""A saved model is an ordinary Hugging Face folder with our features and head beside it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer

from competition.training.batches import collate
from competition.training.model_files import load_model, save_model
from tests.esci import KINDS
from tests.training.conftest import Bench, make_recipe


@pytest.mark.parametrize(
    "architecture", ["cross-encoder", "mixture-of-experts", "two-tower", "bi-encoder"]
)
def test_a_saved_model_says_what_it_said(architecture: str, bench: Bench, tmp_path: Path) -> None:
    recipe = make_recipe(architecture=architecture)
    model = bench.model(recipe).float()
    save_model(tmp_path, 7, model, bench.sources)
    again = load_model(tmp_path, 7, recipe, KINDS[recipe.kind], bench.sources).eval()
    inputs = collate(bench.pairs(recipe), torch.arange(6).numpy(), torch.device("cpu"))
    with torch.no_grad():
        assert torch.equal(model(inputs), again(inputs))


def test_transformers_loads_the_encoder_by_itself(bench: Bench, tmp_path: Path) -> None:
    model = bench.model(make_recipe()).float()
    save_model(tmp_path, 7, model, bench.sources)
    alone = AutoModel.from_pretrained(
        tmp_path / "seed-7", local_files_only=True, add_pooling_layer=False
    ).eval()
    tokens = AutoTokenizer.from_pretrained(tmp_path / "seed-7", local_files_only=True)(
        "a query", return_tensors="pt"
    )
    with torch.no_grad():
        assert torch.equal(
            alone(**tokens).last_hidden_state, model.encoder(**tokens).last_hidden_state
        )


def test_a_model_in_one_file_is_still_read(bench: Bench, tmp_path: Path) -> None:
    """Models were kept like this before; they stay valid."""
    model = bench.model(make_recipe()).float()
    save_file(dict(model.state_dict()), tmp_path / "seed-7.safetensors")
    again = load_model(tmp_path, 7, make_recipe(), KINDS["classes"], bench.sources)
    assert all(
        torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items()
    )
