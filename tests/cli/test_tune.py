"""`comp tune` on a small workspace: a planted gain is found and adopted, a search goes on, faults are named."""

import json
import shlex
from pathlib import Path

import pandas as pd
import pytest

from competition.core.workspace import Workspace
from tests.conftest import artefacts, comp, make_workspace, refused

# Two trees are too few: more of them are a gain that no noise hides.
SETTINGS = """
recipes = ["lexical"]
noise_run = ""
[submission]
task2 = "lexical"
[overrides]
n_estimators = 2
"""
SPACE = "[keys]\nn_estimators = [2, 10, 20]\nnum_leaves = [3, 4, 5]\n"


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    space = make_workspace(tmp_path_factory.mktemp("t") / "w", queries=80, settings=SETTINGS)
    (space.root / "mine.toml").write_text(SPACE, encoding="utf-8")
    return space


def command(space: Workspace, trials: int) -> list[str | Path]:
    options = ["--trials", str(trials), "--space", space.root / "mine.toml", "--fresh", "1"]
    return ["tune", "lexical", *options, "-w", space.root]


@pytest.mark.slow
def test_a_planted_gain_is_found_confirmed_and_adopted(start: Workspace) -> None:
    result = comp(*command(start, 4))
    assert result.exit_code == 0, result.output
    words = " ".join(result.output.split())
    assert "Found a gain. To adopt it: comp train --recipe lexical --set n_estimators=20" in words
    assert "The folds that chose it also confirm it" in words
    table = pd.read_csv(start.tuning("lexical"))
    assert table["trial"].tolist()[:4] == [0, 1, 2, 3]
    *_, confirmed = table.to_dict("records")
    assert confirmed["run"].endswith(", fresh seeds")
    assert confirmed["n_estimators"] == 20
    assert confirmed["gain_low"] > 0

    # Of the trials, the best one alone keeps its models; none has a recipe file.
    best = (
        table[table["complete"]].sort_values("gain").iloc[-1]["run"].removesuffix(", fresh seeds")
    )
    assert {path.name for path in start.models.iterdir()} == {"lexical", best}
    assert not start.recipe_folder.exists() or not list(start.recipe_folder.glob("lexical-*"))

    # The same search again trains nothing and says the same; one trial more goes on with it.
    before, found = start.tuning("lexical").read_bytes(), artefacts(start.root)
    again = comp(*command(start, 4))
    assert "train lexical" not in again.output
    assert (start.tuning("lexical").read_bytes(), artefacts(start.root)) == (before, found)
    assert comp(*command(start, 5)).exit_code == 0
    longer = pd.read_csv(start.tuning("lexical"))
    assert longer["run"].tolist()[:4] == table["run"].tolist()[:4]

    (line,) = [line for line in result.output.splitlines() if "To adopt it: " in line]
    _, *adopt = shlex.split(line.partition("To adopt it: ")[2])
    adopted = comp(*adopt)
    assert adopted.exit_code == 0
    assert f"{best}, all folds: done" in adopted.output
    assert "trees in" not in adopted.output  # no tree was grown again
    assert (start.recipe_folder / f"{best}.toml").is_file()


@pytest.mark.slow
def test_a_search_that_is_cut_off_ends_with_the_bytes_of_one_that_is_not(
    start: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for name in ("cut", "whole"):
        space = make_workspace(tmp_path / name, queries=60, settings=SETTINGS)
        (space.root / "mine.toml").write_text(SPACE, encoding="utf-8")
        if name == "cut":
            with monkeypatch.context() as patch:
                patch.setattr("competition.analysis.search.best_trial", interrupt)
                patch.setattr("competition.analysis.tuning.best_trial", interrupt)
                assert comp(*command(space, 1)).exit_code != 0
            assert list(space.oof.iterdir())
            assert not space.tuning("lexical").exists()
        assert comp(*command(space, 1)).exit_code == 0
        made.append((artefacts(space.root), space.tuning("lexical").read_bytes()))
    assert made[0] == made[1]


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_json_document_says_what_was_found(start: Workspace) -> None:
    """A key at its own value alone: nothing is better, and nothing is confirmed."""
    (start.root / "same.toml").write_text("[keys]\nn_estimators = [2, 2]\n", encoding="utf-8")
    options = ["--trials", "2", "--space", start.root / "same.toml", "-w", start.root]
    result = comp("--json", "tune", "lexical", *options)
    assert result.exit_code == 0, result.output
    (table,) = json.loads(result.stdout)["tables"]
    assert table["about"]["task"] == "task2"
    assert [row["gain"]["value"] for row in table["rows"]] == [0, 0]
    assert "No gain: no trial over all folds was better than lexical." in result.stderr


def test_what_cannot_be_searched_is_refused(start: Workspace) -> None:
    def told(text: str, *options: str) -> str:
        (start.root / "bad.toml").write_text(f"[keys]\n{text}\n", encoding="utf-8")
        space = ["--space", start.root / "bad.toml", "-w", start.root]
        return refused("tune", *(options or ("lexical",)), *space)

    assert "scheme, seed would change what trials are scored on" in told(
        'seed = [1, 2]\nscheme = ["five", "ten"]'
    )
    assert "unknown key 'num_leafs' (did you mean 'num_leaves'?)" in told("num_leafs = [3, 5]")
    assert "bad.toml: num_leaves = 1 does not fit" in told("num_leaves = { low = 1, high = 9 }")
    assert "'blend' is not trained on folds" in told("num_leaves = [3, 5]", "blend")
    assert "There is no task 'task9'" in told("num_leaves = [3, 5]", "lexical", "--task", "task9")
