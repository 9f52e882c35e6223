"""Checkpoints of what is done are freed; those that training goes on from are kept, and named everywhere."""

import json
from pathlib import Path

import pandas as pd
import pytest

from competition.core.json_files import write_json, write_manifest
from competition.core.locks import HOST
from competition.core.parquet import write_table
from competition.core.workspace import ALL_ROWS, Workspace
from competition.training.checkpoint_index import FORMAT
from tests.conftest import LEXICAL_ALONE, comp, make_workspace


def checkpoint(space: Workspace, name: str, part: str, inputs: str) -> Path:
    """One of 1.5 MB, but for its card."""
    folder = space.checkpoints(name, part)
    below = folder / "step-00000004" if part == "encoder" else folder / "seed-1" / "step-00000004"
    write_json(below / "state.json", {"format": FORMAT, "inputs": inputs})
    (below / "state.safetensors").write_bytes(bytes(1_500_000))
    return folder


def table(path: Path, inputs: str) -> None:
    write_table(path, pd.DataFrame({"example_id": [1]}), inputs)


def folder(path: Path, inputs: str) -> None:
    path.mkdir(parents=True)
    (path / "weights").write_bytes(b"weights")
    write_manifest(path, inputs)


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """An encoder, a fold, a nested model and a model of all rows that are made, and checkpoints of them."""
    (tmp_path / "competition.toml").write_text(LEXICAL_ALONE)
    space = Workspace.open(tmp_path)
    table(space.oof_fold("c1", 0), "fold")
    table(space.pair("c1", (0, 3)), "pair")
    folder(space.model("c1", ALL_ROWS), "all")
    folder(space.encoder("pretrained"), "encoder")
    for part, inputs in (("fold-0", "fold"), ("fold-0-3", "pair"), ("fold-all", "all")):
        checkpoint(space, "c1", part, inputs)
    checkpoint(space, "pretrained", "encoder", "encoder")
    return space


def test_checkpoints_of_folds_pairs_whole_runs_and_encoders_that_are_made_are_freed(
    space: Workspace,
) -> None:
    damaged = space.checkpoints("c1", "fold-0") / "seed-2" / "step-00000001" / "state.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    said = comp("clean", "-w", space.root).output.splitlines()
    parts = ["c1/fold-0", "c1/fold-0-3", "c1/fold-all", "pretrained/encoder"]
    assert said == [*(f"models/checkpoints/{part}: 1.5 MB" for part in parts), "Freed: 6.0 MB"]
    assert not [path for path in space.unfinished.rglob("*") if path.is_file()]
    assert comp("clean", "-w", space.root).output.startswith("Nothing to remove")


def test_checkpoints_of_what_is_missing_damaged_or_made_from_something_else_stay(
    space: Workspace,
) -> None:
    space.oof_fold("c1", 0).unlink()  # missing
    table(space.pair("c1", (0, 3)), "older settings")
    (space.model("c1", ALL_ROWS) / "weights").write_bytes(b"weightz")
    (space.encoder("pretrained") / "weights").unlink()
    kept = sorted(space.unfinished.rglob("*"))
    assert comp("clean", "-w", space.root).output.splitlines() == [
        "Nothing to remove: finished training has left no checkpoints.",
        "Kept the checkpoints of unfinished training: c1 fold-0, c1 fold-0-3, c1 fold-all, pretrained encoder",
    ]
    assert sorted(space.unfinished.rglob("*")) == kept


def test_status_and_doctor_name_a_pre_training_that_was_killed(tmp_path: Path) -> None:
    """As it leaves things while it writes a checkpoint, or its encoder; beside it, a checkpoint that is not needed."""
    space = make_workspace(tmp_path / "w", settings=LEXICAL_ALONE)
    half = checkpoint(space, "pretrained", "encoder", "inputs") / f".step-00000008.{HOST}.1.tmp"
    half.mkdir()
    table(space.oof_fold("c1", 0), "fold")
    done = checkpoint(space, "c1", "fold-0", "fold")
    status = comp("status", "-w", space.root).output
    assert "Unfinished training with checkpoints: pretrained encoder\n" in status
    _, others, *_ = json.loads(comp("status", "--json", "-w", space.root).stdout)["tables"]
    assert others["about"]["checkpoints"] == ["pretrained encoder"]
    (found,) = json.loads(comp("doctor", "--json", "-w", space.root).stdout)["tables"]
    said = {row["what"]: row for row in found["rows"]}
    assert said["checkpoints"]["said"] == "kept of pretrained encoder"
    assert said["leftovers"]["said"] == f"checkpoints of finished training, such as {done}"
    assert said["leftovers"]["mend"] == f"comp clean -w {space.root}"
    assert str(half) in said["unfinished"]["mend"]
