"""When memory runs out: the token budget is halved, which splits a batch further and leaves the mathematics alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch

from competition.core import distributed
from competition.core.console import warn
from competition.core.errors import CompError
from competition.training.batches import Rows, micro_batches


class Attempt:
    """A context that survives an out-of-memory error, and remembers it."""

    ran_out = False

    def __enter__(self) -> "Attempt":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self.ran_out = isinstance(error, torch.OutOfMemoryError)
        return self.ran_out


@dataclass
class Budget:
    """How many tokens, with padding, a micro-batch may hold; it shrinks where memory runs out."""

    tokens: int

    def attempts(self, longest: int, undo: Callable[[], None] | None = None) -> Iterator[Attempt]:
        """Yield contexts to do one thing in, until it fits into memory; half the budget for each further one.

            for attempt in budget.attempts(longest):
                with attempt:
                    ...

        Args:
            longest: how many tokens a row may have; with that budget, every row is a micro-batch.
            undo: removes what a failed attempt has left.

        Raises:
            CompError: a smaller budget would split nothing any more.
        """
        while True:
            attempt = Attempt()
            yield attempt
            if not attempt.ran_out:
                return

            # Only here, behind the `with` block, are the tensors of the failed attempt free.
            if undo is not None:
                undo()
            self._halve(longest)

    def for_each_micro_batch(
        self, act: Callable[[Rows], None], rows: Rows, lengths: Rows, texts: int = 1
    ) -> None:
        """Call `act` with micro-batches of `rows`; where memory runs out, with smaller ones from there on.

        No process waits for another one in `act`, so each may split its own rows.

        Args:
            act: does nothing, or all that it does, with the rows of a micro-batch.
            rows: `(n,)`, in any order.
            lengths: in tokens, of each row that there is.
            texts: how many texts a row has, each of that length at most.

        Raises:
            CompError: memory runs out with a single row.
        """
        if not len(rows):
            return

        remaining = [rows]
        for attempt in self.attempts(texts * int(lengths[rows].max())):
            left = np.concatenate(remaining)
            remaining = micro_batches(left, lengths, self.tokens // texts)
            with attempt:
                while remaining:
                    act(remaining[0])
                    remaining.pop(0)

    def _halve(self, longest: int) -> None:
        if self.tokens <= longest:
            raise CompError(
                f"Memory runs out with a single text of up to {longest} tokens (token_budget = {self.tokens}): lower "
                "max_length or take a smaller encoder; a contrastive batch is never split, its size is batch_size."
            )

        torch.cuda.empty_cache()
        before = self.tokens
        self.tokens = before // 2
        warn(
            f"Memory ran out: micro-batches hold {self.tokens:,} tokens from here on instead of {before:,}."
        )


class TrainingBudget(Budget):
    """The budget of micro-batches whose gradients all processes add up: none can split its part alone."""

    def _halve(self, longest: int) -> None:
        if distributed.world_size() > 1:
            raise CompError(
                f"Process {distributed.rank()} ran out of memory, and with several processes the batch cannot be split "
                f"again: set token_budget = {max(1, self.tokens // 2)} in [overrides] (or [pretraining]) and restart."
            )
        super()._halve(longest)
