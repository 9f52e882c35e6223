"""Pre-training and added rows through the command."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from competition.core.workspace import Workspace
from competition.data.augment import texts_to_translate
from competition.models.encoder import translation
from competition.models.encoder.pretraining_card import best_epoch, read_epochs
from tests.conftest import comp, lines_of
from tests.esci import CONTEST
from tests.marian import make_marian

pytestmark = pytest.mark.slow

SETTINGS = """
preset = "tiny"
recipes = ["still", "wide"]
noise_run = ""
ensembles = []
[overrides]
max_length = 32
epochs = 1
[pretraining]
max_length = 64
epochs = 2
[submission]
task2 = "still"
"""
# So slow that its weights are those that it started from.
STILL = 'kind = "classes"\nencoder = "pretrained"\nlearning_rate = 1e-9\nfeatures = ["brand", "color"]\n'
WIDE = (
    'kind = "classes"\nrebalance = true\nquery_context = true\ntranslate_with = "./models/es-en"\n'
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with made rows and two recipes: one starts from the pre-trained encoder, one adds rows."""
    space = Workspace(tmp_path_factory.mktemp("pretrain") / "w")
    assert comp("init", space.root).exit_code == 0
    assert comp("data", "synth", "--queries", "60", "-w", space.root).exit_code == 0
    space.settings_file.write_text(SETTINGS)
    space.recipe_folder.mkdir()
    (space.recipe_folder / "still.toml").write_text(STILL)
    (space.recipe_folder / "wide.toml").write_text(WIDE)
    make_marian(space.models / "es-en", texts_to_translate(*rows(space), CONTEST))
    return space


def rows(space: Workspace) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Examples and products."""
    return pd.read_parquet(space.examples), pd.read_parquet(space.products)


@pytest.fixture(scope="module")
def output(workspace: Workspace) -> str:
    """What `comp pretrain` says."""
    result = comp("pretrain", "-w", workspace.root)
    assert result.exit_code == 0, result.output
    return result.output


def test_pretrain_makes_what_it_needs_and_shows_what_was_learned(
    workspace: Workspace, output: str
) -> None:
    lines = lines_of(output)
    for step in ("encoder tiny", "vocabulary", "pretrain pretrained"):
        assert step in lines
    epochs = read_epochs(workspace.encoder("pretrained"))
    best = best_epoch(epochs)
    assert len(epochs) == 3
    assert best is not None
    for epoch in epochs:
        assert str(epoch.held_out) in output
        assert all(f"{loss:.3f}" in output for loss in epoch.learned.values())
    assert f"pretrained: done. The best epoch is {best.number}." in output
    assert f"{best.held_out.queries:,} held-out titles" in output
    assert "encoder = 'pretrained' in [overrides]" in output
    assert workspace.encoder_log("pretrained").is_file()


def test_a_second_pretrain_does_nothing_and_says_so(workspace: Workspace, output: str) -> None:
    folder = workspace.encoder("pretrained")
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = comp("pretrain", "-w", workspace.root)
    assert again.exit_code == 0
    assert "pretrained: nothing to do, everything is up to date." in again.output
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    tables = [
        text[text.index("pretrained: MLM loss on") :].split("\npretrained: ")[0]
        for text in (output, again.output)
    ]
    assert tables[0] == tables[1]


def test_a_recipe_starts_from_the_pre_trained_weights(workspace: Workspace, output: str) -> None:
    status = comp("status", "-w", workspace.root).output.splitlines()
    assert all("■" in line for line in status if " pretrain pretrained " in line)
    result = comp("train", "--recipe", "still", "--fold", "0", "-w", workspace.root)
    assert result.exit_code == 0
    assert "pretrain pretrained" not in lines_of(result.output)
    folder = workspace.model("still", 0) / "seed-2022"
    tuned = {
        f"encoder.{name}": tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    tuned |= load_file(folder / "relevance.safetensors")
    learned = load_file(workspace.encoder("pretrained") / "model.safetensors")
    random = load_file(workspace.encoder("tiny") / "model.safetensors")
    names = load_file(workspace.encoder("pretrained") / "names.safetensors")
    expected = {f"encoder.{name}": tensor for name, tensor in learned.items()}
    expected |= {f"features.tables.{name}.weight": tensor for name, tensor in names.items()}
    assert set(expected) == {name for name in tuned if name.startswith(("encoder", "features"))}
    for name, tensor in expected.items():
        torch.testing.assert_close(tuned[name], tensor, rtol=0, atol=1e-6)
    assert any(bool((learned[name] - random[name]).abs().max() > 1e-3) for name in learned)


def test_a_recipe_with_translated_rows_pieces_and_context_trains(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples, products = rows(workspace)
    result = comp("train", "--recipe", "wide", "--fold", "0", "-w", workspace.root)
    assert result.exit_code == 0, result.output
    assert "translate with ./models/es-en" in lines_of(result.output)
    (file,) = (workspace.root / "data" / "translations").iterdir()
    assert pd.read_parquet(file)["text"].tolist() == texts_to_translate(examples, products, CONTEST)
    held_out = pd.read_parquet(workspace.oof_fold("wide", 0))
    folds = pd.read_parquet(workspace.folds("five")).set_index("query_id")["fold"]
    train = examples[examples["split"] == "train"]
    assert held_out["example_id"].tolist() == sorted(
        train.loc[train["query_id"].map(folds) == 0, "example_id"]
    )
    np.testing.assert_allclose(held_out.filter(like="p_").sum(axis=1), 1.0)
    learned = train[train["query_id"].map(folds) != 0]
    spanish = (learned["locale"] == "es").sum()
    (last,) = (
        json.loads(line)
        for line in workspace.log("wide").read_text().splitlines()
        if '"step"' in line
    )
    assert (
        last["step"] == -(-(len(learned) + spanish) // 32) > -(-len(learned) // 32)
    )  # batches of 32
    monkeypatch.setattr(translation, "Translator", None)  # nothing is missing: no model is loaded
    (workspace.recipe_folder / "wide.toml").write_text(WIDE + "rows = 'task1'\n")
    again = comp("train", "--recipe", "wide", "--fold", "0", "-w", workspace.root)
    assert again.exit_code == 0
    assert "translate with ./models/es-en" not in lines_of(again.output)
    assert "train wide fold 0 (out of date)" in lines_of(again.output)


def test_a_translation_model_that_is_not_there_is_asked_for(workspace: Workspace) -> None:
    (workspace.recipe_folder / "lost.toml").write_text(
        'kind = "classes"\ntranslate_with = "nobody/es-en"\n'
    )
    result = comp("train", "--recipe", "lost", "--fold", "0", "-w", workspace.root)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    (sentence,) = (line for line in result.stderr.splitlines() if line.startswith("error: "))
    assert "'nobody/es-en'" in sentence
    assert "Helsinki-NLP/opus-mt-es-en" in sentence
    assert "`translate_with`" in sentence
