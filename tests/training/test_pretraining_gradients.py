"""The gradient of a pre-training step is that of the losses as they are defined, however the batch is split."""

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from competition.config.recipe import PretrainingRecipe
from competition.data.catalogue import IGNORED
from competition.data.pretraining_examples import TaskTexts, one_sided
from competition.models.encoder.pretraining_model import (
    PretrainingModel,
    TaskBatch,
    encode,
    mean_pooled,
)
from competition.training.pretraining_gradients import PretrainingGradients, collate_texts
from tests.training.conftest import (
    ALL_AT_ONCE,
    IN_MICRO_BATCHES,
    Shelf,
    assert_same,
    gradient,
    pretraining,
)

CPU = torch.device("cpu")
WEIGHTS = {"mlm": 0.7, "query": 1.3, "brand": 0.4, "color": 0.6, "contrastive": 0.9}
NOTHING_ELSE = {"query": 0.0, "brand": 0.0, "color": 0.0, "contrastive": 0.0}
CHOSEN = np.array([4, 0, 7, 2, 9, 3])


def make_recipe(**keys: float) -> PretrainingRecipe:
    """A recipe whose tasks have different weights, and cosines that float32 is exact enough for."""
    return pretraining(**(WEIGHTS | {"temperature": 0.5} | keys))


def batch_of(
    run: PretrainingGradients, task: str, step: int, chosen: np.ndarray = CHOSEN
) -> TaskBatch:
    """The whole mini-batch of a task."""
    texts = run.examples.make(task, chosen, step)
    return collate_texts(
        texts, np.arange(len(texts)), run.examples.special, run.recipe.max_length, CPU
    )


def texts_of(encoder: torch.nn.Module, batch: TaskBatch) -> Tensor:
    """The texts of a batch as vectors of length 1."""
    return mean_pooled(encode(encoder, batch), batch.mask)


def contrast(
    texts: Tensor, same: Tensor, keys: Tensor, same_keys: Tensor, temperature: float
) -> Tensor:
    """The contrastive loss without dropout, text by text: other texts and keys are negatives unless they are equal."""
    losses = []
    for i in range(len(texts)):
        own = (texts[i] @ texts[i] / temperature).exp()
        others = [
            (texts[i] @ t / temperature).exp()
            for t, s in zip(texts, same, strict=True)
            if s != same[i]
        ]
        queued = [
            (texts[i] @ k / temperature).exp()
            for k, s in zip(keys, same_keys, strict=True)
            if s != same[i]
        ]
        losses.append(-(own / (own + sum(others) + sum(queued))).log())
    return torch.stack(losses).mean()


def naive(run: PretrainingGradients, model: PretrainingModel, step: int) -> dict[str, Tensor]:
    """Each task's loss on its whole mini-batch, unweighted."""
    losses = {}
    for task in run.examples.tasks:
        batch = batch_of(run, task, step)
        if task == "contrastive":
            queue = run.queue
            texts, same = texts_of(model.encoder, batch), batch.targets["same"]
            losses[task] = contrast(texts, same, queue.keys, queue.same, run.recipe.temperature)
            continue
        for name, values in model(task, batch).items():
            told = (batch.targets[name] != IGNORED).sum()
            losses[name] = values.sum() / told
    return losses


def weighted(losses: dict[str, Tensor]) -> Tensor:
    """Their sum, as WEIGHTS say."""
    keys = {"token": "mlm", "match": "query"}
    return sum(
        (WEIGHTS[keys.get(name, name)] * loss for name, loss in losses.items()), torch.zeros(())
    )


@contextmanager
def passes(model: PretrainingModel) -> Iterator[Counter[str]]:
    """How many forward passes each task has had."""
    count: Counter[str] = Counter()
    handle = model.register_forward_pre_hook(lambda module, given: count.update([given[0]]))
    yield count
    handle.remove()


# --- batches
# -----------------------------------------------------------------------------------------------------


def test_texts_are_padded_with_their_targets(shelf: Shelf) -> None:
    special = shelf.examples(pretraining()).special
    ids = [np.arange(10, 10 + n, dtype=np.int32) for n in (3, 9, 5)]
    texts = one_sided(
        ids,
        {
            "token": [np.arange(n) for n in (3, 9, 5)],
            "match": [True, False, True],
            "brand": [7, IGNORED, 5],
        },
    )
    batch = collate_texts(texts, np.array([2, 0]), special, 32, CPU)
    pad = special.padding
    assert batch.ids.tolist() == [
        [10, 11, 12, 13, 14, pad, pad, pad],
        [10, 11, 12, pad, pad, pad, pad, pad],
    ]
    assert batch.mask.sum(1).tolist() == [5, 3]
    assert not batch.types.any()
    targets = {name: tensor.tolist() for name, tensor in batch.targets.items()}
    none = IGNORED
    assert targets == {
        "token": [[0, 1, 2, 3, 4, none, none, none], [0, 1, 2, none, none, none, none, none]],
        "match": [1, 1],
        "brand": [5, 7],
    }
    pair = TaskTexts(ids, [2, 4, 5], {})
    assert collate_texts(pair, np.array([0, 1]), special, 32, CPU).types.sum(1).tolist() == [1, 5]


# --- one step
# ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "budget", [ALL_AT_ONCE, IN_MICRO_BATCHES], ids=["whole", "in micro-batches"]
)
@pytest.mark.parametrize(
    "off", [(), ("query",), ("brand",), ("contrastive",), ("query", "brand", "color")], ids=str
)
def test_the_gradient_is_that_of_the_weighted_means_over_the_whole_batch(
    off: tuple[str, ...], budget: int, shelf: Shelf
) -> None:
    run = shelf.run(make_recipe(token_budget=budget, **dict.fromkeys(off, 0.0)))
    model = copy.deepcopy(run.model)
    losses = naive(run, model, step=0)
    with passes(run.model) as count:
        total = run.compute(CHOSEN, 0)
    weighted(losses).backward()
    assert_same(gradient(run.model), gradient(model), 1e-6)
    assert total.item() == pytest.approx(weighted(losses).item(), abs=1e-5)
    names = {
        "mlm": ("token",),
        "query": ("match",),
        "attributes": ("brand", "color"),
        "contrastive": ("contrastive",),
    }
    on = {
        task: [name for name in names[task] if name not in off] for task in names if task not in off
    }
    assert set(count) == {task for task, found in on.items() if found}
    assert set(losses) == {name for found in on.values() for name in found}
    assert (
        count.pop("contrastive", 2) == 2
    )  # its texts are each other's negatives: it is never split
    assert all((passes > 1) == (budget == IN_MICRO_BATCHES) for passes in count.values())
    assert run.epoch_losses() == pytest.approx(
        {name: float(loss.detach()) for name, loss in losses.items()}, abs=1e-5
    )


def test_a_task_that_is_off_has_no_head(shelf: Shelf) -> None:
    run = shelf.run(make_recipe(query=0.0, brand=0.0))
    assert run.model.match is None
    assert set(run.model.names) == {"color"}
    nothing = shelf.run(make_recipe(**NOTHING_ELSE))
    assert nothing.examples.tasks == ("mlm",)
    assert not nothing.model.names
    assert not hasattr(nothing, "momentum")
    assert not hasattr(nothing, "queue")
    assert {name.split(".")[0] for name in gradient_names(nothing)} == {"encoder", "words"}


def gradient_names(run: PretrainingGradients) -> set[str]:
    """The parameters that a step gives a gradient."""
    run.compute(CHOSEN, 0)
    return set(gradient(run.model))


def test_names_are_learned_from_the_products_that_have_them(shelf: Shelf) -> None:
    """A mean over the batch would weigh a brand less where the others have none."""
    run = shelf.run(make_recipe())
    batch = batch_of(run, "attributes", 0)
    known = {name: int((batch.targets[name] != IGNORED).sum()) for name in ("brand", "color")}
    assert 0 < known["color"] < len(CHOSEN)
    assert known["brand"] > 0
    losses = run.model("attributes", batch)
    run.compute(CHOSEN, 0)
    for name, count in known.items():
        assert run.losses[name][0].item() == pytest.approx(
            losses[name].sum().item() / count, abs=1e-6
        )


def test_a_batch_without_a_single_color_learns_brands_alone(shelf: Shelf) -> None:
    run = shelf.run(make_recipe(), shelf.products.assign(color=""))
    losses = naive(run, run.model, 0)
    total = run.compute(CHOSEN, 0)
    assert run.losses["color"][0].item() == 0.0
    assert run.losses["brand"][0].item() > 0.0
    losses["color"] = torch.zeros(())  # 0 / 0 in the naive mean
    assert total.item() == pytest.approx(weighted(losses).item(), abs=1e-5)
    found = gradient(run.model)
    assert all(bool(tensor.isfinite().all()) for tensor in found.values())
    assert not any(
        bool(tensor.any()) for name, tensor in found.items() if name.startswith("names.color")
    )


def test_losses_are_told_once_per_epoch_as_the_mean_of_its_steps(shelf: Shelf) -> None:
    run = shelf.run(make_recipe())
    of_step = [naive(run, run.model, 0)]
    run.compute(CHOSEN, 0)
    of_step.append(naive(run, run.model, 1))
    run.compute(CHOSEN, 1)
    means = {name: (of_step[0][name].item() + of_step[1][name].item()) / 2 for name in of_step[0]}
    assert run.epoch_losses() == pytest.approx(means, abs=1e-5)
    assert run.epoch_losses() == {}


def test_dropout_is_drawn_by_the_step_alone(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    run = shelf.run(make_recipe(token_budget=IN_MICRO_BATCHES))
    run.model.train()
    make = run.examples.make
    monkeypatch.setattr(
        run.examples, "make", lambda task, chosen, step: make(task, chosen, 0)
    )  # the same texts
    found = []
    for step in (3, 3, 4):
        run.model.zero_grad()
        torch.manual_seed(len(found))  # which must not matter
        run = PretrainingGradients(
            run.accelerator, run.model, run.recipe, run.examples
        )  # with an empty queue
        run.compute(CHOSEN, step)
        found.append(gradient(run.model))
    assert_same(found[0], found[1], 0.0)
    assert any(not torch.equal(found[0][name], found[2][name]) for name in found[0])


# --- contrast
# ----------------------------------------------------------------------------------------------------


def twins(shelf: Shelf) -> pd.DataFrame:
    """Six products, of which the first, the third and the last have the same text."""
    products = shelf.products.head(6).copy()
    fields = [name for name in products.columns if name not in ("product_id",)]
    for row in (2, 5):
        products.iloc[row, [products.columns.get_loc(name) for name in fields]] = products.iloc[0][
            fields
        ].to_numpy()
    return products


def test_equal_texts_are_not_each_other_s_negatives(shelf: Shelf) -> None:
    run = shelf.run(make_recipe(), twins(shelf))
    expected = []
    for step in (0, 1):  # at the second step, the queue holds their keys
        batch = batch_of(run, "contrastive", step)
        same = batch.targets["same"]
        assert Counter(Counter(same.tolist()).values()) == {3: 1, 1: 3}
        texts = texts_of(run.model.encoder, batch)
        expected.append(contrast(texts, same, run.queue.keys, run.queue.same, 0.5).item())
        blind = contrast(
            texts, torch.arange(6), run.queue.keys, torch.full((len(run.queue.keys),), -1), 0.5
        ).item()
        run.compute(CHOSEN, step)
        assert run.losses["contrastive"][step].item() == pytest.approx(expected[step], abs=1e-5)
        assert abs(blind - expected[step]) > 0.1
    assert expected[1] > expected[0] + 0.1


def test_keys_are_negatives_from_the_next_step_on_and_made_by_the_slow_copy(shelf: Shelf) -> None:
    run = shelf.run(make_recipe(momentum=0.75, queue=1.5))
    assert run.queue.size == 9  # 1.5 batches of 6
    slow = copy.deepcopy(run.model.encoder)
    held, same_held = torch.zeros(0, 16), torch.zeros(0, dtype=torch.long)
    for step in range(3):
        batch = batch_of(run, "contrastive", step)
        loss = contrast(
            texts_of(run.model.encoder, batch), batch.targets["same"], held, same_held, 0.5
        )
        run.compute(CHOSEN, step)
        assert run.losses["contrastive"][step].item() == pytest.approx(loss.item(), abs=1e-5)
        with torch.no_grad():
            for old, new in zip(slow.parameters(), run.model.encoder.parameters(), strict=True):
                old.copy_(0.75 * old + 0.25 * new)
            held = torch.cat([held, texts_of(slow, batch)])[-9:]
        same_held = torch.cat([same_held, batch.targets["same"]])[-9:]
        torch.testing.assert_close(run.queue.keys, held, rtol=0, atol=1e-6)
        assert run.queue.same.tolist() == same_held.tolist()
        with torch.no_grad():  # what an optimiser might do
            for parameter in run.model.parameters():
                parameter.mul_(1.5)
    assert not run.queue.keys.requires_grad


def test_the_two_passes_differ_by_dropout_and_keys_have_none(shelf: Shelf) -> None:
    run = shelf.run(make_recipe())
    run.model.train()
    seen: list[Tensor] = []
    handle = run.model.register_forward_hook(
        lambda module, given, found: (
            seen.append(found["text"]) if given[0] == "contrastive" else None
        )
    )
    run.compute(CHOSEN, 0)
    handle.remove()
    first, second = seen
    assert bool((first - second).abs().max() > 1e-3)
    assert first.requires_grad
    assert second.requires_grad
    clean = texts_of(run.model.eval().encoder, batch_of(run, "contrastive", 0))
    torch.testing.assert_close(
        run.queue.keys, clean.detach(), rtol=0, atol=1e-6
    )  # nothing has moved yet
