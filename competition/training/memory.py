"""When memory runs out: the token budget is halved, which splits a batch further and leaves the mathematics alone."""

import torch
from accelerate import Accelerator

from competition.errors import CompError
from competition.progress import warn


def halved(accelerator: Accelerator, budget: int, longest: int) -> int:
    """Half of a token budget that was too large for the memory at hand; says so.

    Args:
        accelerator: whose device has no memory left.
        budget: how many tokens a piece of a batch could hold.
        longest: how many tokens a text may have; with that budget, every text is a piece of its own.

    Raises:
        CompError: a smaller budget would split nothing any more, or other processes wait for this one's part.
    """
    if accelerator.num_processes > 1:
        raise CompError(
            f"Process {accelerator.process_index} ran out of memory, and with several processes the batch cannot be "
            f"split anew: set token_budget = {max(1, budget // 2)} in [overrides] (or [pretraining]) and start again."
        )
    if budget <= longest:
        raise CompError(
            f"Memory runs out with a single text of up to {longest} tokens (token_budget = {budget}): lower max_length "
            "or take a smaller encoder; a contrastive batch is never split, its size is batch_size."
        )
    torch.cuda.empty_cache()
    warn(f"Memory ran out: pieces of a batch hold {budget // 2:,} tokens from here on instead of {budget:,}.")
    return budget // 2
