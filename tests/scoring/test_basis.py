"""Which scores are held out: by recipes, and by the experiment that changes every label of a fold."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest

from competition.config.encoder_recipe import EncoderRecipe
from competition.config.label_paths import label_paths
from competition.config.recipe import (
    AnyRecipe,
    EnsembleRecipe,
    LexicalRecipe,
    MemberRecipe,
    RunRecipe,
)
from competition.core.json_files import read_json
from competition.core.workspace import Workspace
from competition.data import store, synthetic
from competition.data.folds import make_folds
from competition.pipeline.execute import execute
from competition.pipeline.steps import Pipeline
from competition.scoring.basis import APPROXIMATE, HELD_OUT, describe_basis
from competition.scoring.definition import load_contest
from tests.esci import CONTEST, LABELS, TASKS

# --- by recipes
# --------------------------------------------------------------------------------------------------

PLAIN = LexicalRecipe(name="plain")
BEST = EncoderRecipe(name="best", weights="best", epochs=3)  # type: ignore[call-arg]  # the rest has defaults
TEACHER = EnsembleRecipe(name="blend")


def load(run: str) -> RunRecipe:
    """The recipes that others learn from."""
    return {"plain": PLAIN, "best": BEST, "blend": TEACHER}[run]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, []),
        ({"drop_noise_from": "plain"}, ["the audit of plain"]),
        ({"weight_noise_from": "plain+best"}, ["the audit of plain+best"]),
        ({"relabel_noise_from": "plain"}, ["the audit of plain"]),
        ({"distill_from": "plain"}, ["its teacher plain"]),
        (
            {"drop_noise_from": "plain", "distill_from": "blend"},
            ["the audit of plain", "its teacher blend"],
        ),
        ({"drop_noise_from": "plain", "distill_from": "plain", "nested": True}, []),
        (
            {"drop_noise_from": "plain+best", "nested": True},
            ["the choice of the best epoch of best"],
        ),
    ],
)
def test_what_is_learned_from_complete_runs_is_approximate_unless_nested(
    keys: dict[str, object], expected: list[str]
) -> None:
    recipe = LexicalRecipe.model_validate({"name": "r", **keys})
    assert list(label_paths(recipe, load)) == expected


@pytest.mark.parametrize(
    ("epochs", "weights", "held_out"), [(3, "last", True), (1, "best", True), (3, "best", False)]
)
def test_choosing_among_epochs_is_approximate(epochs: int, weights: str, held_out: bool) -> None:
    recipe = EncoderRecipe.model_validate({"name": "r", "epochs": epochs, "weights": weights})
    assert (label_paths(recipe, load) == ()) == held_out


@pytest.mark.parametrize(
    ("keys", "members", "expected"),
    [
        ({"method": "paper"}, [PLAIN], []),
        ({"method": "paper"}, [PLAIN, BEST], ["the choice of its best epoch (best)"]),
        ({"method": "greedy"}, [PLAIN], []),  # its one weight is 1
        ({"method": "greedy"}, [PLAIN, PLAIN], ["weights learned over members that saw it"]),
        ({"method": "lightgbm"}, [PLAIN], ["a stacker over members that saw it"]),
        ({"method": "mixed"}, [PLAIN], ["a stacker over members that saw it"]),
        ({"method": "paper", "can": True}, [PLAIN], ["decisions learned over members that saw it"]),
        (
            {"method": "paper", "thresholds": "micro-F1"},
            [PLAIN],
            ["decisions learned over members that saw it"],
        ),
        ({"method": "lightgbm", "thresholds": "micro-F1", "nested": True}, [PLAIN], []),
        (
            {"method": "lightgbm", "nested": True},
            [PLAIN, BEST],
            ["the choice of the best epoch of best"],
        ),
    ],
)
def test_an_ensemble_has_the_paths_of_its_members_and_of_what_it_learns(
    keys: dict[str, object], members: list[MemberRecipe], expected: list[str]
) -> None:
    recipe = EnsembleRecipe.model_validate({"name": "e", **keys})
    assert list(label_paths(recipe, load, members, TASKS["task2"])) == expected


def test_decisions_are_of_classes_alone() -> None:
    recipe = EnsembleRecipe(name="e", method="paper", can=True, thresholds="micro-F1")
    assert label_paths(recipe, load, [PLAIN], TASKS["task1"]) == ()
    assert (
        label_paths(recipe.model_copy(update={"thresholds": "none"}), load, [PLAIN], TASKS["task3"])
        == ()
    )


def test_levels_for_a_kappa_are_decided_over_members_that_saw_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    labels = 'fields = ["title"]\nlabels = { levels = [1, 2] }\n'
    path.write_text(f'{labels}[tasks.x]\nkind = "rate"\nmetric = "quadratic-kappa"\n')
    task = load_contest(str(path)).tasks["x"]
    recipe = EnsembleRecipe(name="e", method="paper")
    learned = ("decisions learned over members that saw it",)
    assert label_paths(recipe, load, [PLAIN], task) == learned


def test_a_basis_in_words() -> None:
    assert describe_basis(()) == HELD_OUT == "held-out"
    assert describe_basis(["a", "b"]) == "approximate: labels reached it through a and b"


# --- by experiment
# -----------------------------------------------------------------------------------------------

FOLD = 0
SETTINGS = """
preset = "tiny"
recipes = ["lexical"]
noise_run = ""
noise_despite_doubts = true
ensembles = []
[submission]
task2 = "lexical"
"""
_TREES: dict[str, object] = {"n_estimators": 8, "min_data_in_leaf": 10}
MEMBERS: dict[str, dict[str, object]] = {
    "plain": {},
    "wide": {"num_leaves": 31, "n_estimators": 16},
    "dropped": {"drop_noise_from": "plain"},
    "weighted": {"weight_noise_from": "plain"},
    "relabelled": {"relabel_noise_from": "plain"},
    "distilled": {"distill_from": "plain", "distill_weight": 0.9},
    "nested-dropped": {"drop_noise_from": "plain", "nested": True},
    "nested-distilled": {"distill_from": "plain", "distill_weight": 0.9, "nested": True},
}
_SMALL: dict[str, object] = {"max_length": 16, "epochs": 2, "learning_rate": 1e-2, "warmup": 0.0}
ENCODERS: dict[str, dict[str, object]] = {"last-epoch": {}, "best-epoch": {"weights": "best"}}
ENSEMBLES: dict[str, dict[str, object]] = {
    "average": {"method": "paper"},
    "average-of-dropped": {"method": "paper", "members": ("plain", "dropped")},
    "greedy": {"method": "greedy", "selections": 10, "bags": 2},
    "stacked": {"method": "lightgbm", "n_estimators": 10, "min_data_in_leaf": 10},
    "nested-mixed": {"method": "mixed", "n_estimators": 10, "min_data_in_leaf": 10, "nested": True},
    "nested-stacked": {
        "method": "lightgbm",
        "n_estimators": 10,
        "min_data_in_leaf": 10,
        "nested": True,
    },
    "decided": {"method": "paper", "can": True, "thresholds": "macro-F1"},
    "nested-decided": {"method": "paper", "can": True, "thresholds": "macro-F1", "nested": True},
}
# Each is fitted for one task; tests of ensembles try each method on each.
TASKS_OF = {
    "average": ["task1"],
    "average-of-dropped": ["task2"],
    "greedy": ["task2"],
    "stacked": ["task3"],
    "nested-mixed": ["task1"],
    "nested-stacked": ["task2"],
    "decided": ["task1", "task2"],  # of an order, nothing is decided
    "nested-decided": ["task3"],
}
# Weights and decisions are kept only where they help beyond doubt, an epoch may be best by either
# labels.
MAY_STAY = {"greedy", "decided", "best-epoch"}


def recipes() -> dict[str, AnyRecipe]:
    """A recipe for every way of learning from other runs."""
    made: dict[str, AnyRecipe] = {
        name: LexicalRecipe.model_validate({"name": name, **_TREES, **keys})
        for name, keys in MEMBERS.items()
    }
    made |= {
        name: EncoderRecipe.model_validate({"name": name, **_SMALL, **keys})
        for name, keys in ENCODERS.items()
    }
    return made | {
        name: EnsembleRecipe.model_validate({"name": name, "members": ("plain", "wide"), **keys})
        for name, keys in ENSEMBLES.items()
    }


def outputs_of_fold(
    folder: Path, examples: pd.DataFrame, products: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Make every run in a workspace of its own; what each says of the rows of FOLD."""
    folder.mkdir()
    (folder / "competition.toml").write_text(SETTINGS, encoding="utf-8")
    workspace = Workspace.open(folder)
    store.save(workspace, CONTEST, examples, products, "test")
    pipeline = Pipeline(workspace, recipes())
    steps = [
        step
        for name in pipeline.recipes.order([*MEMBERS, *ENSEMBLES])
        for step in (
            pipeline.ensemble_steps(name, TASKS_OF[name])
            if name in TASKS_OF
            else pipeline.run_steps(name)
        )
    ]
    steps += [step for name in ENCODERS for step in pipeline.training_steps(name, FOLD)]
    execute(workspace, {step.name: step for step in steps}.values())
    return {name: pd.read_parquet(workspace.oof_fold(name, FOLD)) for name in [*names(), *ENCODERS]}


def names() -> Iterable[str]:
    """Every run that is made whole, ensembles by task."""
    yield from MEMBERS
    yield from (f"{name}-{task}" for name, tasks in TASKS_OF.items() for task in tasks)


@pytest.mark.slow
def test_runs_marked_held_out_are_the_same_whatever_the_labels_of_the_fold(tmp_path: Path) -> None:
    examples, products, _ = synthetic.make(100, noise=0.1, seed=3)
    fold = make_folds(examples, "five", CONTEST).set_index("query_id")["fold"]
    of_fold = examples["query_id"].map(fold) == FOLD
    other = dict(zip(LABELS, (*LABELS[1:], LABELS[0]), strict=True))
    changed = examples.assign(label=examples["label"].where(~of_fold, examples["label"].map(other)))
    changed["substitute"] = examples["substitute"].where(~of_fold, changed["label"] == "substitute")
    assert (changed["label"] != examples["label"]).equals(of_fold & examples["label"].notna())
    before, after = (
        outputs_of_fold(tmp_path / str(i), rows, products)
        for i, rows in enumerate((examples, changed))
    )
    pipeline = Pipeline(Workspace.open(tmp_path / "0"), recipes())
    basis = {run: pipeline.plan.run(run).basis for run in before}
    told = {
        run: read_json(pipeline.workspace.run_card(run))["basis"]
        for run in ("plain", "dropped", "decided-task1")
    }
    assert told == {
        "plain": {"kind": HELD_OUT, "label_paths": []},
        "dropped": {"kind": APPROXIMATE, "label_paths": ["the audit of plain"]},
        "decided-task1": {"kind": HELD_OUT, "label_paths": []},
    }
    same = {run: before[run].equals(after[run]) for run in before}
    assert [run for run in before if basis[run] == HELD_OUT and not same[run]] == []
    stayed = {run for run in before if basis[run] == APPROXIMATE and same[run]}
    assert {run.rpartition("-task")[0] or run for run in stayed} <= MAY_STAY
    assert {
        "plain",
        "last-epoch",
        "nested-dropped",
        "nested-distilled",
        "average-task1",
        "nested-stacked-task2",
    } <= {run for run in before if basis[run] == HELD_OUT}
