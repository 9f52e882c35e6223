"""Which rows go together: a function of the recipe, whatever the memory or the number of processes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from competition.training.batches import (
    PAD_TO,
    epoch_batches,
    micro_batches,
    shard,
    steps_per_epoch,
)

SIZES = st.lists(st.integers(1, 50), min_size=1, max_size=40)  # of lists


@given(st.integers(1, 200), st.integers(1, 40), st.integers(0, 5))
def test_an_epoch_is_every_row_once_and_a_function_of_seed_and_epoch(
    count: int, size: int, epoch: int
) -> None:
    batches = list(epoch_batches(count, size, seed=1, epoch=epoch))
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    assert all(len(batch) == size for batch in batches[:-1])
    again = epoch_batches(count, size, seed=1, epoch=epoch)
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))


def test_epochs_and_seeds_differ() -> None:
    orders = {
        tuple(next(iter(epoch_batches(50, 50, seed, epoch)))) for seed in (1, 2) for epoch in (0, 1)
    }
    assert len(orders) == 4


@given(
    st.lists(st.integers(1, 100), min_size=1, max_size=60),
    st.integers(8, 400),
    st.randoms(use_true_random=False),
)
def test_micro_batches_hold_every_row_once_within_the_budget(
    lengths: list[int], budget: int, random: object
) -> None:
    rows = np.arange(len(lengths))
    groups = micro_batches(rows, np.array(lengths), budget)
    assert sorted(np.concatenate(groups).tolist()) == rows.tolist()
    for group in groups:
        longest = max(lengths[row] for row in group)
        padded = -(-longest // PAD_TO) * PAD_TO
        assert len(group) == 1 or len(group) * padded <= budget
    shuffled = rows.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = micro_batches(shuffled, np.array(lengths), budget)
    assert [group.tolist() for group in again] == [group.tolist() for group in groups]


@given(st.integers(0, 40), st.integers(1, 5))
def test_shards_share_out_every_row(count: int, ranks: int) -> None:
    rows = np.arange(count)
    parts = [shard(rows, rank, ranks) for rank in range(ranks)]
    assert sorted(np.concatenate(parts).tolist()) == rows.tolist()


@given(SIZES, st.integers(1, 40), st.integers(0, 3))
def test_batches_of_lists_hold_whole_ones_in_one_piece(
    sizes: list[int], batch_size: int, epoch: int
) -> None:
    lists = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    count = len(lists)
    batches = list(epoch_batches(count, batch_size, 1, epoch, lists))
    assert len(batches) == steps_per_epoch(count, batch_size, lists)
    assert len(batches) == min(-(-count // batch_size), len(sizes))
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))

    per_batch = []
    for batch in batches:
        of_rows = lists[batch]
        numbers = np.unique(of_rows)
        assert [sizes[number] for number in numbers] == [(of_rows == n).sum() for n in numbers]
        assert (np.diff(of_rows) != 0).sum() == len(numbers) - 1
        per_batch.append(len(numbers))
    assert max(per_batch) - min(per_batch) <= 1


def test_lists_and_their_rows_come_in_another_order_in_each_epoch() -> None:
    lists = np.repeat(np.arange(10), 5)
    one, other = (np.concatenate(list(epoch_batches(50, 5, 1, epoch, lists))) for epoch in (0, 1))
    assert lists[one].tolist() != lists[other].tolist()
    assert one[lists[one] == 3].tolist() != other[lists[other] == 3].tolist()


@given(SIZES, st.integers(1, 5))
def test_shards_of_lists_are_whole_lists_of_about_as_many_rows(
    sizes: list[int], world_size: int
) -> None:
    lists = np.repeat(np.arange(len(sizes)), sizes)
    rows = np.random.default_rng(0).permutation(len(lists))
    parts = [shard(rows, rank, world_size, lists) for rank in range(world_size)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(lists)))
    owners = [set(lists[part].tolist()) for part in parts]
    assert sum(map(len, owners)) == len(sizes)
    # No process has more than another by more than one list.
    loads = [len(part) for part in parts]
    assert max(loads) - min(loads) <= max(sizes)
