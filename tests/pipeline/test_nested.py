"""Nested models and the ensembles that read them, end to end: what a fold is scored by never saw it in any way."""

import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest

from competition.analysis.leakage import audit_leaks
from competition.core.errors import InputError
from competition.core.workspace import Workspace
from competition.pipeline.build_outputs import read_members
from competition.pipeline.execute import execute
from competition.pipeline.keys import PAIRED
from competition.pipeline.rows import fold_rows
from competition.pipeline.steps import Pipeline
from competition.scoring import predictions
from competition.scoring.optimism import read_optimism
from tests.conftest import QUICK, make_workspace
from tests.esci import KINDS

pytestmark = pytest.mark.slow

PAIRS = list(combinations(range(5), 2))
SETTINGS = QUICK.replace('["lexical", "c1", "r2", "t3"]', '["lexical"]')


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A workspace with `lexical`, its nested models, and ensembles of it with and without them."""
    workspace = make_workspace(tmp_path_factory.mktemp("nested") / "w", settings=SETTINGS)
    pipeline = Pipeline(workspace)
    steps = pipeline.run_steps("lexical")
    for name in ("blend", "blend.nested"):
        steps += pipeline.ensemble_steps(name)
    execute(workspace, steps)
    return Pipeline(workspace)


def test_each_pair_of_folds_has_a_model_that_predicts_its_rows(nested: Pipeline) -> None:
    fold = nested.tables.fold_of_training(PAIRED)
    for pair in PAIRS:
        ids = pd.read_parquet(nested.workspace.pair("lexical", pair))["example_id"]
        assert sorted(ids) == sorted(fold.index[fold.isin(pair)])


def test_a_nested_model_is_trained_on_neither_fold(nested: Pipeline) -> None:
    for plan in nested.plan.pairs("lexical"):
        rows = fold_rows(nested.tables, plan)
        fold = nested.tables.fold_of_rows(PAIRED)
        assert set(fold.iloc[rows.train]) == set(range(5)) - set(plan.held)
        assert set(fold.iloc[rows.held_out]) == set(plan.held)


def test_an_ensemble_sees_other_members_where_it_is_nested(nested: Pipeline) -> None:
    recipe = nested.recipes.ensemble("blend.nested")
    plan = nested.plan.ensemble(recipe, "task2")
    (member,) = read_members(nested.tables, plan)
    (plain,) = read_members(nested.tables, replace(plan, pairs={}))
    fold = nested.tables.fold_of_training(PAIRED)
    pair = pd.read_parquet(nested.workspace.pair("lexical", (1, 3))).set_index("example_id")
    seen = member.seen[1].set_index("example_id")
    of_three = fold.index[fold == 3]
    pd.testing.assert_frame_equal(seen.loc[of_three], pair.loc[of_three])
    assert not member.seen[1].equals(plain.seen[1])
    pd.testing.assert_frame_equal(member.test, plain.test)


def test_only_nested_ensembles_ask_for_nested_models(nested: Pipeline) -> None:
    named = [step.name for step in nested.ensemble_steps("blend")]
    assert not any("without folds" in name for name in named)
    named = [step.name for step in nested.ensemble_steps("blend.nested")]
    assert sum("without folds" in name for name in named) == 10
    assert all(step.state == "done" for step in nested.ensemble_steps("blend.nested"))


def test_a_changed_member_makes_its_nested_models_stale(tmp_path: Path) -> None:
    plain = Pipeline(make_workspace(tmp_path / "1", settings=SETTINGS))
    changed = Pipeline(
        make_workspace(
            tmp_path / "2", settings=SETTINGS.replace("n_estimators = 20", "n_estimators = 21")
        )
    )
    one, other = (
        [plan.fingerprint for plan in each.plan.pairs("lexical")] for each in (plain, changed)
    )
    assert len(set(one)) == 10
    assert not set(one) & set(other)


def test_a_member_without_the_rows_of_an_audit_has_no_nested_models(tmp_path: Path) -> None:
    pipeline = Pipeline(make_workspace(tmp_path / "w"))
    with pytest.raises(
        InputError,
        match="'r2' learns from an audit or a teacher that saw the labels of the folds that a nested model leaves out",
    ):
        pipeline.plan.pairs("r2")


def test_a_nested_file_of_another_recipe_is_refused(nested: Pipeline) -> None:
    path = nested.workspace.pair("lexical", (0, 1))
    pairs = {plan.held: plan.fingerprint for plan in nested.plan.pairs("lexical")} | {
        (0, 1): "another recipe"
    }
    fold = nested.tables.fold_of_training(PAIRED)
    with pytest.raises(Exception, match=re.escape(f"{path} is out of date")):
        predictions.read_nested(nested.workspace, "lexical", KINDS["classes"], pairs, fold)


def test_the_deep_audit_trains_the_members_on_shuffled_labels(nested: Pipeline) -> None:
    before = files(nested.workspace)
    findings = list(audit_leaks(nested, ["blend"], shuffles=1, deep=True))
    assert all(finding.passed for finding in findings), findings
    deep = {
        finding.subject: finding
        for finding in findings
        if "rebuilt on shuffled labels" in finding.message
    }
    assert list(deep) == ["lexical", "blend-task1", "blend-task2", "blend-task3"]
    assert deep["lexical"].verdict == "ok"
    assert deep["blend-task1"].verdict == "approximate"
    measured = read_optimism(nested.workspace, nested.plan.runs())
    assert set(measured) == {
        ("blend-task1", "task1"),
        ("blend-task2", "task2"),
        ("blend-task3", "task3"),
    }
    assert f"{measured['blend-task1', 'task1']:+}" in deep["blend-task1"].message
    after = files(nested.workspace)
    assert after.pop(str(nested.workspace.optimism))
    assert after == before


def files(workspace: Workspace) -> dict[str, int]:
    """The time of the last change of each file of a workspace."""
    return {
        str(path): path.stat().st_mtime_ns
        for path in workspace.root.rglob("*")
        if path.is_file() and ".locks" not in str(path)
    }
