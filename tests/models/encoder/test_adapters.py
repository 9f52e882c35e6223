"""LoRA against PEFT itself: the same logits, an untouched base, and adapters that merge."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModel, BitsAndBytesConfig

from competition.config.encoder_recipe import EncoderRecipe
from competition.config.keys import Lora
from competition.core.errors import InputError
from competition.models.encoder import adapters
from competition.models.encoder.adapters import add_adapters, is_adapter, save_adapters
from competition.models.encoder.encoder import fetch
from competition.models.encoder.model import RelevanceModel
from competition.models.encoder.paths import Sources
from tests.esci import KINDS
from tests.models.encoder.test_trained_heads import inputs_of
from tests.rerankers import DECODERS, make_model, pair_tokenizer

Catalogue = tuple[pd.DataFrame, pd.DataFrame]


def lora_recipe(**keys: Any) -> EncoderRecipe:
    """Adapters of rank 4 on all layers."""
    content = {"name": "x", "max_length": 40, "lora": {"rank": 4, "alpha": 8}}
    return EncoderRecipe(**(content | keys))


def randomise(model: RelevanceModel) -> None:
    """Give the adapters weights as after training: B starts at zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if is_adapter(name):
                weight.normal_(0, 0.2, generator=generator)


@pytest.fixture(scope="module", params=["bert", "xlm-roberta", "modernbert"])
def encoder(
    request: pytest.FixtureRequest, catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The workspace's copy of an encoder."""
    folder = tmp_path_factory.mktemp(request.param)
    make_model(AutoModel, request.param).save_pretrained(folder / "source")
    pair_tokenizer(catalogue[1], request.param).save_pretrained(folder / "source")
    fetch(folder / "copy", str(folder / "source"), "test")
    return folder / "copy"


def test_states_are_those_of_peft(encoder: Path, catalogue: Catalogue, tmp_path: Path) -> None:
    """By the adapters' files, on the encoder as it lies in its folder; without padding, too."""
    recipe = lora_recipe()
    model = RelevanceModel.make(recipe, KINDS["classes"], Sources(encoder), seed=0).eval()
    randomise(model)
    save_adapters(tmp_path, model.encoder, "base")
    reference = PeftModel.from_pretrained(AutoModel.from_pretrained(encoder), tmp_path).eval()
    inputs, _ = inputs_of(recipe, encoder, catalogue, list(range(12)))
    typed = getattr(model.encoder.config, "type_vocab_size", 1) > 1
    own = {"token_type_ids": inputs.types} if typed else {}
    with torch.no_grad():
        states = reference(input_ids=inputs.ids, attention_mask=inputs.mask, **own)
        found = model._read(inputs, None)
    torch.testing.assert_close(found, states.last_hidden_state[:, 0], rtol=0, atol=1e-5)


def test_merged_weights_say_what_adapters_say(encoder: Path, catalogue: Catalogue) -> None:
    recipe = lora_recipe()
    model = RelevanceModel.make(recipe, KINDS["classes"], Sources(encoder), seed=0).eval()
    randomise(model)
    inputs, _ = inputs_of(recipe, encoder, catalogue, list(range(12)))
    with torch.no_grad():
        expected = model(inputs)
        model.merge()
        merged = model(inputs)
    torch.testing.assert_close(merged, expected, rtol=0, atol=1e-5)
    assert not any(is_adapter(name) for name in model.state_dict())
    plain = AutoModel.from_pretrained(encoder).state_dict()
    assert set(model.encoder.state_dict()) <= set(plain)


def test_untrained_adapters_change_nothing(encoder: Path, catalogue: Catalogue) -> None:
    """And a recipe with them draws the same head."""
    with_lora = RelevanceModel.make(lora_recipe(), KINDS["classes"], Sources(encoder), seed=0)
    plain = EncoderRecipe(name="x", max_length=40)
    without = RelevanceModel.make(plain, KINDS["classes"], Sources(encoder), seed=0)
    inputs, _ = inputs_of(plain, encoder, catalogue, list(range(6)))
    with torch.no_grad():
        adapted = with_lora.eval()._read(inputs, None)
        torch.testing.assert_close(adapted, without.eval()._read(inputs, None), rtol=0, atol=1e-6)


def test_only_adapters_and_head_are_trained(encoder: Path) -> None:
    model = RelevanceModel.make(lora_recipe(), KINDS["classes"], Sources(encoder), seed=0)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    of_encoder = {name for name in trained if name.startswith("encoder.")}
    assert of_encoder
    assert all(map(is_adapter, of_encoder))
    assert trained - of_encoder == {
        "head.dense.weight",
        "head.dense.bias",
        "output.output.weight",
        "output.output.bias",
    }
    assert model.frozen == set(model.state_dict()) - trained


def test_targets_are_layers_of_the_encoder(tiny: Path) -> None:
    targets = ("query", "value")
    recipe = lora_recipe(lora={"targets": targets})
    model = RelevanceModel.make(recipe, KINDS["classes"], Sources(tiny), seed=0)
    adapted = {
        name.split(".lora_")[0].rpartition(".")[2]
        for name in model.state_dict()
        if is_adapter(name)
    }
    assert adapted == set(targets)
    wrong = lora_recipe(lora={"targets": ["q_proj"]})
    with pytest.raises(InputError, match=r"lora targets q_proj.*its layers are dense, key, query"):
        RelevanceModel.make(wrong, KINDS["classes"], Sources(tiny), seed=0)


def test_four_bits_need_bitsandbytes(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    recipe = lora_recipe(lora={"quantize": "4bit"})
    with pytest.raises(InputError, match=r"needs the package bitsandbytes.*relevance\[qlora\]"):
        RelevanceModel.make(recipe, KINDS["classes"], Sources(tiny), seed=0)


def test_a_base_of_4_bits_is_that_of_the_library(
    encoder: Path, catalogue: Catalogue, tmp_path: Path
) -> None:
    """By the adapters' files again; merged, the weights are what the 4 bits stand for and the adapters' product."""
    pytest.importorskip("bitsandbytes")
    recipe = lora_recipe(lora={"rank": 4, "alpha": 8, "quantize": "4bit"})
    model = RelevanceModel.make(recipe, KINDS["classes"], Sources(encoder), seed=0).eval()
    randomise(model)
    save_adapters(tmp_path, model.encoder, "base")
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    device = 0 if torch.cuda.is_available() else "cpu"
    base = AutoModel.from_pretrained(
        encoder, quantization_config=four_bits, dtype=torch.bfloat16, device_map={"": device}
    )
    base.pooler = None
    reference = PeftModel.from_pretrained(base, tmp_path)
    inputs, _ = inputs_of(recipe, encoder, catalogue, list(range(12)))
    typed = getattr(model.encoder.config, "type_vocab_size", 1) > 1
    own = {"token_type_ids": inputs.types} if typed else {}
    # In training, a CPU's weights are read as they are; neither model draws dropout.
    for module in reference.modules():
        module.training = isinstance(module, torch.nn.Linear)
    with torch.no_grad():
        states = reference(input_ids=inputs.ids, attention_mask=inputs.mask, **own)
        found = model._read(inputs, None)
        model.merge()
        merged = model._read(inputs, None)
    torch.testing.assert_close(
        found.float(), states.last_hidden_state[:, 0].float(), rtol=0, atol=1e-5
    )
    assert merged.dtype == torch.float32
    # The layers compute in bf16, the merged ones in fp32.
    torch.testing.assert_close(merged, found.float(), rtol=0, atol=0.05)
    assert not any(is_adapter(name) for name in model.state_dict())
    model.encoder.save_pretrained(tmp_path / "merged")
    plain = AutoModel.from_pretrained(tmp_path / "merged").state_dict()
    for name, weight in model.encoder.state_dict().items():
        assert weight.equal(plain[name]), name


def test_a_base_in_bf16_has_adapters_and_a_head_in_fp32(tiny: Path, catalogue: Catalogue) -> None:
    recipe = lora_recipe(lora={"quantize": "bf16"})
    model = RelevanceModel.make(recipe, KINDS["classes"], Sources(tiny), seed=0).eval()
    types = {weight.dtype for weight in model.parameters() if weight.requires_grad}
    assert types == {torch.float32}
    assert model.token_table.dtype == torch.bfloat16
    assert model(inputs_of(recipe, tiny, catalogue, [0, 1])[0]).dtype == torch.float32


@pytest.mark.parametrize("family", ["llama", "modernbert"])
def test_a_base_in_bf16_keeps_its_positions_as_the_library_does(
    family: str, tmp_path: Path
) -> None:
    keys = DECODERS.get(family, {})
    make_model(AutoModel, family, **keys).save_pretrained(tmp_path)
    expected = AutoModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    model = AutoModel.from_pretrained(tmp_path)
    add_adapters(model, Lora(quantize="bf16"), "x")
    own, others = dict(model.named_buffers()), dict(expected.named_buffers())
    assert any("inv_freq" in name for name in others)
    for name, buffer in others.items():
        assert own[name].dtype == buffer.dtype, name
        assert own[name].equal(buffer), name


def test_adapters_are_small() -> None:
    """Of rank 16 on all layers of the sizes of e5-small and of XLM-R large: at most 3 % of the base."""
    large = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
    sizes = {
        "bert": {"hidden_size": 384, "intermediate_size": 1536, "vocab_size": 250_037},
        "xlm-roberta": large | {"intermediate_size": 4096, "vocab_size": 250_002},
    }
    for family, keys in sizes.items():
        with torch.device("meta"):
            model = AutoModel.from_config(AutoConfig.for_model(family, **keys))
            base = sum(weight.numel() for weight in model.parameters())
            add_adapters(model, Lora(), "x")
        adapters = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        assert 0 < adapters <= 0.03 * base, (family, adapters / base)
