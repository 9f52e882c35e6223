"""Where memory runs out while nothing is learned, the micro-batches get smaller and the answers stay."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from competition.core.errors import CompError
from competition.models.encoder.encoder import load_tokenizer
from competition.training.held_out_titles import HeldOutTitles
from competition.training.loop import make_accelerator
from competition.training.oom import Budget
from competition.training.predict import predict
from tests.training.conftest import ALL_AT_ONCE, Bench, Shelf, make_recipe, pretraining


@contextmanager
def fails_at(model: nn.Module, *passes: int) -> Iterator[list[int]]:
    """The device has no memory in these passes, from 0; yields how many texts the others have."""
    number, texts = [0], []

    def count(module: nn.Module, given: tuple, outputs: object) -> None:
        number[0] += 1
        if number[0] - 1 in passes:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        texts.append(len(given[-1].ids))

    handle = model.register_forward_hook(count)
    yield texts
    handle.remove()


@pytest.mark.parametrize(("architecture", "texts"), [("cross-encoder", 1), ("two-tower", 2)])
def test_predictions_go_on_in_smaller_pieces(
    architecture: str, texts: int, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pass that fails leaves what was answered before, and the next prediction begins with what is left."""
    recipe, accelerator, rows = (
        make_recipe(architecture=architecture),
        make_accelerator(),
        np.arange(24),
    )
    pairs, model = bench.pairs(recipe), bench.model(recipe)
    assert len(pairs.views) == texts
    expected = predict(accelerator, model, pairs, rows, Budget(ALL_AT_ONCE))
    budget = Budget(texts * 400)
    with fails_at(model, 0, 2) as answered:
        outputs = predict(accelerator, model, pairs, rows, budget)
    pd.testing.assert_frame_equal(outputs, expected, check_exact=False, rtol=0, atol=1e-9)
    assert len(answered) > 3
    assert budget.tokens == texts * 400 // 4
    assert capsys.readouterr().err.splitlines() == [
        f"warning: Memory ran out: micro-batches hold {texts * to} tokens from here on instead of {texts * of}."
        for to, of in ((200, 400), (100, 200))
    ]
    with fails_at(model) as again:
        predict(accelerator, model, pairs, rows, budget)
    assert 8 * max(again) <= budget.tokens
    assert not capsys.readouterr().err


def test_the_held_out_loss_of_a_pre_training_too(shelf: Shelf) -> None:
    recipe, accelerator = pretraining(masked=0.4), make_accelerator()
    model = shelf.model(recipe, shelf.examples(recipe))
    titles = HeldOutTitles.make(
        shelf.products.head(6), "title", load_tokenizer(shelf.sources.encoder), recipe
    )
    expected = titles.losses(accelerator, model, Budget(ALL_AT_ONCE))
    with fails_at(model, 0, 2) as measured:
        outputs = titles.losses(accelerator, model, Budget(400))
    assert sum(measured) >= len(titles.texts)
    assert len(measured) > 3
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-9)


def test_memory_for_no_row_at_all_is_refused(bench: Bench) -> None:
    recipe = make_recipe()
    model = bench.model(recipe)
    with (
        fails_at(model, *range(100)),
        pytest.raises(CompError, match=r"a single text of up to \d+ tokens"),
    ):
        predict(make_accelerator(), model, bench.pairs(recipe), np.arange(24), Budget(400))
