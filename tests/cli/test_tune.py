"""`comp tune` on a small workspace: a planted gain is found and adopted, a search goes on, faults are named."""

import json
import shlex
from pathlib import Path

import pandas as pd
import pytest

from competition.analysis import tuning
from competition.analysis.trainings import OneAfterAnother
from competition.analysis.tuning import Tuning
from competition.core.errors import Diverged
from competition.core.workspace import Workspace
from competition.pipeline import crew
from competition.pipeline.steps import Pipeline
from tests.conftest import artefacts, comp, make_workspace, needs_optuna, refused
from tests.processes import _SERVER

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


def table_of(space: Workspace) -> Path:
    """Return the table of the one search with `mine.toml`."""
    (path,) = space.root.glob("reports/tune-lexical-mine-*.csv")
    return path


@pytest.mark.slow
@needs_optuna
def test_a_planted_gain_is_found_confirmed_and_adopted(start: Workspace) -> None:
    result = comp(*command(start, 4))
    assert result.exit_code == 0, result.output
    words = " ".join(result.output.split())
    assert "Found a gain. To adopt it: comp train --recipe lexical --set n_estimators=20" in words
    assert "The folds that chose it also confirm it" in words
    table = pd.read_csv(table_of(start))
    assert table["trial"].tolist()[:4] == [1, 2, 3, 4]
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

    # A winner that diverges on a fresh seed is no gain, and the table is written all the same.
    def diverge(*_: object) -> None:
        raise Diverged("the loss of step 3 of 9 is nan")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "confirm", diverge)
        unconfirmed = comp(*command(start, 4))
    assert unconfirmed.exit_code == 0
    assert "No gain: on a fresh seed, the best trial or lexical diverges." in unconfirmed.output
    assert not pd.read_csv(table_of(start))["run"].str.endswith("fresh seeds").any()
    assert comp(*command(start, 4)).exit_code == 0

    # The same search again trains nothing and says the same; one trial more goes on with it.
    before, found = table_of(start).read_bytes(), artefacts(start.root)
    again = comp(*command(start, 4))
    assert "train lexical" not in again.output
    assert (table_of(start).read_bytes(), artefacts(start.root)) == (before, found)
    assert comp(*command(start, 5)).exit_code == 0
    longer = pd.read_csv(table_of(start))
    assert longer["run"].tolist()[:4] == table["run"].tolist()[:4]

    # Fewer trials than before leave those that there are in the table, unless the recipe has changed.
    shorter = comp(*command(start, 2))
    assert "of an earlier search" in shorter.output
    assert pd.read_csv(table_of(start))["trial"].tolist()[:5] == [1, 2, 3, 4, 5]

    (line,) = [line for line in result.output.splitlines() if "To adopt it: " in line]
    _, *adopt = shlex.split(line.partition("To adopt it: ")[2])
    adopted = comp(*adopt)
    assert adopted.exit_code == 0
    assert f"{best}, all folds: done" in adopted.output
    assert "trees in" not in adopted.output  # no tree was grown again
    assert (start.recipe_folder / f"{best}.toml").is_file()


@pytest.mark.slow
@needs_optuna
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
            assert not list(space.root.glob("reports/tune-*"))
        assert comp(*command(space, 1)).exit_code == 0
        made.append((artefacts(space.root), table_of(space).read_bytes()))
    assert made[0] == made[1]


@pytest.mark.slow
@needs_optuna
def test_two_trials_at_a_time_are_the_same_search_again_whatever_was_done_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base is no recipe of competition.toml; the first command ends in the midst of the search."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(crew, "CONTEXT", _SERVER)
    settings = SETTINGS.replace('"lexical"', '"r2"', 1)
    made = []
    for name in ("cut", "whole"):
        space = make_workspace(tmp_path / name, queries=60, settings=settings)
        (space.root / "mine.toml").write_text(SPACE, encoding="utf-8")
        if name == "cut":
            with monkeypatch.context() as patch:
                patch.setattr("competition.analysis.tuning.best_trial", interrupt)
                cut = comp(*command(space, 3), "--jobs", "2")
            assert cut.exit_code == 128 + 2, cut.output
            assert len(list(space.oof.glob("lexical-*/fold-*.parquet"))) in range(5, 15)
        done = comp(*command(space, 3), "--jobs", "2")
        assert done.exit_code == 0, done.output
        assert "Found a gain." in done.output
        made.append((artefacts(space.root), table_of(space).read_bytes()))
    assert made[0] == made[1]
    assert len(pd.read_csv(table_of(space))) == 3 + 1
    assert len(list(space.models.iterdir())) == 2

    # A trial is no recipe yet, and `comp compare` says how it becomes one.
    table = pd.read_csv(table_of(space))
    trial = table.iloc[0]
    told = refused("compare", trial["run"], "lexical", "-w", space.root)
    command_of_trial = f"comp train --recipe lexical --set n_estimators={trial['n_estimators']} "
    assert f"is a trial of a search, which has no recipe file: `{command_of_trial}" in told

    # A search of one trial at a time is another one, and has a table of its own.
    assert comp(*command(space, 1)).exit_code == 0
    assert len(list(space.root.glob("reports/tune-lexical-mine-*.csv"))) == 2


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@needs_optuna
def test_the_json_document_says_what_was_found(start: Workspace) -> None:
    """A key at its own value alone: nothing is better, and nothing is confirmed."""
    (start.root / "same.toml").write_text("[keys]\nn_estimators = [2, 2]\n", encoding="utf-8")
    options = ["--trials", "2", "--space", start.root / "same.toml", "-w", start.root]
    result = comp("--json", "tune", "lexical", *options)
    assert result.exit_code == 0, result.output
    (table,) = json.loads(result.stdout)["tables"]
    assert table["about"]["task"] == "task2"
    assert [row["gain"]["value"] for row in table["rows"]] == [0, 0]
    assert [row["diverged"] for row in table["rows"]] == [False, False]
    assert "No gain: no trial over all folds was better than lexical." in result.stderr


def test_what_cannot_be_searched_is_refused(start: Workspace) -> None:
    def told(text: str, *options: str) -> str:
        (start.root / "bad.toml").write_text(f"[keys]\n{text}\n", encoding="utf-8")
        space = ["--space", start.root / "bad.toml", "-w", start.root]
        return refused("tune", *(options or ("lexical",)), *space, "--trials", "1")

    assert "scheme, seed would change what trials are scored on" in told(
        'seed = [1, 2]\nscheme = ["five", "ten"]'
    )
    assert "unknown key 'num_leafs' (did you mean 'num_leaves'?)" in told("num_leafs = [3, 5]")
    assert "bad.toml: num_leaves = 1 does not fit" in told("num_leaves = { low = 1, high = 9 }")
    assert "bad.toml: num_leaves = true does not fit: true and false are not numbers." in told(
        "num_leaves = [true, 4]"
    )
    assert (
        "bad.toml: the recipe has no key 'lerning_rate' (did you mean 'learning_rate'?)."
        in told("lerning_rate = [0.1]")
    )
    assert "a description changes no result" in told('description = ["a", "b"]')
    assert "learning_rate = 1e+300 does not fit" in told("learning_rate = [0.1, 1e300]")
    # What could be found out behind hours of training is found out before.
    assert "bad.toml: num_leaves takes integers: write low, high and step without a point." in told(
        "num_leaves = { low = 3.0, high = 9.0 }"
    )
    assert "num_leaves takes integers" in told("num_leaves = { low = 3, high = 9, step = 0.5 }")
    assert "learning_rate takes any number: write low = 1.0, or name a step." in told(
        "learning_rate = { low = 1, high = 4 }"
    )
    assert "bad.toml: two-tower reads all tokens" in told(
        'pooling = ["auto", "mean"]\narchitecture = ["cross-encoder", "two-tower"]', "c1"
    )
    assert "'lora.rank' is one name with a dot in it" in told('"lora.rank" = [8, 16]', "c1")
    assert "'blend' is not trained on folds" in told("num_leaves = [3, 5]", "blend")
    assert "There is no task 'task9'" in told("num_leaves = [3, 5]", "lexical", "--task", "task9")


def test_values_that_let_labels_reach_their_scores_are_refused(start: Workspace) -> None:
    """The recipe as it is is held out, so that what flatters a trial would be taken for a gain."""

    def told(text: str, recipe: str) -> str:
        (start.root / "bad.toml").write_text(f"[keys]\n{text}\n", encoding="utf-8")
        space = ["--space", start.root / "bad.toml", "-w", start.root]
        return refused("tune", recipe, *space, "--trials", "1")

    assert (
        "with distill_from=lexical, labels that score a trial would reach it through its teacher lexical, "
        "which looks like a gain: leave it out."
    ) in told('distill_from = ["", "lexical"]', "c1")
    assert "through the audit of lexical" in told('drop_noise_from = ["", "lexical"]', "c1")
    chosen = "through the choice of its best epoch"
    assert chosen in told('weights = ["last", "best"]\nepochs = [1, 3]', "c1")


def test_a_key_changes_nothing_only_where_no_value_of_it_does(
    start: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """A default beside other values is none that is switched off; that of a teacher without one is."""
    text = "layer_decay = [1.0, 0.9]\ndistill_weight = [0.2, 0.4]\n"
    (start.root / "idle.toml").write_text(f"[keys]\n{text}", encoding="utf-8")
    Tuning(OneAfterAnother(Pipeline(start)), "c1", None, start.root / "idle.toml", 0)
    told = " ".join(capsys.readouterr().err.split())
    assert "warning: distill_weight changes nothing: what it belongs to is switched off." in told


@needs_optuna
def test_another_recipe_of_a_trials_name_is_not_taken_for_it(start: Workspace) -> None:
    space = start.root / "two.toml"
    space.write_text("[keys]\nnum_leaves = [6, 6]\n", encoding="utf-8")
    start.recipe_folder.mkdir(exist_ok=True)
    other = start.recipe_folder / "lexical-num_leaves=6.toml"
    other.write_text('base = "lexical"\n[set]\nn_estimators = 50\n', encoding="utf-8")
    sentence = refused("tune", "lexical", "--space", space, "--trials", "1", "-w", start.root)
    other.unlink()
    assert f"{other} is another recipe than 'lexical' with these keys" in sentence
