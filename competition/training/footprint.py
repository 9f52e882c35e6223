"""How much memory training holds."""

import resource
import sys

import torch


def peak_memory() -> int:
    """Bytes: the most that this process has held, on the GPU where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024  # what the system counts in
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
