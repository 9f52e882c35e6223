"""Batches: which rows, in which order, and how they are split. Memory only splits; the recipe fixes the rest."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from competition.core.fingerprint import derive_seed
from competition.data.pairs import Pairs
from competition.models.encoder.inputs import COUNTRY, FeatureIds, Inputs

PAD_TO = 8  # tokens; tensor cores and vector units like multiples of it

_NO_GRAMS = np.empty(0, np.int32)

Rows = NDArray[np.int64]
Length = TypeVar("Length", int, NDArray[np.int64])


def steps_per_epoch(count: int, batch_size: int, lists: Rows | None = None) -> int:
    """Return how many optimiser batches an epoch of `count` rows has, of whole lists no more than there are lists."""
    steps = -(-count // batch_size)
    return steps if lists is None else min(steps, len(np.unique(lists)))


def epoch_batches(
    count: int, batch_size: int, seed: int, epoch: int, lists: Rows | None = None
) -> Iterator[Rows]:
    """Yield the optimiser batches of one epoch, a function of (seed, epoch) alone; the last one may be smaller.

    Args:
        count: of rows.
        batch_size: rows of a batch; where lists stay whole, the mean over the epoch.
        seed: of the order.
        epoch: from 0.
        lists: the number of each row's list, from 0, `(count,)`, where a batch holds whole lists:
            as many of them as the others or one more, each of them in one piece.
    """
    rng = np.random.default_rng(derive_seed(seed, "order", epoch))
    order = rng.permutation(count)
    if lists is None:
        for first in range(0, count, batch_size):
            yield order[first : first + batch_size]
        return

    sizes = np.bincount(lists)
    place = rng.permutation(len(sizes))  # of each list
    order = order[np.argsort(place[lists[order]], kind="stable")]

    steps = steps_per_epoch(count, batch_size, lists)
    first_lists = np.arange(steps + 1) * len(sizes) // steps  # of each batch
    first_rows = np.concatenate([[0], np.cumsum(sizes[np.argsort(place)])])[first_lists]
    for first, end in pairwise(first_rows.tolist()):
        yield order[first:end]


def shard(rows: Rows, rank: int, world_size: int, lists: Rows | None = None) -> Rows:
    """Return the rows of process `rank` of an optimiser batch; every row goes to exactly one process.

    With `lists`, the number of each row's list by row, every list goes to one process: the largest
    first, each to the process that has the fewest rows.
    """
    if lists is None:
        return rows[rank::world_size]

    numbers, sizes = np.unique(lists[rows], return_counts=True)
    load = np.zeros(world_size, np.int64)  # rows of each process
    own = []
    for i in np.argsort(-sizes, kind="stable"):
        process = int(load.argmin())
        load[process] += sizes[i]
        if process == rank:
            own.append(numbers[i])
    return rows[np.isin(lists[rows], own)]


def micro_batches(rows: Rows, lengths: NDArray[np.int64], token_budget: int) -> list[Rows]:
    """Split rows into groups of similar length that hold at most `token_budget` tokens with their padding.

    A row that is longer than the budget is a group by itself.
    """
    by_length = rows[np.lexsort((rows, lengths[rows]))]
    padded = _padded(lengths[by_length]).tolist()

    groups = []
    start = 0
    for end in range(1, len(by_length) + 1):
        # The row at `end` is the longest so far, so all would be padded to its length.
        if end < len(by_length) and (end + 1 - start) * padded[end] <= token_budget:
            continue
        groups.append(by_length[start:end])
        start = end
    return groups


def _padded(length: Length) -> Length:
    """Return a length, or an array of them, rounded up to a multiple of PAD_TO."""
    return -(-length // PAD_TO) * PAD_TO


def pad(
    texts: Sequence[tuple[NDArray[np.int32], int]],
    padding: int,
    max_length: int,
    device: torch.device,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return texts as ids, mask and types `(texts, tokens)` on `device`; each comes with the tokens of its first side.

    They are padded to a multiple of PAD_TO, but not beyond `max_length`.
    """
    longest = max(len(ids) for ids, _ in texts)
    width = min(_padded(longest), max(longest, max_length))
    ids = np.full((len(texts), width), padding, np.int64)
    mask = np.zeros((len(texts), width), np.int64)
    types = np.zeros((len(texts), width), np.int64)

    for i, (tokens, first_text) in enumerate(texts):
        ids[i, : len(tokens)] = tokens
        mask[i, : len(tokens)] = 1
        types[i, first_text : len(tokens)] = 1
    return to_device(ids, device), to_device(mask, device), to_device(types, device)


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return an array on `device`; a GPU copies it from pinned memory while the CPU goes on."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def collate(pairs: Pairs, rows: Rows, device: torch.device) -> Inputs:
    """Return the pairs of `rows` on `device`, view by view."""
    texts = [pairs.ids(int(row), view) for view in pairs.views for row in rows]
    present = np.array([[pairs.has_text(int(row), view) for view in pairs.views] for row in rows])
    ids, mask, types = pad(
        texts, pairs.special.padding, pairs.max_length, device
    )  # (V * batch, tokens)

    lengths = np.array([len(tokens) for tokens, _ in texts])
    places = np.flatnonzero(np.arange(ids.shape[1]) < lengths[:, None])  # of tokens, not of padding
    return Inputs(
        ids,
        mask,
        types,
        to_device(present, device),
        to_device(places, device),
        _extras(pairs, rows, device),
    )


def _extras(pairs: Pairs, rows: Rows, device: torch.device) -> FeatureIds | None:
    known = pairs.attributes
    if known is None:
        return None

    # One bag of grams per unit and text; a row without a product has empty ones.
    product = pairs.product[rows]
    bags = [unit[query] for unit in known.query_grams for query in pairs.query[rows]]
    bags += [unit[p] if p >= 0 else _NO_GRAMS for unit in known.product_grams for p in product]

    begins = np.cumsum([0, *map(len, bags)])[: len(bags)]  # of each bag in `grams`
    grams = np.concatenate([_NO_GRAMS, *bags])
    names = {COUNTRY: known.country[rows]}
    names |= {name: ids[product] for name, ids in known.names.items()}
    return FeatureIds(
        {name: to_device(ids, device) for name, ids in names.items()},
        to_device(grams.astype(np.int64), device),
        to_device(begins.astype(np.int64), device),
    )
