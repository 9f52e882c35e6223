"""The memory of training adapters, by arithmetic: nothing is loaded, so it is known before a card is rented.

Weights are counted from the configuration. What a layer keeps of a token for its gradient is counted
as its matrix products and norms read it; attention keeps no scores, as in the library's fused
kernels. What the allocator loses to gaps, and CUDA itself, come on top: about a tenth.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from competition.config.encoder_recipe import EncoderRecipe

_TRAINED = 4 + 4 + 8  # bytes of a trained weight: itself, its gradient, AdamW's moments
_AVERAGE = 4
# Bytes of a weight that is kept, in linear layers and elsewhere; NF4 with quantised constants has
# 4.127 bits (Dettmers et al. 2023).
_KEPT = {"none": (4.0, 4.0), "bf16": (2.0, 2.0), "4bit": (4.127 / 8, 2.0)}


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of one device while it trains."""

    base: int  # the encoder's own weights
    trained: int  # adapters and head, their gradients, averages and moments
    activations: int  # of a micro-batch
    base_weights: int  # how many
    trained_weights: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.base + self.trained + self.activations


def memory_of_adapters(recipe: EncoderRecipe, encoder: Path) -> MemoryEstimate:
    """Return the memory that a recipe with adapters takes, by the configuration in an encoder's folder."""
    from transformers import AutoConfig

    return estimate_memory(recipe, AutoConfig.from_pretrained(encoder, local_files_only=True))


def estimate_memory(recipe: EncoderRecipe, config: Any) -> MemoryEstimate:
    """Return the memory that a recipe with adapters takes on an encoder of this configuration."""
    import torch
    from torch import nn
    from transformers import AutoModel

    from competition.models.encoder.adapters import add_adapters

    assert recipe.lora is not None  # others train all weights
    with torch.device("meta"):
        encoder = AutoModel.from_config(config)
        base = sum(weight.numel() for weight in encoder.parameters())
        linear = sum(m.weight.numel() for m in encoder.modules() if isinstance(m, nn.Linear))
        add_adapters(encoder, recipe.lora, recipe.name)

    adapters = sum(weight.numel() for weight in encoder.parameters() if weight.requires_grad)
    trained = adapters + config.hidden_size * (config.hidden_size + 1)  # with the dense layer
    of_linear, of_others = _KEPT[recipe.lora.quantize]
    return MemoryEstimate(
        base=round(linear * of_linear + (base - linear) * of_others),
        trained=trained_memory(recipe, trained),
        activations=activation_memory(recipe, config),
        base_weights=base,
        trained_weights=trained,
    )


def trained_memory(recipe: EncoderRecipe, weights: int) -> int:
    """Return the bytes of weights that are trained, with gradients, moments and averages."""
    return weights * (_TRAINED + (_AVERAGE if recipe.ema else 0))


def activation_memory(recipe: EncoderRecipe, config: Any) -> int:
    """Return the bytes that a micro-batch keeps for its gradient; `config` is an encoder's configuration."""
    hidden = config.hidden_size
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or hidden // heads
    queries = heads * size
    keys = (getattr(config, "num_key_value_heads", None) or heads) * size

    # Of a token in one layer: the inputs of two norms and of the projections behind them, queries,
    # keys and values before and behind their rotation, what is attended; gate, up, and their product.
    of_layer = 4 * hidden + 3 * queries + 4 * keys + 4 * config.intermediate_size
    layers = config.num_hidden_layers
    # Layers that are computed again keep what they read, and one at a time all of it.
    kept = layers * hidden + of_layer if recipe.checkpointing else layers * of_layer

    passes = 2 if recipe.r_drop or recipe.adversary != "none" else 1
    quantised = recipe.lora is not None and recipe.lora.quantize != "none"
    bytes_each = 2 if quantised or recipe.precision == "bf16" else 4
    return int(recipe.token_budget * kept * passes * bytes_each)
