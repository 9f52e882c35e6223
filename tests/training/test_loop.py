"""The loop: steps, clipping, averaged weights, modes, and predictions by id."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from competition.config.base_recipe import TrainingKeys
from competition.config.encoder_recipe import EncoderRecipe
from competition.core.console import progress
from competition.data.pairs import Pairs
from competition.models.encoder.inputs import Inputs
from competition.models.encoder.model import RelevanceModel
from competition.training.batches import Rows, collate
from competition.training.finetune import fine_tune
from competition.training.loop import Log, fit, make_accelerator
from competition.training.oom import Budget
from competition.training.optimizer import learning_rates, make_optimizer, schedule
from competition.training.predict import predict
from competition.training.regularization import ema_decay
from tests.training.conftest import ALL_AT_ONCE, IN_MICRO_BATCHES, Bench, make_recipe


def without_dropout(model: RelevanceModel) -> RelevanceModel:
    """The model with every dropout at 0, the encoder's too."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def trained(
    bench: Bench, recipe: EncoderRecipe, folder: Path, model: RelevanceModel | None = None
) -> tuple[RelevanceModel, list[dict[str, torch.Tensor]]]:
    """A model after `fit`, and the weights that each epoch was evaluated with."""
    model = model or without_dropout(bench.model(recipe))
    evaluated: list[dict[str, torch.Tensor]] = []

    def after_epoch(epoch: int, evaluated_model: RelevanceModel) -> None:
        evaluated.append(
            {name: p.detach().clone() for name, p in evaluated_model.named_parameters()}
        )

    with progress("fit", 1) as work:
        fine_tune(
            make_accelerator(),
            model,
            recipe,
            bench.sample(recipe),
            3,
            work,
            Log(folder / "log"),
            after_epoch,
        )
    return model, evaluated


@pytest.fixture
def steps() -> Iterator[list[dict[str, torch.Tensor]]]:
    """The weights before each optimiser step and, as `norm`, the length of its gradient."""
    seen: list[dict[str, torch.Tensor]] = []

    def watch(optimizer: Optimizer, arguments: tuple, keywords: dict) -> None:
        gradients = [
            p.grad
            for group in optimizer.param_groups
            for p in group["params"]
            if p.grad is not None
        ]
        seen.append({"norm": torch.stack([gradient.norm() for gradient in gradients]).norm()})

    handle = register_optimizer_step_pre_hook(watch)
    yield seen
    handle.remove()


def test_pieces_train_what_the_whole_trains(
    bench: Bench, tmp_path: Path, steps: list[dict[str, torch.Tensor]]
) -> None:
    """The released code stepped after the first micro-batch; here 24 rows in batches of 10 are 3 steps per epoch."""
    keys = {
        "adversary": "fgm-table",
        "r_drop": 0.5,
        "ema": 0.999,
        "batch_size": 10,
        "epochs": 2,
        "learning_rate": 1e-3,
    }
    results = []
    for budget in (ALL_AT_ONCE, IN_MICRO_BATCHES):
        steps.clear()
        results.append(trained(bench, make_recipe(**keys, token_budget=budget), tmp_path)[1][-1])
        assert len(steps) == 6
    for name, tensor in results[0].items():
        torch.testing.assert_close(results[1][name], tensor, rtol=0, atol=1e-7)


class Pull:
    """Something else to train: every row pulls the one weight down by 1."""

    def __init__(self, model: torch.nn.Linear) -> None:
        self.model, self.budget = model, Budget(1)
        self.seen: list[tuple[int, list[int]]] = []

    def compute(self, batch: Rows, step: int) -> torch.Tensor:
        """The gradient of the sum over rows."""
        assert self.model.weight.grad is None  # the last step's is gone
        self.seen.append((step, batch.tolist()))
        loss = self.model.weight.sum() * len(batch)
        loss.backward()
        return loss.detach()


def test_the_loop_trains_whatever_counts_gradients(tmp_path: Path) -> None:
    model, made, evaluated = torch.nn.Linear(1, 1, bias=False), [], []
    torch.nn.init.constant_(model.weight, 1.0)
    recipe = TrainingKeys(
        epochs=2, batch_size=3, learning_rate=0.1, warmup=0.0, weight_decay=0.0, clip_norm=1.0
    )

    def gradients(wrapped: torch.nn.Module) -> Pull:
        made.append(Pull(model))
        assert wrapped.weight is model.weight
        return made[-1]

    def after_epoch(epoch: int, evaluated_model: torch.nn.Linear) -> None:
        assert evaluated_model is model
        evaluated.append((epoch, evaluated_model.weight.item()))

    with progress("fit", 14) as work:
        fit(
            make_accelerator(),
            model,
            recipe,
            7,
            gradients,
            3,
            work,
            Log(tmp_path / "log"),
            after_epoch,
        )
    (pull,) = made
    steps, batches = zip(*pull.seen, strict=True)
    assert steps == (0, 1, 2, 3, 4, 5)
    assert [len(rows) for rows in batches] == [3, 3, 1, 3, 3, 1]
    epochs = [[row for rows in epoch for row in rows] for epoch in (batches[:3], batches[3:])]
    assert all(sorted(rows) == list(range(7)) for rows in epochs)
    assert epochs[0] != epochs[1]
    assert work.done == 14
    # AdamW moves by the learning rate where all gradients are equal, as clipped ones are: 0.1 times
    # 6/6, 5/6, 4/6 …
    assert [epoch for epoch, _ in evaluated] == [0, 1]
    moved = [0.1 * (6 + 5 + 4) / 6, 0.1 * (6 + 5 + 4 + 3 + 2 + 1) / 6]
    assert [1.0 - weight for _, weight in evaluated] == pytest.approx(moved, abs=1e-4)


def test_gradients_are_clipped(
    bench: Bench, tmp_path: Path, steps: list[dict[str, torch.Tensor]]
) -> None:
    trained(bench, make_recipe(epochs=1, batch_size=10, clip_norm=0.01), tmp_path)
    assert all(step["norm"] <= 0.01 * (1 + 1e-4) for step in steps)
    steps.clear()
    trained(bench, make_recipe(epochs=1, batch_size=10, clip_norm=1e6), tmp_path)
    assert any(step["norm"] > 0.01 for step in steps)


def test_each_epoch_is_evaluated_with_averaged_weights(bench: Bench, tmp_path: Path) -> None:
    """One epoch of one step: a = d w0 + (1 - d) w1 with d = 2 / 11, and w1 is what training goes on from."""
    recipe = make_recipe(ema=0.999, epochs=1, batch_size=24, learning_rate=1e-2)
    start = {name: p.detach().clone() for name, p in bench.model(recipe).named_parameters()}
    model, (evaluated,) = trained(bench, recipe, tmp_path)
    decay = ema_decay(1, 0.999)
    assert decay == 2 / 11
    for name, w1 in model.named_parameters():
        torch.testing.assert_close(
            evaluated[name], decay * start[name] + (1 - decay) * w1.detach(), rtol=0, atol=1e-9
        )
    assert any(not torch.equal(evaluated[name], w1) for name, w1 in model.named_parameters())


def test_training_goes_on_in_training_mode_after_evaluation(bench: Bench, tmp_path: Path) -> None:
    recipe = make_recipe(epochs=2, batch_size=24)
    model = without_dropout(bench.model(recipe))
    modes: list[bool] = []
    model.register_forward_pre_hook(lambda module, arguments: modes.append(module.training))
    pairs, accelerator = bench.pairs(recipe), make_accelerator()

    def after_epoch(epoch: int, evaluated_model: RelevanceModel) -> None:
        predict(accelerator, evaluated_model, pairs, np.arange(24), Budget(ALL_AT_ONCE))

    with progress("fit", 1) as work:
        fine_tune(
            accelerator,
            model,
            recipe,
            bench.sample(recipe),
            3,
            work,
            Log(tmp_path / "log"),
            after_epoch,
        )
    assert modes == [True, False, True, False]


def test_frozen_grams_stay(bench: Bench, tmp_path: Path) -> None:
    recipe = make_recipe(epochs=1, learning_rate=1e-2)
    model = without_dropout(bench.model(recipe))
    assert model.features is not None
    assert model.features.grams is not None
    table = model.features.grams.weight
    table.requires_grad_(False)
    before = table.clone()
    trained(bench, recipe, tmp_path, model)
    assert torch.equal(table, before)


def test_schedule_rises_and_falls_linearly() -> None:
    factors = [schedule(step, steps=10, warmup=0.2) for step in range(10)]
    assert factors == pytest.approx(
        [1 / 2, 2 / 2, 8 / 8, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    )
    assert schedule(0, steps=1, warmup=0.0) == 1.0


def test_a_rise_takes_its_least_steps_but_no_more_than_half_of_all() -> None:
    rises = [
        [schedule(step, steps, 0.1, 4) for step in range(steps)].index(1.0) + 1
        for steps in (100, 20, 6, 3)
    ]
    assert rises == [10, 4, 3, 1]


def test_biases_and_norms_do_not_decay(bench: Bench) -> None:
    model = bench.model(make_recipe())
    decayed, plain = make_optimizer(
        model, make_recipe(learning_rate=1e-3, weight_decay=0.01)
    ).param_groups
    assert decayed["weight_decay"] == 0.01
    assert plain["weight_decay"] == 0.0
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    undecayed = {names[id(parameter)] for parameter in plain["params"]}
    assert undecayed == {
        name for name in names.values() if name.endswith("bias") or "LayerNorm" in name
    }
    assert len(decayed["params"]) + len(plain["params"]) == len(names)


def test_head_and_layers_have_rates_of_their_own(bench: Bench) -> None:
    model = bench.model(make_recipe())
    rates = learning_rates(
        model, make_recipe(learning_rate=1e-4, head_learning_rate=1e-3, layer_decay=0.5)
    )
    assert rates.keys() == dict(model.named_parameters()).keys()
    for name, rate in rates.items():
        in_encoder = name.startswith("encoder.")
        below = (
            2 if ".embeddings." in name else 1 if ".layer.0." in name else 0
        )  # of the two layers
        assert rate == (1e-4 * 0.5**below if in_encoder else 1e-3), name
    groups = make_optimizer(
        model,
        make_recipe(learning_rate=1e-4, head_learning_rate=1e-3, layer_decay=0.5, weight_decay=0.1),
    ).param_groups
    assert [(group["initial_lr"], group["weight_decay"]) for group in groups] == [
        (rate, decay) for rate in (1e-4 / 4, 1e-4 / 2, 1e-4, 1e-3) for decay in (0.1, 0.0)
    ]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all(
        rates[names[id(p)]] == group["initial_lr"] for group in groups for p in group["params"]
    )


def test_norms_behind_the_last_layer_learn_by_its_rate() -> None:
    model = torch.nn.Module()
    model.encoder = torch.nn.Module()
    model.encoder.tokens = torch.nn.Embedding(2, 2)
    model.encoder.layers = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    model.encoder.final_norm = torch.nn.LayerNorm(2)
    rates = learning_rates(model, TrainingKeys(learning_rate=1.0, layer_decay=0.1))
    assert {name.split(".", 1)[1]: rate for name, rate in rates.items() if name.endswith("weight")} == {
        "tokens.weight": 0.1**2, "layers.0.weight": 0.1, "layers.1.weight": 1.0, "final_norm.weight": 1.0
    }  # fmt: skip


def test_the_schedule_is_that_of_every_rate(bench: Bench, tmp_path: Path) -> None:
    """24 rows in batches of 12 for two epochs are 4 steps, of which half rise."""
    recipe = make_recipe(
        epochs=2,
        batch_size=12,
        learning_rate=1e-4,
        head_learning_rate=1e-3,
        layer_decay=0.5,
        warmup=0.5,
    )
    seen: list[dict[float, float]] = []

    def watch(optimizer: Optimizer, arguments: tuple, keywords: dict) -> None:
        seen.append({group["initial_lr"]: group["lr"] for group in optimizer.param_groups})

    handle = register_optimizer_step_pre_hook(watch)
    trained(bench, recipe, tmp_path)
    handle.remove()
    expected = [
        {rate: rate * f for rate in (1e-4 / 4, 1e-4 / 2, 1e-4, 1e-3)} for f in (1 / 2, 1, 1, 1 / 2)
    ]
    assert seen == [pytest.approx(rates) for rates in expected]


def test_predictions_go_by_id_and_leave_the_mode_alone(bench: Bench) -> None:
    recipe = make_recipe(multi_sample_dropout=3, dropout=0.5)
    model, pairs, accelerator = bench.model(recipe).train(), bench.pairs(recipe), make_accelerator()
    rows = np.arange(len(pairs))
    one = predict(accelerator, model, pairs, rows, Budget(ALL_AT_ONCE))
    other = predict(accelerator, model, pairs, rows[::-1], Budget(90))
    assert model.training
    assert one["example_id"].tolist() == sorted(pairs.example_id)
    pd.testing.assert_frame_equal(one, other, check_exact=False, rtol=1e-9)
    empty = predict(accelerator, model, pairs, rows[:0], Budget(100))
    assert list(empty.columns) == list(one.columns)
    assert empty.empty


def test_a_cpu_predicts_as_much_at_a_time_as_its_cache_holds(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, groups = make_recipe(), []
    pairs, accelerator = bench.pairs(recipe), make_accelerator()

    def collated(pairs: Pairs, rows: np.ndarray, device: torch.device) -> Inputs:
        groups.append(collate(pairs, rows, device))
        return groups[-1]

    monkeypatch.setattr("competition.training.predict.collate", collated)
    monkeypatch.setattr("competition.training.predict.MAX_TOKENS_ON_CPU", 100)
    predict(
        accelerator,
        bench.model(recipe).to(accelerator.device),
        pairs,
        np.arange(24),
        Budget(ALL_AT_ONCE),
    )
    if accelerator.device.type == "cpu":
        assert len(groups) > 5
        assert max(group.ids.numel() for group in groups) <= 100
    else:
        assert len(groups) == 1
