"""`comp distill`: a run that no server loads has a student that they do, and its price."""

import json
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from competition.analysis.distillation import write_student
from competition.core.workspace import Workspace
from tests.conftest import LEXICAL_ALONE, comp, make_workspace, refused

SMALL = ("--set", "epochs=1", "--set", "max_length=16")


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a teacher that is made of trees."""
    space = make_workspace(tmp_path_factory.mktemp("d") / "w", queries=30, settings=LEXICAL_ALONE)
    result = comp("train", "--recipe", "lexical", "-w", space.root)
    assert result.exit_code == 0, result.output
    return space


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("lexical", "--into", "c1"), "There is a recipe 'c1' already: take another name."),
        (("lexical", "--into", "a/b"), "'a/b' cannot be the name of a run"),
        (("lexikal", "--into", "s"), "no recipe 'lexikal' (did you mean 'lexical'?)"),
        (("lexical", "--into", "s", "--set", "servable=false"), "a student is made to be served"),
        (
            ("lexical", "--into", "s", "--set", "distill_from=blend"),
            "the run that is distilled is the",
        ),
        (("lexical", "--into", "s", "--set", "architecture=bi-encoder"), "servable goes with"),
        (("lexical", "--into", "s", "--set", "scheme=ten"), "they must be the same"),
    ],
)
def test_what_cannot_be_a_student_is_refused_and_writes_nothing(
    taught: Workspace, words: tuple[str, ...], sentence: str
) -> None:
    files = sorted(taught.recipe_folder.glob("*")) if taught.recipe_folder.is_dir() else []
    assert sentence in refused("distill", *words, "-w", taught.root)
    now = sorted(taught.recipe_folder.glob("*")) if taught.recipe_folder.is_dir() else []
    assert now == files


def test_a_missing_teacher_is_named_and_writes_nothing(taught: Workspace) -> None:
    result = comp("distill", "c1", "--into", "of-c1", "-w", taught.root)
    assert result.exit_code == 1
    assert "`comp train --recipe c1 -w" in result.stderr
    assert not (taught.recipe_folder / "of-c1.toml").exists()


def test_a_student_of_scores_predicts_a_gain(taught: Workspace, tmp_path: Path) -> None:
    examples = pd.read_parquet(taught.examples)
    ranked = examples[["example_id"]].assign(score=-examples["example_id"])
    ranked.to_csv(tmp_path / "ranked.csv", index=False)
    words = ("member", "add", "ranked", tmp_path / "ranked.csv", "--kind", "score")
    for line in ((*words, "--scheme", "five"), ("train", "--recipe", "ranked")):
        result = comp(*line, "-w", taught.root)
        assert result.exit_code == 0, result.output

    written = write_student(taught, "ranked", "of-scores", {})
    assert tomllib.loads(written.read_text())["set"]["kind"] == "gain"
    written.unlink()


@pytest.mark.slow
def test_a_student_is_trained_compared_and_exported(taught: Workspace, tmp_path: Path) -> None:
    words = ("distill", "lexical", "--into", "small", *SMALL, "-w", taught.root)
    result = comp(*words, "--json")
    assert result.exit_code == 0, result.output
    recipe = tomllib.loads((taught.recipe_folder / "small.toml").read_text())
    assert recipe["base"] == "served"
    assert recipe["set"] == {
        "distill_from": "lexical",
        "distill_rows": ["test"],
        "kind": "classes",
        "scheme": "five",
        "epochs": 1,
        "max_length": 16,
    }

    # The price is what `comp compare` says of the two: paired, and held out.
    (table,) = json.loads(result.stdout)["tables"]
    compared = comp("compare", "small", "lexical", "-w", taught.root, "--json")
    assert table == json.loads(compared.stdout)["tables"][0]
    rows = {row["task"]: row for row in table["rows"]}
    for task, metric in {"task1": "nDCG", "task2": "micro-F1"}.items():
        row = rows[task]
        gap = row["first"] - row["second"]
        assert row["metric"] == metric
        assert row["difference"]["value"] == pytest.approx(gap)
        assert row["difference"]["low"] <= gap <= row["difference"]["high"]
        assert row["label_paths"] == []

    again = comp(*words)
    assert again.exit_code == 0, again.output
    assert "train small" not in again.output
    sentence = refused("distill", "lexical", "--into", "small", "-w", taught.root)
    assert "is another recipe than 'served' with these keys: rename or remove it" in sentence

    # The teacher is no model for a server, and says who could be one; the student is one.
    assert "`comp distill lexical --into NAME" in refused(
        "export", "lexical", tmp_path / "m", "-w", taught.root
    )
    exported = comp("export", "small", tmp_path / "m", "--model", "0", "-w", taught.root)
    assert exported.exit_code == 0, exported.output
