"""Rows of a token table that are stepped when they are read are what the dense update makes of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from competition.core.console import progress
from competition.models.encoder.model import RelevanceModel
from competition.training import token_rows
from competition.training.checkpoints import Checkpoints
from competition.training.finetune import fine_tune
from competition.training.loop import Log, make_accelerator
from competition.training.token_rows import TokenRows
from tests.esci import KINDS
from tests.training.conftest import IN_MICRO_BATCHES, Bench, make_recipe

# 24 rows in batches of 8 are 3 steps per epoch; weights decay and gradients are clipped.
KEYS: dict[str, Any] = {
    "batch_size": 8, "epochs": 3, "learning_rate": 1e-2, "weight_decay": 0.1, "clip_norm": 0.5, "dropout": 0.1,
    "features": (), "max_length": 24,
}  # fmt: skip
WAYS: dict[str, dict[str, Any]] = {
    "attacked": {"adversary": "fgm-table", "r_drop": 0.5, "ema": 0.9},
    "in pieces, averaged": {"token_budget": IN_MICRO_BATCHES, "ema": 0.9, "mixup": 0.2},
    "two texts without decay": {"architecture": "bi-encoder", "weight_decay": 0.0},
    "two rates": {"layer_decay": 0.5, "head_learning_rate": 3e-2},
}


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Sums of several threads are split by the number of rows, and rounded by that."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def start(bench: Bench, keys: dict[str, Any]) -> RelevanceModel:
    """The model that training starts from, in float32."""
    recipe = make_recipe(**KEYS | keys)
    return RelevanceModel.make(recipe, KINDS[recipe.kind], bench.sources, 5)


def train(
    bench: Bench, folder: Path, keys: dict[str, Any], checkpoints: Checkpoints | None = None
) -> tuple[RelevanceModel, list[dict[str, torch.Tensor]]]:
    """A trained model, and what each epoch was evaluated with."""
    recipe = make_recipe(**KEYS | keys)
    model = start(bench, keys)
    seen: list[dict[str, torch.Tensor]] = []

    def after_epoch(epoch: int, evaluated: RelevanceModel) -> None:
        seen.append({name: p.detach().clone() for name, p in evaluated.named_parameters()})

    with progress("fit", 1) as bar:
        fine_tune(
            make_accelerator(), model, recipe, bench.sample(recipe), 3, bar, Log(folder / "log"), after_epoch,
            checkpoints,
        )  # fmt: skip
    return model, seen


@pytest.fixture
def rows_of_any_table(monkeypatch: pytest.MonkeyPatch) -> list[TokenRows]:
    """Step rows of small tables, too; what does it is kept, and missed steps are made up for after four."""
    made: list[TokenRows] = []
    find = TokenRows.of

    def of(*arguments: Any) -> TokenRows | None:
        rows = find(*arguments)
        made.extend([] if rows is None else [rows])
        return rows

    monkeypatch.setattr(token_rows, "SMALLEST", 0)
    monkeypatch.setattr(token_rows, "MOST_MISSED", 4)
    monkeypatch.setattr(TokenRows, "of", of)
    return made


@pytest.mark.parametrize("keys", WAYS.values(), ids=WAYS)
def test_weights_are_those_of_the_dense_update(
    keys: dict[str, Any], bench: Bench, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    dense_model, dense = train(bench, tmp_path, keys)
    made = request.getfixturevalue("rows_of_any_table")
    model, evaluated = train(bench, tmp_path, keys)
    assert len(made) == 1

    # Decay moves all rows but that of padding, which is zero; without decay, those that were read.
    moved = (model.token_table != start(bench, keys).token_table).any(1)
    assert bool(moved[1:].all()) == ("weight_decay" not in keys)
    assert bool(moved.any())
    for epoch, weights in enumerate(dense):
        for name, tensor in weights.items():
            assert torch.equal(evaluated[epoch][name], tensor), (epoch, name)
    for name, tensor in dense_model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_training_resumes_from_any_step(
    bench: Bench, tmp_path: Path, rows_of_any_table: list[TokenRows]
) -> None:
    keys = WAYS["in pieces, averaged"] | {"checkpoint_steps": 2}
    recipe = make_recipe(**KEYS | keys)

    def checkpoints() -> Checkpoints:
        return Checkpoints(tmp_path / "unfinished", "inputs", recipe, {})

    whole, _ = train(bench, tmp_path, keys)
    with pytest.raises(RuntimeError, match="enough"), ending_at(6):
        train(bench, tmp_path, keys, checkpoints())
    resumed, _ = train(bench, tmp_path, keys, checkpoints())
    assert [rows._begin for rows in rows_of_any_table[1:]] == [4, 9]  # the steps that were taken
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


@contextmanager
def ending_at(step: int) -> Iterator[None]:
    """Raise within at an optimiser step, from 1."""
    left = [step]

    def count(*_: object) -> None:
        left[0] -= 1
        if not left[0]:
            raise RuntimeError("enough")

    handle = register_optimizer_step_pre_hook(count)
    try:
        yield
    finally:
        handle.remove()


def test_the_model_is_an_ordinary_one_behind_training(
    bench: Bench, tmp_path: Path, rows_of_any_table: list[TokenRows]
) -> None:
    model, _ = train(bench, tmp_path, {})
    table = model.encoder.get_input_embeddings()
    assert "forward" not in vars(table)
    ids = torch.tensor([[1, 2, 1]])
    assert torch.equal(table.train()(ids), table.weight[ids])


@pytest.mark.parametrize(
    "keys",
    [{"adversary": "awp"}, {"freeze_embeddings": True}, {"lean": False}],
    ids=["attacked weights", "frozen", "not fused"],
)
def test_other_tables_are_updated_as_a_whole(
    keys: dict[str, Any], bench: Bench, tmp_path: Path, rows_of_any_table: list[TokenRows]
) -> None:
    train(bench, tmp_path, keys | {"epochs": 1})
    assert rows_of_any_table == []


def test_small_tables_are_updated_as_a_whole(bench: Bench, tmp_path: Path) -> None:
    model = start(bench, {})
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    assert model.token_table.numel() < token_rows.SMALLEST
    assert TokenRows.of(model, optimizer, None, 0.0) is None
