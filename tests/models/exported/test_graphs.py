"""A graph of a decoder says what its classifier says, alone and in company."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
pytest.importorskip("onnxscript", reason="the extra `export` is not installed")

from competition.config.encoder_recipe import NEW_HEAD
from competition.config.keys import Lora
from competition.models.encoder.encoder import fetch, load_tokenizer
from competition.models.encoder.model import RelevanceModel
from competition.models.encoder.paths import Sources
from competition.models.exported import graphs
from competition.models.exported.runner import TorchRunner
from competition.models.exported.writing import write_classifier
from tests.esci import KINDS
from tests.models.exported.test_writing import RECIPE
from tests.rerankers import make_decoder
from tests.zoo import Zoo

KIND = KINDS["classes"]
PAIRS = [
    ("red shoe", "A red shoe of leather"),
    ("usb c cable", "Garden hose, 10 m, with a tap of brass and a bag"),
    ("lamp", "Lamp"),
    ("x", ""),
    ("oak table", "Table"),
]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """Encoders of random weights."""
    return Zoo.open(tmp_path_factory.mktemp("zoo"))


@pytest.mark.slow
def test_a_decoder_with_merged_adapters_becomes_a_graph(zoo: Zoo, tmp_path: Path) -> None:
    source, copy, target = (tmp_path / name for name in ("source", "copy", "target"))
    make_decoder(AutoModelForCausalLM, "qwen3", source, zoo.products)
    fetch(copy, str(source), "test", NEW_HEAD)
    recipe = RECIPE.model_copy(update={"lora": Lora(rank=4, alpha=8)})
    model = RelevanceModel.make(recipe, KIND, Sources(copy), seed=1).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".lora_B" in name:  # which is 0 before training
                weight.normal_(std=0.05)
    model.merge()
    target.mkdir()
    write_classifier(target, model, load_tokenizer(copy), recipe.max_length)

    graph = target / "model.onnx"
    graphs.write_graph(target, graph)
    runner = graphs.GraphRunner(graph, AutoTokenizer.from_pretrained(target), threads=1)
    expected = TorchRunner(target).logits(PAIRS)
    assert expected.std(0).max() > 1e-3
    np.testing.assert_allclose(runner.logits(PAIRS), expected, atol=1e-5)
    alone = np.vstack([runner.logits([pair]) for pair in PAIRS])
    np.testing.assert_allclose(alone, expected, atol=1e-5)
