"""When memory runs out: the token budget is halved, which splits a batch further and leaves the mathematics alone."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator

from competition.core.console import warn
from competition.core.errors import CompError
from competition.training.batches import Rows, micro_batches


@dataclass
class Budget:
    """How many tokens, with padding, a piece of rows may hold when nothing is learned from them."""

    tokens: int

    def spend(self, act: Callable[[Rows], None], rows: Rows, lengths: Rows, texts: int = 1) -> None:
        """Call `act` with pieces of `rows`; where memory runs out, with smaller ones from there on.

        No process waits for another one in `act`, so each may split its own pieces.

        Args:
            act: does nothing, or all that it does, with the rows of a piece.
            rows: `(n,)`, whose order is no matter.
            lengths: in tokens, of each row that there is.
            texts: how many texts a row has, each of that length at most.

        Raises:
            CompError: memory runs out with a single row.
        """
        pieces, done = micro_batches(rows, lengths, self.tokens // texts), 0
        while done < len(pieces):
            try:
                act(pieces[done])
                done += 1
                continue
            except torch.OutOfMemoryError:
                pass  # what failed is freed only when this block is left
            left = np.concatenate(pieces[done:])
            self.tokens = _half(self.tokens, texts * int(lengths[left].max()))
            pieces, done = micro_batches(left, lengths, self.tokens // texts), 0


def halved(accelerator: Accelerator, budget: int, longest: int) -> int:
    """Half of a token budget that was too large for the training of a batch; says so.

    Args:
        accelerator: whose device has no memory left.
        budget: how many tokens a piece of a batch could hold.
        longest: how many tokens a text may have; with that budget, every text is a piece of its
            own.

    Raises:
        CompError: a smaller budget would split nothing any more, or other processes wait for this
            one's part.
    """
    if accelerator.num_processes > 1:
        raise CompError(
            f"Process {accelerator.process_index} ran out of memory, and with several processes the batch cannot be "
            f"split anew: set token_budget = {max(1, budget // 2)} in [overrides] (or [pretraining]) and start again."
        )
    return _half(budget, longest)


def _half(budget: int, longest: int) -> int:
    if budget <= longest:
        raise CompError(
            f"Memory runs out with a single text of up to {longest} tokens (token_budget = {budget}): lower max_length "
            "or take a smaller encoder; a contrastive batch is never split, its size is batch_size."
        )
    torch.cuda.empty_cache()
    warn(
        f"Memory ran out: pieces of a batch hold {budget // 2:,} tokens from here on instead of {budget:,}."
    )
    return budget // 2
