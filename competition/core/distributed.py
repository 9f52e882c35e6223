"""Several processes of one launch (torchrun, accelerate launch): who this one is, and how they agree.

The first one (rank 0) takes locks, makes what one process makes alone, and writes; the others wait,
read and compute their part. Alone, a process is the first, and nothing here imports anything heavy.
"""

import atexit
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from competition.core.errors import CompError, InputError
from competition.core.signals import pending, raise_pending

T = TypeVar("T")
# For the others; a process that has died is noticed at once, whatever they wait for.
PATIENCE = timedelta(hours=2)
_SHARDED = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM")


def world_size() -> int:
    """Return how many processes this launch has."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main_process() -> bool:
    """Return whether this is the process that writes."""
    return rank() == 0


@contextmanager
def process_group() -> Iterator[None]:
    """Connect the processes of this launch within.

    Raises:
        CompError: another process has ended, so that this one would wait for it.
        Interrupted: the same, where this process was asked to end, too.
        InputError: the launcher itself would split the model over processes.
    """
    if world_size() == 1:
        yield
        return

    if any(os.environ.get(name, "").lower() in ("1", "true") for name in _SHARDED):
        raise InputError(
            "The launcher asks to shard the model (FSDP, DeepSpeed or Megatron), which is the recipe's to ask for: put "
            "sharded = true into [overrides] of competition.toml, and launch with `--multi_gpu` or torchrun."
        )

    import torch
    from accelerate import PartialState

    # One group serves all that this process does, and is left at its end.
    if not torch.distributed.is_initialized():
        state = PartialState(cpu=not torch.accelerator.is_available(), timeout=PATIENCE)
        atexit.register(_leave)
        if state.num_processes != world_size():
            raise CompError(
                f"WORLD_SIZE is {world_size()}, but the processes are not connected: use torchrun."
            )

    try:
        yield
    except RuntimeError as error:
        # Gloo and NCCL raise some of theirs as plain RuntimeErrors.
        is_exchange = isinstance(error, torch.distributed.DistError)
        if not (is_exchange or "gloo" in str(error) or "NCCL" in str(error)):
            raise

        # A launcher sends the signal to all: the other has ended by it as well.
        if pending():
            raise_pending()

        raise CompError(
            f"Another process of this launch has ended or cannot be reached, so process {rank()} of "
            f"{world_size()} ends, too: the cause is in the other's message, and "
            "the same command goes on from the last checkpoint."
        ) from error


def _leave() -> None:
    """Leave the group, and wait for its threads to end.

    A thread of gloo may still hold tensors of the last exchanges. To let go of them it needs Python,
    and the process aborts where that is already being taken down (pytorch issue 190489).
    """
    from accelerate import PartialState

    # Models whose parts refer to each other hold the group, and only without it do the threads end.
    gc.collect()
    PartialState().destroy_process_group()


def broadcast_from_main(value: T) -> T:
    """Return the value of the first process on all of them."""
    if world_size() == 1:
        return value

    from accelerate.utils import broadcast_object_list

    # The list is filled in place.
    values = [value]
    broadcast_object_list(values)
    return values[0]


def any_process(flag: bool) -> bool:
    """Return whether the flag is set on any process."""
    if world_size() == 1:
        return flag

    import torch
    from accelerate import PartialState
    from accelerate.utils import reduce

    vote = torch.tensor(float(flag), device=PartialState().device)
    return bool(reduce(vote, "sum") > 0)


def barrier() -> None:
    """Wait until all processes are here."""
    if world_size() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()
