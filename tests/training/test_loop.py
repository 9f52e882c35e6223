"""The gradient of a batch is the same however it is split, and the schedule is what the recipe says."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import Accelerator

from competition.data.tokens import Pairs
from competition.model.encoder import load_tokenizer, make_tiny
from competition.model.losses import cross_entropy
from competition.model.relevance import RelevanceModel
from competition.training.loop import Sample, _Step, make_optimizer, schedule
from competition.training.predict import predict

Catalogue = tuple[pd.DataFrame, pd.DataFrame]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, catalogue: Catalogue) -> tuple[Path, Pairs, int]:
    """An encoder, the pairs of 24 examples, and the id of padding."""
    folder = tmp_path_factory.mktemp("loop") / "tiny"
    examples, products = catalogue
    make_tiny(folder, products, 1, "test")
    tokenizer = load_tokenizer(folder)
    return folder, Pairs.make(tokenizer, examples.head(24), products, "ptbcbd", 48), tokenizer.pad_token_id


@pytest.fixture
def model(parts: tuple[Path, Pairs, int]) -> Iterator[RelevanceModel]:
    """A model in evaluation mode, so that dropout is off while gradients flow."""
    yield RelevanceModel.make(parts[0], "classes", 0.0, seed=5).eval()


def gradient(
    model: RelevanceModel, pairs: Pairs, pad: int, weight: np.ndarray, rows: np.ndarray, budget: int
) -> torch.Tensor:
    """The gradient that one optimiser batch leaves, as one vector."""
    target = np.arange(len(pairs)) % 4
    sample = Sample(pairs, np.arange(len(pairs)), target.astype(float), weight)
    model.zero_grad()
    step = _Step(Accelerator(cpu=True), model, cross_entropy, sample, pairs.lengths(), pad, budget)
    step.backward(rows)
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_a_split_batch_has_the_gradient_of_the_whole(model: RelevanceModel, parts: tuple[Path, Pairs, int]) -> None:
    _, pairs, pad = parts
    weight = np.random.default_rng(0).random(len(pairs))
    rows = np.random.default_rng(1).permutation(len(pairs))
    whole = gradient(model, pairs, pad, weight, rows, budget=100_000)
    split = gradient(model, pairs, pad, weight, rows, budget=100)
    torch.testing.assert_close(split, whole, rtol=1e-4, atol=1e-6)


def test_doubling_a_weight_is_listing_the_row_twice(model: RelevanceModel, parts: tuple[Path, Pairs, int]) -> None:
    _, pairs, pad = parts
    ones = np.ones(len(pairs))
    double = ones.copy()
    double[3] = 2.0
    rows = np.arange(8)
    weighted = gradient(model, pairs, pad, double, rows, 100_000)
    listed = gradient(model, pairs, pad, ones, np.append(rows, 3), 100_000)
    torch.testing.assert_close(weighted, listed, rtol=1e-4, atol=1e-6)


def test_the_loss_is_the_weighted_mean_computed_plainly(model: RelevanceModel, parts: tuple[Path, Pairs, int]) -> None:
    _, pairs, pad = parts
    weight = np.linspace(0.5, 1.5, len(pairs))
    target = torch.arange(len(pairs)) % 4
    sample = Sample(pairs, np.arange(len(pairs)), target.numpy().astype(float), weight)
    step = _Step(Accelerator(cpu=True), model, cross_entropy, sample, pairs.lengths(), pad, 300)
    plain = []
    for row in range(len(pairs)):
        ids, query_side = pairs.ids(row)
        tokens = torch.tensor(ids.astype(np.int64))[None]
        types = (torch.arange(len(ids)) >= query_side).long()[None]
        log_probability = torch.log_softmax(model(tokens, torch.ones_like(tokens), types)[0], 0)
        plain.append(-log_probability[target[row]].item())
    expected = float((weight * np.array(plain)).sum() / weight.sum())
    assert step.backward(np.arange(len(pairs))).item() == pytest.approx(expected, rel=1e-5)


def test_schedule_rises_and_falls_linearly() -> None:
    factors = [schedule(step, steps=10, warmup=0.2) for step in range(10)]
    assert factors == pytest.approx([1 / 2, 2 / 2, 8 / 8, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    assert schedule(0, steps=1, warmup=0.0) == 1.0


def test_biases_and_norms_do_not_decay(model: RelevanceModel) -> None:
    decayed, plain = make_optimizer(model, 1e-3, 0.01).param_groups
    assert decayed["weight_decay"] == 0.01 and plain["weight_decay"] == 0.0
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    undecayed = {names[id(parameter)] for parameter in plain["params"]}
    assert undecayed == {name for name in names.values() if name.endswith("bias") or "LayerNorm" in name}
    assert len(decayed["params"]) + len(plain["params"]) == len(names)


def test_predictions_go_by_id_and_leave_the_mode_alone(model: RelevanceModel, parts: tuple[Path, Pairs, int]) -> None:
    _, pairs, pad = parts
    accelerator = Accelerator(cpu=True)
    model.train()
    rows = np.arange(len(pairs))
    one = predict(accelerator, model, pairs, rows, pad, token_budget=100_000)
    other = predict(accelerator, model, pairs, rows[::-1], pad, token_budget=90)
    assert model.training
    assert one["example_id"].tolist() == sorted(pairs.example_id)
    pd.testing.assert_frame_equal(one, other, check_exact=False, rtol=1e-4)
    empty = predict(accelerator, model, pairs, rows[:0], pad, 100)
    assert list(empty.columns) == list(one.columns) and empty.empty
