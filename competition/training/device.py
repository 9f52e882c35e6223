"""The device that trains: the precision of its matrix products, and the memory that it has held."""

import resource
import sys
from typing import Any

import torch
from accelerate import Accelerator


def computes_in_bf16(precision: str) -> bool:
    """Return whether `precision` of a recipe means bf16 here.

    `auto` is bf16 on GPUs that have it, and fp32 elsewhere: CPUs compute in fp32, those that have
    bf16 too, so that bytes are the same on all. `fast` is bf16 on these, too.
    """
    if precision in ("auto", "fast") and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if precision == "fast":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return precision == "bf16"


class PreciseAccelerator(Accelerator):  # type: ignore[misc] # accelerate has no types
    """An Accelerator whose `autocast` is that of its recipe. Weights, norms and losses stay in fp32.

    Accelerate itself keeps the precision of the first Accelerator for all that follow.
    """

    def __init__(self, precision: str, **keys: Any) -> None:
        super().__init__(mixed_precision="no", **keys)
        self._bf16 = computes_in_bf16(precision)

    def autocast(self, autocast_handler: Any = None) -> torch.autocast:
        """Return the context that forwards run in."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16)


def peak_memory() -> int:
    """Return the most bytes that this process has held, on the GPU where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()

    unit = 1 if sys.platform == "darwin" else 1024  # in which the system counts
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
