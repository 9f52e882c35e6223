"""Memory by arithmetic: weights as they are counted by hand, and the two presets on their cards."""

from typing import Any

import pytest
from transformers import AutoConfig

from competition.analysis.memory import estimate_memory
from competition.config.encoder_recipe import EncoderRecipe
from competition.config.settings import BUILT_IN
from competition.core.toml_files import read_toml

GIB = 2**30
# As these models' config.json has it.
QWEN = {"vocab_size": 151_936, "head_dim": 128, "num_key_value_heads": 8}
SIZES: dict[str, dict[str, Any]] = {
    "decoder-24gb": QWEN
    | {
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
    },
    "decoder-80gb": QWEN
    | {
        "hidden_size": 5120,
        "intermediate_size": 17_408,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
    },
}


def config(**keys: Any) -> Any:
    return AutoConfig.for_model("qwen3", **keys)


def test_weights_and_adapters_are_counted() -> None:
    """Of one layer, by hand."""
    small = config(
        vocab_size=100, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=4,
    )  # fmt: skip
    recipe = EncoderRecipe(name="x", lora={"rank": 2}, token_budget=10)
    memory = estimate_memory(recipe, small)
    shapes = [
        (8, 8),
        (8, 4),
        (8, 4),
        (8, 8),
        (8, 16),
        (8, 16),
        (16, 8),
    ]  # q, k, v, o, gate, up, down
    norms = 3 * 8 + 2 * 4  # before attention, before the rest, the last; of queries and keys
    assert memory.base_weights == 100 * 8 + sum(a * b for a, b in shapes) + norms
    assert memory.base == 4 * memory.base_weights
    assert memory.trained_weights == sum(2 * (a + b) for a, b in shapes) + 8 * 9
    assert memory.trained == 16 * memory.trained_weights
    # 4 H + 3 heads + 4 key heads + 4 I of a token
    assert memory.activations == 10 * (4 * 8 + 3 * 8 + 4 * 4 + 4 * 16) * 4


def test_keys_that_save_memory_do() -> None:
    size = config(**(SIZES["decoder-24gb"] | {"num_hidden_layers": 8}))
    whole = estimate_memory(EncoderRecipe(name="x", lora={}), size)
    half = estimate_memory(EncoderRecipe(name="x", lora={"quantize": "bf16"}), size)
    quarter = estimate_memory(EncoderRecipe(name="x", lora={"quantize": "4bit"}), size)
    assert half.base == whole.base / 2
    assert quarter.base < 0.55 * half.base  # the embeddings stay in bf16
    again = estimate_memory(EncoderRecipe(name="x", lora={}, checkpointing=True), size)
    assert again.activations < 0.25 * whole.activations
    twice = estimate_memory(EncoderRecipe(name="x", lora={}, r_drop=0.5, ema=0.999), size)
    assert twice.activations == 2 * whole.activations
    assert twice.trained == whole.trained * 20 / 16


@pytest.mark.parametrize(("preset", "gib"), [("decoder-24gb", 24), ("decoder-80gb", 80)])
def test_presets_fit_their_cards(preset: str, gib: int) -> None:
    """With all methods of `yes-no` and a fifth to spare, and not on half of the card."""
    keys = read_toml(BUILT_IN / "presets" / f"{preset}.toml")
    del keys["pretraining"]
    recipe = EncoderRecipe(name="x", ema=0.999, adversary="fgm-table", r_drop=0.5, **keys)
    memory = estimate_memory(recipe, config(**SIZES[preset]))
    assert 0.4 * gib * GIB < memory.total < 0.8 * gib * GIB


@pytest.mark.parametrize("preset", SIZES)
def test_adapters_of_the_presets_are_small(preset: str) -> None:
    """At most 3 % of the base's weights, and so of its file where both are in fp32."""
    memory = estimate_memory(EncoderRecipe(name="x", lora={}), config(**SIZES[preset]))
    adapters = memory.trained_weights - SIZES[preset]["hidden_size"] * (
        SIZES[preset]["hidden_size"] + 1
    )
    assert 0 < adapters <= 0.03 * memory.base_weights
