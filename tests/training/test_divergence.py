"""What is not finite ends a training and is never kept; what does not depend on the text ends it, too."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from competition.config.base_recipe import TrainingKeys
from competition.config.encoder_recipe import EncoderRecipe
from competition.core.errors import Diverged
from competition.scoring import collapse
from competition.scoring.collapse import Spread
from competition.training.batches import Rows
from competition.training.corpus import Corpus
from competition.training.divergence import LossWatch, advice, check_weights
from competition.training.finetune import Fold, train_fold
from competition.training.gradients import BatchGradients
from competition.training.loop import Log, make_accelerator
from competition.training.oom import Budget
from competition.training.predict import predict
from tests.esci import CONTEST, KINDS
from tests.training.conftest import ALL_AT_ONCE, Bench, make_recipe

pytestmark = pytest.mark.slow

ROWS = np.arange(24)
KEYS = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3}  # 12 rows: 3 steps per epoch


def run(
    bench: Bench, recipe: EncoderRecipe, folder: Path, held_out: Rows = ROWS[12:18]
) -> tuple[pd.DataFrame, ...]:
    """Train on 12 rows, hold others out, test on 6; a later epoch scores higher."""
    corpus = Corpus.make(recipe, CONTEST, bench.sources, bench.examples, bench.products)
    sides = (ROWS[:12], held_out, ROWS[18:])
    fold = Fold(
        "2", folder / "fold-2", "inputs", bench.sources, *sides, None, folder / "unfinished"
    )
    epochs = iter(range(recipe.epochs))
    return train_fold(
        recipe,
        KINDS[recipe.kind],
        corpus,
        fold,
        Log(folder / "log"),
        lambda outputs: float(next(epochs)),
    )


@contextmanager
def lost_at(step: int) -> Iterator[None]:
    """The loss and the gradient of optimiser step `step`, from 1, are not finite."""
    compute = BatchGradients.compute

    def spoiled(self: BatchGradients, batch: Rows, number: int) -> torch.Tensor:
        loss = compute(self, batch, number)
        if number + 1 != step:
            return loss
        for parameter in self.unwrapped.parameters():
            if parameter.grad is not None:
                parameter.grad.fill_(torch.nan)
        return torch.full_like(loss, torch.nan)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BatchGradients, "compute", spoiled)
        yield


def test_a_loss_is_looked_at_when_the_next_step_has_begun() -> None:
    watch = LossWatch("c1 fold 0", TrainingKeys(learning_rate=1e-2, warmup=0.1), steps=40)
    watch.record(1, torch.tensor(1.5), 1e-3)
    watch.record(2, torch.tensor(torch.inf), 2e-3)
    with pytest.raises(Diverged) as caught:
        watch.record(3, torch.tensor(1.0), 3e-3)
    assert str(caught.value) == (
        "c1 fold 0 has diverged: the loss of step 2 of 40 is inf at a learning rate of 0.002: lower learning_rate "
        "(0.01), or raise warmup (0.1)."
    )


def test_what_to_change_are_the_keys_that_are_on() -> None:
    recipe = make_recipe(
        learning_rate=1e-2, head_learning_rate=0.5, adversary="awp", epsilon=3.0, warmup=0.0
    )
    assert (
        advice(recipe)
        == "lower learning_rate (0.01), head_learning_rate (0.5) or epsilon (3), or raise warmup (0)"
    )
    assert (
        advice(make_recipe(learning_rate=1e-2, warmup=0.0))
        == "lower learning_rate (0.01), or raise warmup (0)"
    )


@pytest.mark.parametrize(
    "step", [1, 3, 4, 6], ids=["first", "end of an epoch", "begin of an epoch", "last"]
)
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_training_ends_at_the_first_loss_that_is_not_finite(
    step: int, ema: float, bench: Bench, tmp_path: Path
) -> None:
    with (
        lost_at(step),
        pytest.raises(
            Diverged, match=f"c1 fold 2 has diverged: the loss of step {step} of 6 is nan"
        ),
    ):
        run(bench, make_recipe(**KEYS, name="c1", ema=ema, checkpoint_steps=1), tmp_path)
    assert not (tmp_path / "fold-2").exists()
    assert "NaN" not in (tmp_path / "log").read_text() if (tmp_path / "log").exists() else step <= 3
    states = list((tmp_path / "unfinished").rglob("*.safetensors"))
    assert len(states) == min(2, step - 1)  # of the steps before
    assert all(tensor.isfinite().all() for path in states for tensor in load_file(path).values())


def test_a_rate_beyond_all_measure_ends_so_too(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(
        Diverged,
        match=r"the loss of step \d of 6 is (nan|inf) at a learning rate of .*: lower learn",
    ):
        run(bench, make_recipe(**KEYS | {"learning_rate": 1e30}), tmp_path)


def test_the_best_epoch_before_is_kept(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with lost_at(5):
        found = run(bench, make_recipe(**KEYS, weights="best"), tmp_path / "lost")
    assert "the loss of step 5 of 6 is nan" in (output := capsys.readouterr().err)
    assert "best epoch before is kept" in output
    # A rate that falls to 0 over two epochs: the first of them is trained again by ending behind
    # it.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Spread, "fault", "constant")
        expected = run(bench, make_recipe(**KEYS), tmp_path / "ended")
    for one, other in zip(found, expected, strict=True):
        pd.testing.assert_frame_equal(one, other)
    with lost_at(2), pytest.raises(Diverged):
        run(bench, make_recipe(**KEYS, weights="best"), tmp_path / "none")


def test_outputs_and_weights_that_are_not_finite_are_refused(bench: Bench) -> None:
    recipe = make_recipe()
    model = bench.model(recipe)
    check_weights("x", model, recipe)
    with torch.no_grad():
        model.output.output.bias[1] = torch.inf
    with pytest.raises(Diverged, match=r"24 of 24 outputs are not finite: .*lower learning_rate"):
        predict(make_accelerator(), model, bench.pairs(recipe), ROWS, Budget(ALL_AT_ONCE))
    with pytest.raises(
        Diverged, match=r"x has diverged: its weights output\.output\.bias are not finite: lower"
    ):
        check_weights("x", model, recipe)


@pytest.mark.parametrize(
    "held_out", [ROWS[12:18], ROWS[:0]], ids=["held out", "all rows are trained on"]
)
def test_outputs_that_do_not_depend_on_the_text_end_training(
    held_out: Rows,
    bench: Bench,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collapse, "MIN_ROWS", 2)
    monkeypatch.setattr(collapse, "MIN_DEVIATION", 1.0)  # no probability deviates so much
    run(bench, make_recipe(**KEYS, name="c1"), tmp_path, held_out)
    output = capsys.readouterr().err
    assert (
        "warning: c1 fold 2 ends after epoch 1 of 2: outputs do not depend on the text: over"
        in output
    )
    assert "lower learning_rate (0.001)" in output
    assert (tmp_path / "log").read_text().count("held_out_score") == 1
    monkeypatch.setattr(collapse, "MIN_DEVIATION", 1e-9)
    run(bench, make_recipe(**KEYS, name="c1"), tmp_path / "sound", held_out)
    assert "depend" not in capsys.readouterr().err
    assert (tmp_path / "sound" / "log").read_text().count("held_out_score") == 2


def test_no_random_setting_ends_in_constant_outputs_without_the_sentence(
    bench: Bench,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twenty of them, at rates up to some that no model stands."""
    monkeypatch.setattr(collapse, "MIN_ROWS", 2)
    ends: list[str] = []
    for number in range(20):
        rng = np.random.default_rng(number)
        recipe = make_recipe(
            learning_rate=float(10 ** rng.uniform(-5, 1)),
            batch_size=int(rng.integers(2, 13)),
            max_length=int(rng.integers(16, 49)),
            epochs=int(rng.integers(1, 4)),
            pooling=str(rng.choice(["first", "mean", "first+mean"])),
            prior_bias=bool(rng.integers(2)),
            features=(),
        )
        try:
            held_out, _ = run(bench, recipe, tmp_path / str(number))
        except Diverged:
            ends.append("diverged")
            continue
        constant = len(held_out.drop(columns="example_id").round(3).drop_duplicates()) == 1
        is_refused = "do not depend on the" in capsys.readouterr().err
        assert is_refused or not constant, recipe
        ends.append("constant" if constant else "sound")
    assert {"constant", "sound"} <= set(ends)
