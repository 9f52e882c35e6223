"""A training that is cut short anywhere and started again ends in the same bytes."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from competition.config.base_recipe import TrainingKeys
from competition.config.encoder_recipe import EncoderRecipe
from competition.core.errors import CompError
from competition.core.signals import Interrupted, critical_section, install_handlers, pending
from competition.models.encoder.inputs import Inputs
from competition.models.encoder.model import RelevanceModel
from competition.training import finetune
from competition.training.checkpoints import Checkpoints, State
from competition.training.corpus import Corpus
from competition.training.finetune import Fold, train_fold
from competition.training.gradients import BatchGradients
from competition.training.loop import Log
from competition.training.optimizer import TrainingState
from competition.training.pretrain import pretrain
from competition.training.pretraining_gradients import PretrainingGradients
from tests.esci import CONTEST, KINDS
from tests.training.conftest import Bench, Shelf, make_recipe, pretraining

pytestmark = pytest.mark.slow

ROWS = np.arange(24)
# 12 rows in batches of 4 are 3 steps per epoch; everything that has a state or draws something is
# on.
KEYS: dict[str, Any] = {
    "epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "dropout": 0.1, "multi_sample_dropout": 2, "ema": 0.9,
    "mixup": 0.2, "adversary": "fgm-table", "r_drop": 0.5, "weights": "best", "token_budget": 100,
    "pooling": "first+mean", "head_learning_rate": 1e-2, "layer_decay": 0.5,
}  # fmt: skip

LIGHT = {"adversary": "none", "r_drop": 0.0}


class Killed(BaseException):
    """What no code catches."""


@contextmanager
def before_step(number: int, act: Callable[[], object]) -> Iterator[None]:
    """Do something when optimiser step `number` of this process, from 1, has its gradients."""
    left = [number]

    def count(*_: object) -> None:
        left[0] -= 1
        if not left[0]:
            act()

    handle = register_optimizer_step_pre_hook(count)
    yield
    handle.remove()


def kill() -> None:
    raise Killed


class Tuning:
    """One fold of 12 rows; 6 are held out and 6 tested."""

    def __init__(self, bench: Bench, recipe: EncoderRecipe, folder: Path) -> None:
        self.recipe, self.folder = recipe, folder
        self.corpus = Corpus.make(recipe, CONTEST, bench.sources, bench.examples, bench.products)
        sides = (ROWS[:12], ROWS[12:18], ROWS[18:])
        self.fold = Fold(
            "2", folder / "fold-2", "inputs", bench.sources, *sides, None, folder / "unfinished"
        )

    def __call__(
        self, score: Callable[[pd.DataFrame], float] | None = None
    ) -> tuple[pd.DataFrame, ...]:
        score = score or (lambda outputs: -outputs.iloc[0, 1])
        torch.manual_seed(
            len(os.listdir(self.folder))
        )  # no result depends on what was drawn before
        return train_fold(
            self.recipe,
            KINDS[self.recipe.kind],
            self.corpus,
            self.fold,
            Log(self.folder / "log"),
            score,
        )

    def weights(self) -> dict[str, bytes]:
        files = [path for path in self.fold.folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.fold.folder)): path.read_bytes() for path in files}

    def steps(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "unfinished").glob("seed-*/*"))


@pytest.fixture
def tuning(bench: Bench, tmp_path: Path) -> Callable[..., Tuning]:
    """Makes a fold in a folder of its own."""

    def make(name: str, **keys: Any) -> Tuning:
        (tmp_path / name).mkdir(exist_ok=True)
        return Tuning(bench, make_recipe(**KEYS | keys), tmp_path / name)

    return make


def same(found: tuple[pd.DataFrame, ...], expected: tuple[pd.DataFrame, ...]) -> bool:
    return all(one.equals(other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    "keys",
    [{"lean": False}, {}, {"kind": "gain", "ranking_loss": "listmle", "mixup": 0.0}],
    ids=str,
)
def test_a_fold_that_was_killed_anywhere_ends_in_the_same_bytes(
    keys: dict[str, Any], tuning: Callable[..., Tuning]
) -> None:
    """6 steps, a checkpoint after every second: begun at 0, 0, 2, 2 and 4, and killed in the step behind those done.

    The 12 rows are lists of 6, 5 and 1: three batches, too.
    """
    undisturbed, run = tuning("undisturbed", **keys), tuning("killed", **keys, checkpoint_steps=2)
    expected = undisturbed()
    for begun, done in ((0, 1), (0, 2), (2, 3), (2, 4), (4, 5)):
        with before_step(done - begun + 1, kill), pytest.raises(Killed):
            run()
        assert run.steps()[-1:] == [f"step-{done // 2 * 2:08d}"][: done // 2]
        assert not run.fold.folder.exists()
    assert run.steps() == ["step-00000002", "step-00000004"]
    assert same(run(), expected)
    assert run.weights() == undisturbed.weights()


@pytest.mark.parametrize("weights", ["best", "last"])
def test_a_fold_that_was_killed_between_epochs_ends_in_the_same_bytes(
    weights: str, tuning: Callable[..., Tuning]
) -> None:
    """Killed in each evaluation, then between training and the prediction of test rows. The first epoch is the best."""
    undisturbed, run = (
        tuning("undisturbed", weights=weights, **LIGHT),
        tuning("killed", weights=weights, checkpoint_steps=1, **LIGHT),
    )
    scores = iter([2.0, 1.0])
    expected, evaluated = undisturbed(lambda outputs: next(scores)), []

    def killed_at(number: int) -> Callable[[pd.DataFrame], float]:
        def score(outputs: pd.DataFrame) -> float:
            evaluated.append(number)
            if len(evaluated) == number:
                raise Killed
            return 2.0 if len(evaluated) <= 2 else 1.0

        return score

    for number in (1, 3):  # of epoch 0; of epoch 1, after epoch 0 once more
        with pytest.raises(Killed):
            run(killed_at(number))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "save_model", lambda *_: kill())
        with pytest.raises(Killed):
            run(killed_at(0))
    assert len(evaluated) == 4
    assert run.steps() == ["step-00000006"]
    with before_step(1, kill):  # nothing is trained any more
        assert same(run(killed_at(0)), expected)
    assert run.weights() == undisturbed.weights()
    assert len(evaluated) == 4


def test_the_seeds_of_a_fold_that_are_trained_stay_trained(tuning: Callable[..., Tuning]) -> None:
    keys = {"seeds": (1, 2), "epochs": 1, **LIGHT}
    undisturbed, run = tuning("undisturbed", **keys), tuning("killed", **keys)
    expected = undisturbed()
    with before_step(3 + 2, kill), pytest.raises(Killed):  # in the second step of the second seed
        run()
    with before_step(3 + 1, kill):  # there are only the second seed's three left
        assert same(run(), expected)
    assert run.weights() == undisturbed.weights()


def test_a_signal_ends_a_fold_behind_its_step_and_keeps_what_is_done(
    tuning: Callable[..., Tuning],
) -> None:
    undisturbed, run = tuning("undisturbed", **LIGHT), tuning("stopped", **LIGHT)
    expected = undisturbed()

    def stops(outputs: pd.DataFrame) -> float:
        os.kill(os.getpid(), signal.SIGINT)
        return 0.0

    with install_handlers():
        with (
            before_step(2, lambda: os.kill(os.getpid(), signal.SIGTERM)),
            pytest.raises(Interrupted) as stopped,
        ):
            run()
        assert (
            str(stopped.value)
            == "step 2 of 6 of x fold 2 is saved, and the same command resumes from there"
        )
        assert run.steps() == ["step-00000002"]
        assert stopped.value.exit_code == 143
        with pytest.raises(
            Interrupted, match="step 3 of 6"
        ) as stopped:  # between two epochs, at once
            run(stops)
        assert stopped.value.exit_code == 130
    assert run.steps() == ["step-00000002", "step-00000003"]
    assert same(run(), expected)
    assert run.weights() == undisturbed.weights()


def test_a_signal_in_the_last_evaluation_of_a_split_model_counts_behind_it(
    tuning: Callable[..., Tuning], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Split(TrainingState[Any]):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.is_sharded = True

    def stops(outputs: pd.DataFrame) -> float:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0.0

    monkeypatch.setattr("competition.training.loop.TrainingState", Split)
    run = tuning("stopped", epochs=1, **LIGHT)
    with install_handlers(), pytest.raises(Interrupted, match="step 3 of 3 of x fold 2 is saved"):
        run(stops)
    assert run.steps() == ["step-00000003"]


def test_a_critical_section_is_ended_before_a_signal_counts() -> None:
    done = []

    def struck_within() -> None:
        with critical_section():
            with critical_section():
                os.kill(os.getpid(), signal.SIGTERM)
            assert pending()
            done.append(True)

    with install_handlers():
        with pytest.raises(Interrupted) as stopped:
            struck_within()
        assert done
        assert not pending()
        assert stopped.value.exit_code == 128 + signal.SIGTERM


class Number:
    """A state of one number."""

    value = 0

    def state(self) -> State:
        return State({"value": torch.tensor(self.value)})

    def restore(self, state: State) -> None:
        self.value = int(state.tensors["value"])


# --- checkpoints that are no good ---


def test_damaged_checkpoints_are_ignored_and_named(
    tuning: Callable[..., Tuning], capsys: pytest.CaptureFixture[str]
) -> None:
    undisturbed, run = tuning("undisturbed", **LIGHT), tuning("killed", checkpoint_steps=1, **LIGHT)
    expected = undisturbed()
    with before_step(4, kill), pytest.raises(Killed):
        run()
    second, third = sorted((run.folder / "unfinished" / "seed-2022").iterdir())
    (third / "state.json").unlink()
    altered = bytearray((second / "state.safetensors").read_bytes())
    altered[-1] ^= 1
    (second / "state.safetensors").write_bytes(altered)
    (second.parent / ".step-00000004.1.tmp").mkdir()  # what a killed process was writing
    capsys.readouterr()
    assert same(run(), expected)
    assert run.weights() == undisturbed.weights()
    output = capsys.readouterr()
    assert output.err.splitlines() == [
        f"warning: The checkpoint {third} is ignored: it is incomplete, or another version wrote it.",
        f"warning: The checkpoint {second} is ignored: its content has changed since it was written.",
    ]
    assert "resumes" not in output.out
    assert len(list(second.parent.iterdir())) == 2


def test_a_sound_checkpoint_is_gone_on_from_where_the_newest_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number = Number()
    checkpoints = Checkpoints(tmp_path, "inputs", TrainingKeys(), {"number": number})
    for number.value in (1, 2):
        checkpoints.save(number.value)
    half = tmp_path / "step-00000002" / "state.safetensors"
    half.write_bytes(half.read_bytes()[:10])
    assert Checkpoints(tmp_path, "inputs", TrainingKeys(), {"number": number}).restore()
    assert number.value == 1
    assert "step-00000002 is ignored" in capsys.readouterr().err
    assert not Checkpoints(tmp_path, "other inputs", TrainingKeys(), {"number": number}).restore()
    output = capsys.readouterr().err.splitlines()
    assert len(output) == 2
    assert all("made from other rows, recipes or settings" in line for line in output)


# --- pre-training ---


def test_a_pre_training_that_was_killed_ends_in_the_same_bytes(
    shelf: Shelf, tmp_path: Path
) -> None:
    """All tasks, with the momentum encoder and its queue; killed in both epochs and in the evaluation between."""
    keys = {"epochs": 2, "batch_size": 24, "ema": 0.9, "token_budget": 400}

    def run(name: str, **more: Any) -> dict[str, bytes]:
        recipe, folder = pretraining(**keys | more), tmp_path / name
        pretrain(
            recipe,
            shelf.products.head(80),
            CONTEST,
            shelf.sources,
            folder,
            "inputs",
            Log(tmp_path / "log"),
            tmp_path / "unfinished",
        )
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    expected = run("undisturbed")
    steps = json.loads((tmp_path / "log").read_text().splitlines()[-2])["step"] // 2  # of an epoch
    assert steps > 3
    assert not (tmp_path / "unfinished").exists()
    with before_step(3, kill), pytest.raises(Killed):
        run("killed", checkpoint_steps=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PretrainingGradients, "epoch_losses", lambda _: kill())
        with pytest.raises(Killed):
            run("killed", checkpoint_steps=1)
    with before_step(2, kill), pytest.raises(Killed):
        run("killed", checkpoint_steps=1)
    found = sorted(path.name for path in (tmp_path / "unfinished").iterdir())
    assert found == [f"step-{step:08d}" for step in (steps, steps + 1)]
    torch.manual_seed(0)
    again = run("killed")
    card = "pretraining.json"  # it holds the recipe, with what it says of checkpoints
    assert {name: content for name, content in again.items() if name != card} == {
        name: content for name, content in expected.items() if name != card
    }
    assert json.loads(again[card])["epochs"] == json.loads(expected[card])["epochs"]
    assert not (tmp_path / "unfinished").exists()


# --- memory, disk and the clock ---


def fails_once(monkeypatch: pytest.MonkeyPatch, room: Any, above: int) -> None:
    """The device has memory for micro-batches of up to `above` tokens; larger ones fail half-way."""
    compute = room.compute

    def limited(self: Any, batch: np.ndarray, step: int) -> torch.Tensor:
        loss = compute(self, batch, step)
        if self.budget.tokens > above:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return loss

    monkeypatch.setattr(room, "compute", limited)


def test_running_out_of_memory_halves_the_token_budget(
    tuning: Callable[..., Tuning],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Training is as with the smaller budget from the start, and each halving is output once."""
    keys = {"epochs": 1, **LIGHT}
    small, run = (
        tuning("small", token_budget=200, **keys),
        tuning("large", token_budget=800, checkpoint_steps=1, **keys),
    )
    small()
    fails_once(monkeypatch, BatchGradients, 200)
    with before_step(3, kill), pytest.raises(Killed):
        run()
    assert capsys.readouterr().err.splitlines() == [
        "warning: Memory ran out: micro-batches hold 400 tokens from here on instead of 800.",
        "warning: Memory ran out: micro-batches hold 200 tokens from here on instead of 400.",
    ]
    run()
    assert "Memory" not in capsys.readouterr().err  # the checkpoint knows
    assert run.weights() == small.weights()


def test_running_out_of_memory_in_prediction_changes_no_weight_and_is_said_once(
    tuning: Callable[..., Tuning],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In the first of three predictions: of the held-out rows after each of two epochs, then of the test rows."""
    keys = {"token_budget": 800, "weights": "last", **LIGHT}
    undisturbed, run = tuning("undisturbed", **keys), tuning("short", **keys)
    expected, forward = undisturbed(), RelevanceModel.forward

    def limited(self: RelevanceModel, inputs: Inputs, *others: Any) -> torch.Tensor:
        if not self.training and inputs.ids.numel() > 200:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(self, inputs, *others)

    monkeypatch.setattr(RelevanceModel, "forward", limited)
    found = run(lambda outputs: 0.0)
    assert capsys.readouterr().err.splitlines() == [
        "warning: Memory ran out: micro-batches hold 400 tokens from here on instead of 800.",
        "warning: Memory ran out: micro-batches hold 200 tokens from here on instead of 400.",
    ]
    assert run.weights() == undisturbed.weights()
    for one, other in zip(found, expected, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=False, rtol=0, atol=1e-6)


def test_memory_for_no_text_at_all_is_refused(
    tuning: Callable[..., Tuning], monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_once(monkeypatch, BatchGradients, 0)
    with pytest.raises(CompError, match="a single text of up to 48 tokens"):
        tuning("none")()


def test_a_disk_without_room_is_refused_before_anything_is_trained(
    tuning: Callable[..., Tuning], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tuning("full")
    monkeypatch.setattr(
        shutil,
        "disk_usage",
        lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6),
    )
    with (
        before_step(1, kill),
        pytest.raises(CompError, match=r"Training writes up to 0\.\d GB .* has room for 0\.0 GB"),
    ):
        run()
    assert not run.fold.folder.exists()
    assert not run.steps()


def test_the_clock_and_the_steps_decide_when_to_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    recipe = TrainingKeys(checkpoint_minutes=2, checkpoint_steps=5)
    saved = Checkpoints(tmp_path / "c", "inputs", recipe, {"number": Number()})
    assert [step for step in range(1, 11) if saved.due(step)] == [5, 10]
    now[0] = 119.0
    assert not saved.due(1)
    now[0] = 120.0
    assert saved.due(1)
    saved.save(1)
    assert not saved.due(2)


def test_the_last_two_are_kept_and_the_newest_is_gone_on_from(tmp_path: Path) -> None:
    number = Number()
    checkpoints = Checkpoints(tmp_path / "c", "inputs", TrainingKeys(), {"number": number})
    assert not checkpoints.restore()
    for step in (9, 10, 100):
        number.value = step
        checkpoints.save(step)
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
        "step-00000010",
        "step-00000100",
    ]
    again = Number()
    assert Checkpoints(tmp_path / "c", "inputs", TrainingKeys(), {"number": again}).restore()
    assert again.value == 100
