"""One fold: what is saved is what predicted, and several seeds are one run."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from competition.recipe import EncoderRecipe
from competition.training.finetune import Corpus, Fold, predict_fold, train_fold
from competition.training.loop import Log
from competition.workspace import stamped
from tests.training.conftest import Bench, recipe

ROWS = np.arange(24)


def run(bench: Bench, asked: EncoderRecipe, folder: Path) -> tuple[Corpus, tuple[pd.DataFrame, pd.DataFrame]]:
    """Train on 12 rows, hold 6 out, test on 6."""
    corpus = Corpus.make(asked, bench.sources, bench.examples, bench.products)
    fold = Fold(2, folder / "fold-2", "inputs", bench.sources, ROWS[:12], ROWS[12:18], ROWS[18:])
    return corpus, train_fold(asked, corpus, fold, Log(folder / "log"), lambda outputs: outputs.iloc[:, 1].mean())


@pytest.mark.parametrize("keys", [{}, {"ema": 0.999}, {"weights": "best", "ema": 0.9}, {"seeds": (1, 2)}])
def test_saved_weights_predict_what_training_predicted(keys: dict, bench: Bench, tmp_path: Path) -> None:
    """The released code never saved the averaged weights that it had evaluated."""
    asked = recipe(epochs=2, batch_size=4, learning_rate=1e-3, **keys)
    corpus, (held_out, test) = run(bench, asked, tmp_path)
    assert held_out["example_id"].tolist() == sorted(bench.examples["example_id"].iloc[12:18])
    assert stamped(tmp_path / "fold-2") == "inputs"
    for rows, expected in ((ROWS[12:18], held_out), (ROWS[18:], test)):
        again = predict_fold(asked, corpus, bench.sources, tmp_path / "fold-2", 2, rows)
        pd.testing.assert_frame_equal(again, expected, check_exact=False, rtol=1e-6)


def test_averaged_weights_are_the_saved_ones(bench: Bench, tmp_path: Path) -> None:
    weights = {}
    for name, keys in {"raw": {}, "averaged": {"ema": 0.999}}.items():
        run(bench, recipe(epochs=1, batch_size=4, learning_rate=1e-3, **keys), tmp_path / name)
        weights[name] = load_file(tmp_path / name / "fold-2" / "seed-2022.safetensors")
    assert weights["raw"].keys() == weights["averaged"].keys()
    assert any((weights["raw"][name] != weights["averaged"][name]).any() for name in weights["raw"])


def test_seeds_are_averaged_as_one_run(bench: Bench, tmp_path: Path) -> None:
    keys = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3}
    single = [run(bench, recipe(**keys, seed=seed), tmp_path / str(seed))[1] for seed in (7, 8)]
    _, both = run(bench, recipe(**keys, seeds=(7, 8)), tmp_path / "both")
    for part in (0, 1):
        mean = (single[0][part] + single[1][part]) / 2
        pd.testing.assert_frame_equal(both[part], mean, check_dtype=False, rtol=1e-9)
        assert (single[0][part].iloc[:, 1] != single[1][part].iloc[:, 1]).any()
    files = sorted(path.name for path in (tmp_path / "both" / "fold-2").glob("*.safetensors"))
    assert files == ["seed-7.safetensors", "seed-8.safetensors"]


def test_a_row_on_both_sides_is_refused(bench: Bench, tmp_path: Path) -> None:
    corpus = Corpus.make(recipe(), bench.sources, bench.examples, bench.products)
    fold = Fold(0, tmp_path / "fold-0", "inputs", bench.sources, ROWS[:12], ROWS[11:18], ROWS[18:])
    with pytest.raises(ValueError, match="both sides"):
        train_fold(recipe(), corpus, fold, Log(tmp_path / "log"), lambda outputs: 0.0)
    assert not (tmp_path / "fold-0").exists()
