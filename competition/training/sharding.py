"""Sharded training (FSDP): each process holds its part of every weight, of its average and of AdamW's moments.

A layer's weights are gathered when a pass comes to it and forgotten behind it; its gradient is
added up over the processes and split again. So every pass is an exchange, in which all processes
take part equally often. The mathematics is that of a model that is whole on each of them, and so is
a checkpoint: whether it was written by sharded processes, and by how many, nobody can tell.
"""

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from competition.core import distributed
from competition.models.encoder.unpadded import UNPADDED_METHOD, as_method


def shard_model(model: Any, accelerator: Accelerator) -> None:
    """Leave this process's part of every parameter of a RelevanceModel, on its device; it cannot be copied any more.

    Models of the same shapes are split alike. In a pass, the token table and each layer are
    gathered by themselves, the rest together.
    """
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    inside_out = reversed(list(model.encoder.modules()))
    layers = [module for module in inside_out if isinstance(module, GradientCheckpointingLayer)]
    for part in (*layers, model.encoder.get_input_embeddings(), model):
        fully_shard(part, mesh=mesh)
    if model.trains_unpadded:
        model.layer = as_method(layers, model.layer)
        for layer in layers:
            register_fsdp_forward_method(layer, UNPADDED_METHOD)


@torch.no_grad()
def gather_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, whole and on the CPU, on the first process; nothing on others, which must call it, too."""
    found = {}
    for name, tensor in tensors.items():
        whole = _whole(tensor)
        if distributed.is_main_process():
            found[name] = whole.cpu()
    return found


@torch.no_grad()
def put_whole(model: nn.Module, source: nn.Module) -> None:
    """Put the weights of `source`, which may be split, into `model`, which is not. All processes must call it."""
    weights = source.state_dict()
    for name, tensor in model.state_dict().items():
        tensor.copy_(_whole(weights[name]))


def put_parts(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put whole tensors into a model that may be split."""
    own = model.state_dict()
    model.load_state_dict({name: _part(tensor, own[name]) for name, tensor in tensors.items()})


def parts_of(moments: Mapping[str, Tensor], parameter: Tensor) -> dict[str, Tensor]:
    """What an optimiser holds of a parameter that may be split, from what is whole."""
    return {
        name: _part(tensor, parameter) if tensor.ndim else tensor
        for name, tensor in moments.items()
    }


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _part(whole: Tensor, own: Tensor) -> Tensor:
    """This process's part of a tensor where `own` is split."""
    if not isinstance(own, DTensor):
        return whole
    return distribute_tensor(
        whole.to(own.device), own.device_mesh, own.placements, src_data_rank=None
    )
