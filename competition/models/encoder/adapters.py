"""Adapters by LoRA (Hu et al. 2021), by the library PEFT: the encoder's own weights stay as they are.

They lie inside of the encoder's layers, so whatever runs these runs them, too. On disk they are what
PEFT writes: `adapter_config.json` and `adapter_model.safetensors`, which it reads beside the base.
PEFT is imported where there are adapters: most models have none, and it takes a while.
"""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import competition.models.encoder.quiet  # noqa: F401
from competition.config.encoder_recipe import EncoderRecipe
from competition.config.keys import Lora
from competition.core.errors import InputError, join_names

_NAME = "default"  # of the only adapter
_OWN_NAME = re.compile(
    rf"(\.lora_\w+)\.{_NAME}"
)  # of a weight; PEFT's files leave the adapter's out
_PREFIX = "base_model.model."  # before the names of weights in PEFT's files
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def is_adapter(name: str) -> bool:
    """Return whether a weight of a model, by its name, is an adapter's."""
    return ".lora_" in name


def check_quantize(recipe: EncoderRecipe) -> None:
    """Raise InputError where a recipe asks for 4 bits and the package is missing that holds weights in them."""
    if recipe.lora is None or recipe.lora.quantize != "4bit":
        return
    if find_spec("bitsandbytes") is None:
        raise InputError(
            f'The recipe {recipe.name!r} has quantize = "4bit" in lora, which needs the package bitsandbytes, '
            'which is not installed: `pip install comp-relevance[qlora]`, or set quantize = "bf16".'
        )


def add_adapters(encoder: Any, lora: Lora, recipe: str) -> None:
    """Put adapters of random weights into an encoder and freeze all else of it; they change nothing yet.

    Raises:
        InputError: a target is not a layer of the encoder.
    """
    from peft import LoraConfig, inject_adapter_in_model

    layers = {
        name.rpartition(".")[2]
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear)
    }
    unknown = [target for target in lora.targets if target not in layers]
    if unknown:
        raise InputError(
            f"The recipe {recipe!r} has lora targets {join_names(unknown)}, which the encoder does not "
            f"have: its layers are {join_names(sorted(layers))}."
        )

    if lora.quantize == "bf16":
        # Not the buffers: the frequencies of rotary positions lose too much, and the library keeps them, too.
        for weight in encoder.parameters():
            weight.data = weight.data.bfloat16()
    encoder.requires_grad_(False)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets or sorted(layers)),
    )
    inject_adapter_in_model(config, encoder, _NAME)
    for name, weight in encoder.named_parameters():
        weight.requires_grad_(is_adapter(name))
        if is_adapter(name):
            # Trained in fp32, whatever the base is kept in.
            weight.data = weight.data.float()


@torch.no_grad()
def merge_adapters(encoder: Any) -> None:
    """Add adapters to the weights that they belong to, W + B A alpha / rank, and take them out.

    The encoder is then an ordinary model of its family in fp32, also where it was kept in less: no
    tool needs to know of adapters. Its results are those with adapters but for rounding.
    """
    from peft.tuners.lora import LoraLayer

    for name, module in list(encoder.named_modules()):
        if isinstance(module, LoraLayer):
            adapted: Any = module  # the library declares less than it has
            layer = _in_fp32(adapted.get_base_layer())
            layer.weight += adapted.get_delta_weight(_NAME)
            parent, _, child = name.rpartition(".")
            setattr(encoder.get_submodule(parent), child, layer)
    if hasattr(encoder, "peft_config"):
        del encoder.peft_config
    if getattr(encoder, "is_loaded_in_4bit", False):
        # No layer is of 4 bits any more; the library refuses to cast or save what says otherwise.
        encoder.is_loaded_in_4bit = encoder.is_quantized = False
        del encoder.config.quantization_config
    encoder.float()
    encoder.requires_grad_(True)


def _in_fp32(layer: nn.Linear) -> nn.Linear:
    """Return a layer with its weights in fp32, of 4 bits what they stand for."""
    state = getattr(layer.weight, "quant_state", None)
    if state is None:
        return layer.float()

    from bitsandbytes.functional import dequantize_4bit

    plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
    plain.weight.copy_(dequantize_4bit(layer.weight.data, state))
    if layer.bias is not None:
        plain.bias.copy_(layer.bias)
    return plain.to(layer.weight.device)


def save_adapters(folder: Path, encoder: Any, base: str) -> None:
    """Write the adapters of an encoder as PEFT does; `base` names the encoder."""
    from peft.tuners.lora import LoraLayer

    weights = {
        _PREFIX + _OWN_NAME.sub(r"\1", name): tensor.detach().cpu().contiguous()
        for name, tensor in sorted(encoder.state_dict().items())
        if is_adapter(name)
    }
    save_file(weights, folder / _WEIGHTS)

    # Whole names, so that a pooler that the base has elsewhere is none of them.
    adapted = [name for name, module in encoder.named_modules() if isinstance(module, LoraLayer)]
    card = encoder.peft_config[_NAME].to_dict()
    card |= {
        "base_model_name_or_path": base,
        "inference_mode": True,
        "target_modules": sorted(adapted),
    }
    text = json.dumps(card, indent=2, sort_keys=True) + "\n"
    (folder / _CONFIG).write_text(text, encoding="utf-8")


def load_adapters(folder: Path, prefix: str) -> dict[str, Tensor]:
    """Return the weights that `save_adapters` wrote, by their names in a model that has `prefix` before them."""
    weights = load_file(folder / _WEIGHTS)
    return {
        prefix
        + re.sub(
            r"(\.lora_[AB]|\.lora_embedding_[AB])", rf"\1.{_NAME}", name.removeprefix(_PREFIX)
        ): tensor
        for name, tensor in weights.items()
    }
