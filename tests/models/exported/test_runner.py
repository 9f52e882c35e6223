"""Pairs are read as the library's own tokenizer call reads them, however long they are."""

import numpy as np
import pandas as pd
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from competition.core.errors import CompError
from competition.models.exported.runner import PairReader
from tests.rerankers import pair_tokenizer

Catalogue = tuple[pd.DataFrame, pd.DataFrame]
TEXT = st.text(max_size=30) | st.builds(
    lambda word, n: word * n, st.text(max_size=4), st.integers(1, 40)
)


def make_reader(catalogue: Catalogue) -> PairReader:
    """With a tokenizer like an exported one, of at most 32 tokens."""
    tokenizer = pair_tokenizer(catalogue[1], "bert")
    tokenizer.split_special_tokens = True
    tokenizer.model_max_length = 32
    return PairReader(tokenizer)


@pytest.fixture(scope="module")
def reader(catalogue: Catalogue) -> PairReader:
    """Which no test changes."""
    return make_reader(catalogue)


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4))
def test_pairs_are_those_of_the_tokenizer(reader: PairReader, pairs: list[tuple[str, str]]) -> None:
    reader.check(pairs)  # the tokens
    texts = [list(pair) for pair in pairs]
    theirs = reader.tokenizer(texts, padding=True, truncation=True, return_tensors="np")
    for places, batch in reader.batches(pairs, size=3):
        assert batch.keys() == theirs.keys()
        width = batch["input_ids"].shape[1]
        for name, array in batch.items():
            np.testing.assert_array_equal(array, theirs[name][places, :width])


def test_another_tokenizer_is_noticed(catalogue: Catalogue) -> None:
    changed = make_reader(catalogue)
    changed.tokenizer.truncation_side = "left"
    changed.check([("lamp", "oak")])
    with pytest.raises(CompError, match="reads 'lamp' with its product otherwise than the run"):
        changed.check([("lamp", "oak table " * 40)])


def test_two_long_texts_take_no_memory(reader: PairReader) -> None:
    # The library's own call takes 2 GB for these.
    long = [("1 2 3 " * 300, f"{i} 4 5 6 " * 600) for i in range(3)]
    process = psutil.Process()
    before = process.memory_info().rss
    assert [len(ids) for ids, _ in reader.read(long)] == [32] * 3
    assert process.memory_info().rss - before < 200 * 2**20
