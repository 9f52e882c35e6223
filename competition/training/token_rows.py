"""A word-embedding table of which a step costs no more than the rows of its tokens.

A batch has some thousand different tokens, a multilingual table a quarter of a million rows. AdamW
moves rows without a gradient, too: by their decay, by what their moments have left, and the average
follows. None of that depends on other rows, so it waits: a row's missed steps are made up for, by
the same kernels in the same order, when a batch next reads it, and those of all rows before anyone
else reads the table. On one thread the weights are bit by bit those of the dense update (on several,
and in rows that fill no vector, to rounding); the dense gradient is never there.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW

from competition.training.regularization import ema_decay

SMALLEST = 1 << 23  # weights: a dense update of fewer costs less than to keep account of rows
MOST_MISSED = 256  # steps that rows wait for, before all are made up for
_BLOCK = 256  # rows that are made up for at a time: they stay in the cache

Ids = NDArray[np.int64]


class _Step(NamedTuple):
    """What an optimiser step does to a row without a gradient."""

    number: int  # from 1
    rate: float
    towards: float  # share by which the average moves towards the weights; 0 without an average


@dataclass(frozen=True)
class _Leaf:
    """The rows that a micro-batch reads, as a parameter of their own."""

    ids: Tensor  # (distinct,) ascending
    rows: nn.Parameter  # (distinct, H)


class TokenRows:
    """Looks up tokens in a table in training, and steps its rows instead of the optimiser.

    The optimiser holds the table's moments as it holds those of other parameters, and never sees a
    gradient of the table. Everyone but the lookups of training must call `catch_up_all` before
    reading weights, moments or average.
    """

    def __init__(
        self, table: nn.Embedding, optimizer: AdamW, average: Tensor | None, ema: float
    ) -> None:
        """`average` is the table's averaged weights with the decay `ema`, where there are any."""
        self.weight = table.weight
        self._table = table
        self._optimizer = optimizer
        self._average = average
        self._ema = ema
        # All but the rate stays as it is.
        self._keys = dict(self._group())

        self._leaves: list[_Leaf] = []
        self._gradient: _Leaf | None = None
        self._missed: list[_Step] = []  # steps behind `_begin`
        # The step that all rows have come to.
        self._begin = 0
        # The step that each row has come to.
        self._done = np.zeros(len(table.weight), np.int64)
        self._has_moments = np.zeros(len(table.weight), bool)
        table.forward = self._look_up  # type: ignore[assignment, method-assign]

    @classmethod
    def of(
        cls, model: nn.Module, optimizer: AdamW, average: nn.Module | None, ema: float
    ) -> Self | None:
        """Return the rows of a model's token table, or None where its update is better dense.

        That is for small tables, on a GPU, without the fused optimiser, and where the table is
        frozen or someone else in the model reads it.
        """
        find = getattr(getattr(model, "encoder", None), "get_input_embeddings", None)
        table = find() if find is not None else None
        if type(table) is not nn.Embedding or table.weight.numel() < SMALLEST:
            return None

        weight = table.weight
        owners = sum(
            each is weight
            for module in model.modules()
            for each in module.parameters(recurse=False)
        )
        plain = table.max_norm is None and not table.scale_grad_by_freq and not table.sparse
        fused = bool(optimizer.defaults["fused"])
        if not (weight.requires_grad and weight.device.type == "cpu" and owners == 1):
            return None
        if not (plain and fused):
            return None

        averaged = None
        if average is not None:
            averaged = cast(Any, average).encoder.get_input_embeddings().weight
        return cls(table, optimizer, averaged, ema)

    # --- what a step needs ---

    def _look_up(self, ids: Tensor) -> Tensor:
        """Stand in for the table's `forward`."""
        padding = self._table.padding_idx
        if not self._table.training:
            return functional.embedding(ids, self._table.weight, padding)

        distinct, places = torch.unique(ids, return_inverse=True)
        place = None
        if padding is not None:
            at = int(torch.searchsorted(distinct, padding))
            place = at if at < len(distinct) and distinct[at] == padding else None
        return functional.embedding(places, self._leaf(distinct).rows, place)

    def _leaf(self, ids: Tensor) -> _Leaf:
        """Return the rows of these ids; all passes of a micro-batch read the same leaf."""
        if not self._leaves or not torch.equal(self._leaves[-1].ids, ids):
            self._catch_up(ids.numpy())
            self._leaves.append(_Leaf(ids, nn.Parameter(self.weight.detach()[ids])))
        return self._leaves[-1]

    def gradient(self) -> nn.Parameter:
        """Return a parameter with the rows that the step's micro-batches read, and their gradient.

        It stands for the table where gradients are clipped.
        """
        leaves = [leaf for leaf in self._leaves if leaf.rows.grad is not None]
        if len(leaves) != 1:
            ids = torch.unique(torch.cat([leaf.ids for leaf in leaves]))
            rows = nn.Parameter(self.weight.detach()[ids])
            rows.grad = torch.zeros_like(rows)
            # In the order of micro-batches, as gradients of a parameter add up.
            for leaf in leaves:
                assert leaf.rows.grad is not None
                rows.grad.index_add_(0, torch.searchsorted(ids, leaf.ids), leaf.rows.grad)
            leaves = [_Leaf(ids, rows)]
        self._gradient = leaves[0]
        return self._gradient.rows

    def forget(self) -> None:
        """Drop what was read and its gradients."""
        self._leaves.clear()
        self._gradient = None

    def step(self) -> None:
        """Take the optimiser step `gradient` was computed for, in those rows alone."""
        assert self._gradient is not None
        leaf = self._gradient
        number = self._begin + len(self._missed) + 1
        towards = 1 - ema_decay(number, self._ema) if self._average is not None else 0.0
        step = _Step(number, float(self._group()["lr"]), towards)

        rows = leaf.ids.numpy()
        values = self._gather(leaf.ids, with_moments=True)
        self._update(values, leaf.rows.grad, step)
        self._scatter(leaf.ids, values)

        self._missed.append(step)
        self._done[rows] = number
        self._has_moments[rows] = True
        self.forget()
        if len(self._missed) == MOST_MISSED:
            self.catch_up_all()

    # --- missed steps ---

    def catch_up_all(self) -> None:
        """Make up for the missed steps of all rows."""
        if not self._missed:
            return

        still = self._average is None and not self._keys["weight_decay"]
        for with_moments in (False, True):
            if still and not with_moments:
                continue  # nothing moves them
            rows = np.flatnonzero(self._has_moments == with_moments)
            for first in range(0, len(rows), _BLOCK):
                self._make_up(rows[first : first + _BLOCK], with_moments)

        self._begin += len(self._missed)
        self._missed.clear()
        self._done[:] = self._begin
        self._moments()["step"].fill_(self._begin)

    def restart(self, step: int) -> None:
        """Go on from weights, moments and average that others have brought to `step`."""
        self.forget()
        self._missed.clear()
        self._begin = step
        self._done[:] = step
        squares = self._moments()["exp_avg_sq"]
        self._has_moments = squares.any(1).numpy()

    def release(self) -> None:
        """Make up for all and give the table its own `forward` back."""
        self.catch_up_all()
        self.forget()
        del self._table.forward

    def _catch_up(self, ids: Ids) -> None:
        late = ids[self._done[ids] < self._begin + len(self._missed)]
        for with_moments in (False, True):
            rows = late[self._has_moments[late] == with_moments]
            for first in range(0, len(rows), _BLOCK):
                self._make_up(rows[first : first + _BLOCK], with_moments)

    def _make_up(self, rows: Ids, with_moments: bool) -> None:
        """Take the missed steps of some rows, those that miss most first."""
        rows = rows[np.argsort(self._done[rows], kind="stable")]
        done = self._done[rows]
        ids = torch.from_numpy(rows)
        values = self._gather(ids, with_moments)
        none = torch.zeros_like(values[0])
        for step in self._missed[done[0] - self._begin :]:
            late = int(np.searchsorted(done, step.number))  # rows that miss this step
            self._update([each[:late] for each in values], none[:late], step)
        self._scatter(ids, values)
        self._done[rows] = self._begin + len(self._missed)

    # --- rows of weights, average and moments ---

    def _group(self) -> dict[str, Any]:
        """Return the optimiser's group of the table; loading a state makes new ones."""
        return next(
            group
            for group in self._optimizer.param_groups
            if any(parameter is self.weight for parameter in group["params"])
        )

    def _moments(self) -> dict[str, Tensor]:
        """Return the optimiser's state of the table, made as the optimiser makes it."""
        state: dict[str, Tensor] = self._optimizer.state[self.weight]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(self.weight)
            state["exp_avg_sq"] = torch.zeros_like(self.weight)
        return state

    def _tables(self, with_moments: bool) -> Iterable[Tensor]:
        """Yield the weights, the average if any, and the moments."""
        yield self.weight.detach()
        if self._average is not None:
            yield self._average
        if with_moments:
            state = self._moments()
            yield state["exp_avg"]
            yield state["exp_avg_sq"]

    def _gather(self, ids: Tensor, with_moments: bool) -> list[Tensor]:
        return [table.index_select(0, ids) for table in self._tables(with_moments)]

    def _scatter(self, ids: Tensor, values: list[Tensor]) -> None:
        with_moments = len(values) > 1 + (self._average is not None)
        for table, rows in zip(self._tables(with_moments), values, strict=True):
            table.index_copy_(0, ids, rows)

    def _update(self, values: list[Tensor], gradient: Tensor | None, step: _Step) -> None:
        """Take a step in some rows of weights, average and moments, `(rows, H)` each."""
        weights = values[0]
        first_moment = 1 + (self._average is not None)
        decay = self._keys["weight_decay"]
        if len(values) == first_moment:
            weights.mul_(
                1 - step.rate * decay
            )  # nothing else moves a row that never had a gradient
        else:
            assert gradient is not None
            beta1, beta2 = self._keys["betas"]
            torch._fused_adamw_(
                [weights], [gradient], [values[first_moment]], [values[first_moment + 1]], [],
                [torch.tensor(float(step.number))], amsgrad=False, lr=step.rate, beta1=beta1, beta2=beta2,
                weight_decay=decay, eps=self._keys["eps"], maximize=False,
            )  # fmt: skip
        if self._average is not None:
            values[1].lerp_(weights, step.towards)
