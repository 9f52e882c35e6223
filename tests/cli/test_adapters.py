"""Adapters and rerankers by the command as a user gives it."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from competition.core.workspace import Workspace
from competition.pipeline.steps import Pipeline
from tests.conftest import comp, make_workspace, refused
from tests.rerankers import make_reranker

pytestmark = pytest.mark.slow

SETTINGS = """
preset = "tiny"
recipes = ["zero-shot"]
noise_run = ""
ensembles = []
[submission]
task1 = "zero-shot"
[overrides]
encoder = "reranker"
max_length = 32
batch_size = 64
"""
ADAPTERS = """
kind = "gain"
head = "pretrained"
lora = { rank = 2 }
epochs = 1
train_queries = 10
"""


@pytest.fixture(scope="module")
def workspace(
    catalogue: tuple[pd.DataFrame, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    """A workspace with a reranker's folder, and a recipe that adapts it."""
    space = make_workspace(tmp_path_factory.mktemp("adapters") / "w", settings=SETTINGS)
    make_reranker(space.root / "reranker", "bert", catalogue[1])
    (space.root / "recipes").mkdir()
    (space.root / "recipes" / "adapters.toml").write_text(ADAPTERS, encoding="utf-8")
    return space


def test_a_zero_shot_member_is_a_run(workspace: Workspace) -> None:
    """Its folds hold a head of one output; all of them predict as the reranker does."""
    result = comp("train", "--recipe", "zero-shot", "-w", workspace.root)
    assert result.exit_code == 0, result.output
    folds = [pd.read_parquet(workspace.test_fold("zero-shot", fold)) for fold in range(5)]
    assert all(fold.equals(folds[0]) for fold in folds)
    assert folds[0]["gain"].std() > 0
    weights = list(workspace.model("zero-shot", "0").rglob("*.safetensors"))
    assert [path.name for path in weights] == ["relevance.safetensors"]


def test_new_rows_need_the_base_that_adapters_were_trained_on(workspace: Workspace) -> None:
    result = comp("train", "--recipe", "adapters", "--all", "-w", workspace.root)
    assert result.exit_code == 0, result.output
    tables = Pipeline(workspace).tables
    rows = tables.examples[["query", "locale", "product_id"]].head(6)
    known = rows.merge(tables.products, on=["locale", "product_id"], how="left")
    known.to_csv(workspace.root / "rows.csv", index=False)
    where = ("predict", workspace.root / "rows.csv", "--from", "adapters", "-w", workspace.root)
    assert comp(*where).exit_code == 0

    base = Pipeline(workspace).artifacts.encoder_folder("reranker", "pretrained")
    (weights,) = base.glob("*.safetensors")
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    assert comp(*where).exit_code == 1
    weights.write_bytes(kept)


def test_the_dry_run_adds_memory_up(workspace: Workspace) -> None:
    result = comp("train", "--recipe", "adapters", "--dry-run", "-w", workspace.root)
    assert result.exit_code == 0, result.output
    assert "By arithmetic, training takes " in result.output
    assert " weights of the encoder" in result.output


def test_an_encoder_that_is_made_here_has_no_trained_head(workspace: Workspace) -> None:
    settings = workspace.settings_file.read_text(encoding="utf-8")
    copy = workspace.root.with_name("tiny")
    shutil.copytree(workspace.root, copy)
    changed = settings.replace('encoder = "reranker"', 'encoder = "tiny"')
    (copy / "competition.toml").write_text(changed, encoding="utf-8")
    sentence = refused("train", "--recipe", "zero-shot", "--fold", "0", "-w", Path(copy))
    assert sentence.startswith("The encoder 'tiny' has no trained head")
