"""Sharded training (FSDP): each process holds its part of every weight, of its average and of AdamW's moments.

A layer's weights are gathered when a pass comes to it and forgotten behind it; its gradient is
added up over the processes and split again. So every pass is an exchange, in which all processes
take part equally often. The mathematics is that of a model that is whole on each of them, and so is
a checkpoint: whether it was written by sharded processes, and by how many, nobody can tell.
"""

import atexit
from collections.abc import Mapping
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim.swa_utils import AveragedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from competition.core import distributed
from competition.models.encoder.unpadded import UNPADDED_METHOD, as_method
from competition.training.model_files import load_trained, trained_weights

_COUNT = "n_averaged"  # how often an average was updated


def shard_model(model: Any, accelerator: Accelerator) -> None:
    """Leave this process's part of every parameter of a RelevanceModel on its device.

    The model cannot be copied any more. Models of the same shapes are split alike. In a pass, the
    token table and each layer are gathered by themselves, the rest together.
    """
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    # Torch caches how it has exchanged tensors, and with that the mesh and the group in it: before
    # the group is left, the mesh must let go of it, or its threads outlive Python.
    atexit.register(mesh._pg_registry.clear)

    # From the inside out, so that a module's parameters do not count as its parent's.
    inside_out = reversed(list(model.encoder.modules()))
    layers = [module for module in inside_out if isinstance(module, GradientCheckpointingLayer)]
    for part in (*layers, model.encoder.get_input_embeddings(), model):
        fully_shard(part, mesh=mesh)

    if model.trains_unpadded:
        model.layer = as_method(layers, model.layer)
        # FSDP gathers a layer when its `forward` is called; this is another way into it.
        for layer in layers:
            register_fsdp_forward_method(layer, UNPADDED_METHOD)


# --- weights ---


def gather_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the whole weights on the CPU of the first process; nothing on the others, which must call it, too."""
    if _frozen(model):  # never sharded
        weights = trained_weights(_inside(model)) if distributed.is_main_process() else {}
        counted = {_COUNT: model.n_averaged} if isinstance(model, AveragedModel) else {}
        return weights | counted if weights else {}

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return cast(dict[str, Tensor], get_model_state_dict(model, options=options))


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put whole weights, which every process has, into a model that may be sharded."""
    if _frozen(model):
        weights = dict(weights)
        if isinstance(model, AveragedModel):
            model.n_averaged.copy_(weights.pop(_COUNT))
        load_trained(_inside(model), weights)
        return

    options = StateDictOptions(full_state_dict=True)
    set_model_state_dict(model, dict(weights), options=options)


def _inside(model: nn.Module) -> nn.Module:
    return model.module if isinstance(model, AveragedModel) else model


def _frozen(model: nn.Module) -> frozenset[str]:
    """Return the weights that no checkpoint holds, since training leaves them as they are."""
    return cast(frozenset[str], getattr(_inside(model), "frozen", frozenset()))


@torch.no_grad()
def copy_whole(model: nn.Module, source: nn.Module) -> None:
    """Copy the weights of `source`, which may be sharded, into `model`, which is not. All processes must call it.

    One tensor is gathered at a time, since the device may have no room for another whole model.
    """
    weights = source.state_dict()
    for name, tensor in model.state_dict().items():
        tensor.copy_(_whole(weights[name]))


# --- AdamW's moments ---
#
# By the optimizer's own numbers of parameters: torch's `set_optimizer_state_dict` takes a step to
# have something to fill, and refuses parameters that have no moments yet.


@torch.no_grad()
def gather_moments(moments: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what the optimizer holds of a parameter, whole, on the CPU of the first process; all must call it."""
    gathered = {}
    for name, tensor in moments.items():
        whole = _whole(tensor)
        if distributed.is_main_process():
            gathered[name] = whole.cpu()
    return gathered


def shard_moments(moments: Mapping[str, Tensor], parameter: Tensor) -> dict[str, Tensor]:
    """Return this process's part of what is held of a parameter, which is all where that is not sharded."""
    if not isinstance(parameter, DTensor):
        return dict(moments)

    mesh, placements = parameter.device_mesh, parameter.placements
    return {
        # The number of steps has no dimension to split.
        name: distribute_tensor(whole.to(parameter.device), mesh, placements, src_data_rank=None)
        if whole.ndim
        else whole
        for name, whole in moments.items()
    }


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
