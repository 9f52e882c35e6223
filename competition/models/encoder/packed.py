"""Layers whose weights lie as oneDNN's products read them: prediction on a CPU.

Weights that change must be packed again, so this is for as long as a model predicts. The same
numbers as `unpadded.layer_pass` but for rounding.
"""

import platform
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from competition.models.encoder.unpadded import Packing, attend

_TOKENS = 2_048  # for which the layout is chosen; others are multiplied as well, and as exactly


class PackedLinear:
    """Some projections of the same tokens, side by side as one product, packed when it is first needed."""

    def __init__(self, dtype: torch.dtype, *projections: nn.Linear) -> None:
        """`dtype` is that of the product."""
        self._dtype = dtype
        self._projections = projections

    @cached_property
    def _packed(self) -> tuple[Tensor, Tensor]:
        """The weights in oneDNN's layout, and the biases."""
        weight = torch.cat([each.weight for each in self._projections]).to(self._dtype)
        bias = torch.cat([each.bias for each in self._projections]).to(self._dtype)
        return torch.ops.mkldnn._reorder_linear_weight(weight, _TOKENS), bias

    def __call__(self, tokens: Tensor) -> Tensor:
        """Project `(T, H)` to `(T, outputs)` in the precision of the weights."""
        projected: Tensor = torch.ops.mkldnn._linear_pointwise(
            tokens.to(self._dtype), *self._packed, "none", [], ""
        )
        return projected


class PackedLayer:
    """A layer of one of the families that `unpadded` knows. Norms, residuals and scores stay in fp32."""

    def __init__(self, layer: Any, dtype: torch.dtype) -> None:
        """`dtype` is that of the products."""
        attention = layer.attention.self
        self._attention = attention
        self._query = PackedLinear(dtype, attention.query)
        self._key_value = PackedLinear(dtype, attention.key, attention.value)
        self._all = PackedLinear(dtype, attention.query, attention.key, attention.value)
        self._attended = PackedLinear(dtype, layer.attention.output.dense)
        self._attended_norm = layer.attention.output.LayerNorm
        self._wide = PackedLinear(dtype, layer.intermediate.dense)
        self._activation = layer.intermediate.intermediate_act_fn
        self._output = PackedLinear(dtype, layer.output.dense)
        self._output_norm = layer.output.LayerNorm

    def __call__(self, hidden: Tensor, packing: Packing, last: bool) -> Tensor:
        """See `unpadded.layer_pass`."""
        with torch.autocast("cpu", enabled=False):
            # CPUs attend faster in fp32 than in bf16, which the library converts block by block.
            if last:
                asking = hidden[packing.first]
                query = self._query(asking).float()
                key, value = self._key_value(hidden).float().chunk(2, 1)
            else:
                asking = hidden
                query, key, value = self._all(hidden).float().chunk(3, 1)
            attended = attend(self._attention, query, key, value, packing, last)

            attended = self._attended_norm(self._attended(attended) + asking)
            wide = self._activation(self._wide(attended))
            output: Tensor = self._output_norm(self._output(wide) + attended)
            return output


class PackedPass:
    """A `LayerPass` through the layers of an encoder as their weights are now."""

    def __init__(self, encoder: Any) -> None:
        """Pack for the precision that autocast asks for; `can_pack` must hold."""
        dtype = _product_dtype()
        self._layers = {layer: PackedLayer(layer, dtype) for layer in encoder.encoder.layer}

    def __call__(self, layer: nn.Module, hidden: Tensor, packing: Packing, last: bool) -> Tensor:
        """See `unpadded.layer_pass`."""
        return self._layers[layer](hidden, packing, last)


def can_pack(encoder: Any) -> bool:
    """Return whether oneDNN can take the products of an encoder for which `runs_unpadded` holds."""
    has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if platform.machine() not in ("x86_64", "AMD64") or not has_onednn:
        return False
    if _product_dtype() == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False

    # Projections with adapters are of another type.
    layers = encoder.encoder.layer
    are_linear = all(type(each) is nn.Linear for layer in layers for each in _projections(layer))
    return are_linear and all(w.is_cpu and w.dtype == torch.float32 for w in encoder.parameters())


def _projections(layer: Any) -> tuple[nn.Module, ...]:
    """Return what a layer multiplies tokens with."""
    attention = layer.attention.self
    inside = (attention.query, attention.key, attention.value, layer.attention.output.dense)
    return (*inside, layer.intermediate.dense, layer.output.dense)


def _product_dtype() -> torch.dtype:
    """Return the type in which a CPU multiplies now."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
