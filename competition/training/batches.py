"""Batches: which rows, in which order, split how. The recipe fixes all that matters; memory only splits."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from competition.data.tokens import Pairs
from competition.workspace import derive_seed

PAD_TO = 8  # tokens; tensor cores and vector units like multiples of it

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Some pairs padded to one length."""

    rows: Rows  # (batch,) into the pairs they come from
    ids: Tensor  # (batch, tokens)
    mask: Tensor  # (batch, tokens), 1 on tokens
    types: Tensor  # (batch, tokens), 1 on the product's side


def epoch_batches(count: int, batch_size: int, seed: int, epoch: int) -> Iterator[Rows]:
    """The optimiser batches of one epoch, a function of (seed, epoch) alone; the last one may be smaller."""
    order = np.random.default_rng(derive_seed(seed, "order", epoch)).permutation(count)
    for first in range(0, count, batch_size):
        yield order[first : first + batch_size]


def shard(rows: Rows, rank: int, ranks: int) -> Rows:
    """What process `rank` of `ranks` does of an optimiser batch; every row goes to exactly one."""
    return rows[rank::ranks]


def micro_batches(rows: Rows, lengths: NDArray[np.int64], token_budget: int) -> list[Rows]:
    """Split rows into groups of similar length that hold at most `token_budget` tokens with their padding.

    A row that is longer than the budget is a group by itself.
    """
    by_length = rows[np.lexsort((rows, lengths[rows]))]
    padded = _padded(lengths[by_length]).tolist()
    groups, start = [], 0
    for end in range(1, len(by_length) + 1):
        if end < len(by_length) and (end + 1 - start) * padded[end] <= token_budget:
            continue
        groups.append(by_length[start:end])
        start = end
    return groups


def _padded(length: Any) -> Any:
    """A length, or an array of them, rounded up to a multiple of PAD_TO."""
    return -(-length // PAD_TO) * PAD_TO


def collate(pairs: Pairs, rows: Rows, pad_id: int) -> Batch:
    """Put the pairs of `rows` together, padded to a multiple of PAD_TO (or to the encoder's limit)."""
    pieces = [pairs.ids(int(row)) for row in rows]
    longest = max(len(ids) for ids, _ in pieces)
    width = min(_padded(longest), max(longest, pairs.max_length))
    ids = np.full((len(rows), width), pad_id, np.int64)
    mask = np.zeros((len(rows), width), np.int64)
    types = np.zeros((len(rows), width), np.int64)
    for i, (tokens, query_side) in enumerate(pieces):
        ids[i, : len(tokens)] = tokens
        mask[i, : len(tokens)] = 1
        types[i, query_side : len(tokens)] = 1
    return Batch(rows, torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(types))
